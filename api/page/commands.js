// Commands to sockets: asked for, followed to their one ending, and shown with who and why.
import { ask, tell } from "./api.js";
import { attempt, instant, make, table } from "./dom.js";
import { formatInstant, formatLatency } from "./format.js";

const TERMINAL = new Set(["acknowledged", "rejected", "expired", "failed"]);
const LONGEST_AFTER_EXPIRY_MS = 15000;
const pathOf = (deviceId) => `devices/${encodeURIComponent(deviceId)}`;

// Asks for it and calls `follow(state, text, command)` at every step; gives the command as it is known in the end.
export async function command(deviceId, order, follow) {
  follow("sending", "sending …");
  let accepted;
  try {
    accepted = await tell("POST", `${pathOf(deviceId)}/commands`, order, { "Idempotency-Key": newKey() });
  } catch (problem) {
    follow("refused", problem.message);
    return { state: "refused" };
  }
  follow("requested", describe({ state: "requested" }));
  return untilEnded(accepted, follow);
}

// Follows a command to its end; gives it as it is known then.
export async function untilEnded(accepted, follow) {
  // By this browser's clock, which may be far from the server's, only how long is known.
  const until = performance.now() + Date.parse(accepted.expires_at) - Date.parse(accepted.requested_at) + LONGEST_AFTER_EXPIRY_MS;
  let before = "requested";
  for (let waitMs = 60; performance.now() < until; waitMs = Math.min(1000, waitMs * 1.4)) {
    await pause(waitMs);
    // Not shown yet, or the server is away for a moment: the next look tells.
    const now = await ask(accepted.url).catch(() => null);
    if (!now || (now.state === before && !TERMINAL.has(now.state))) continue;
    before = now.state;
    follow(now.state, describe(now), now);
    if (TERMINAL.has(now.state)) return now;
  }
  follow("unknown", "nobody knows how it ended; the history will tell");
  return accepted;
}

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// Once the history tells of this ending, which it does a moment later; or after some seconds without.
export async function inHistory(deviceId, { command_id: id }) {
  for (let waitMs = 50; id && waitMs < 3000; waitMs *= 1.6) {
    const { items } = await ask(`${pathOf(deviceId)}/commands`, { limit: 20 }).catch(() => ({ items: [] }));
    if (items.find((one) => one.command_id === id)?.ended_at) return;
    await pause(waitMs);
  }
}

function newKey() {
  // randomUUID exists only where the page came over TLS or from this machine.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function describe(one) {
  switch (one.state) {
    case "requested": return "requested";
    case "dispatched": return one.attempts > 1 ? `sent to the socket, attempt ${one.attempts}` : "sent to the socket";
    case "acknowledged": return `acknowledged${one.latency_ms === null || one.latency_ms === undefined ? "" : ` after ${formatLatency(one.latency_ms)}`}`;
    case "rejected": return `rejected by the socket: ${one.reason || "no reason given"}`;
    case "expired": return "expired: the socket did not answer in time";
    case "failed": return `failed: ${one.reason || "no reason given"}`;
    default: return one.state;
  }
}

export function nameOf(one) {
  const order = one.order || one;
  if (one.type === "switch") return order.relay ? "switch on" : "switch off";
  if (one.type === "configure") return `configure${order.config_version ? `, version ${order.config_version}` : ""}`;
  return { toggle: "switch over", restart: "restart", identify: "blink" }[one.type] || one.type;
}

const whoOf = (one) => one.who || (one.why === "user" ? "somebody" : one.why);

// "Why did it switch?" in one sentence.
export async function whySwitched(deviceId) {
  const [last] = (await ask(`${pathOf(deviceId)}/why`, { limit: 1 })).items;
  if (!last) return "It has not been switched from here yet.";
  const state = last.relay === null ? "Switched" : last.relay ? "Switched on" : "Switched off";
  return `${state} ${formatInstant(last.at)}: ${causeOf(last)}.`;
}

function causeOf(change) {
  if (change.source === "command") return change.why === "user" ? `${nameOf(change)} by ${whoOf(change)}` : `${nameOf(change)}, by ${change.why}`;
  const { event, details } = change.report || {};
  return ["by the socket itself", event, details?.cause].filter(Boolean).join(", ").replaceAll("_", " ");
}

// A page of it, and behind it the older ones for whoever asks.
export async function historyOf(deviceId, cursor) {
  const page = await ask(`${pathOf(deviceId)}/commands`, { limit: 50, ...(cursor ? { cursor } : {}) });
  const rows = page.items.map((one) => [
    instant(one.requested_at), nameOf(one), whoOf(one), make("span", { class: "outcome", "data-state": one.state, text: describe(one) }),
  ]);
  const shown = table("Commands", ["When", "What", "Who", "How it went"], rows, "No command yet.");
  if (!page.next_cursor) return [shown];
  const more = make("button", { type: "button", class: "more", text: "Show older ones", onclick: () => attempt(async () => more.replaceWith(...(await historyOf(deviceId, page.next_cursor)))) });
  return [shown, more];
}
