// The list of sockets: what they are, what they say, and switching them.
import { ask } from "./api.js";
import { command } from "./commands.js";
import { announce, byId } from "./dom.js";
import { formatAge, formatPower } from "./format.js";

const SPARK_POINTS = 60;

// listed: how many were asked for page by page; cursor: where those that are not listed begin, null if there are none.
export const list = { sockets: new Map(), listed: 0, cursor: null, chosen: null, orderNeeded: false, onChoose: null, onSwitch: null, onSwitched: null, onGone: null, onLoaded: null };

export function clearSockets() {
  Object.assign(list, { sockets: new Map(), listed: 0, cursor: null, chosen: null, orderNeeded: false });
  byId("sockets").replaceChildren();
}

export function takeDevice(device) {
  const socket = socketOf(device.device_id);
  Object.assign(socket, {
    name: device.name || device.device_id, location: device.location, may: new Set(device.may), tenantId: device.tenant_id,
    lastSeenAt: device.last_seen_at, firmware: device.firmware, online: device.online,
    configDesired: device.config_desired_version, configReported: device.config,
  });
  if (device.latest) takeReading(device.latest);
  draw(socket);
  return socket;
}

// The last minutes of the sockets in view, so that their small charts do not begin empty.
export async function loadSparks() {
  for (const socket of [...list.sockets.values()].filter((one) => one.reading).slice(0, 24)) {
    const path = `devices/${encodeURIComponent(socket.id)}/readings`;
    const series = await ask(path, { from: "-5m", resolution: "raw", limit: 600 });
    socket.powers.unshift(...series.points.slice(0, -1).map((point) => point.power_w));
    socket.powers.splice(0, Math.max(0, socket.powers.length - SPARK_POINTS));
    draw(socket);
  }
}

function socketOf(deviceId) {
  const known = list.sockets.get(deviceId);
  if (known) return known;
  const item = byId("socket").content.firstElementChild.cloneNode(true);
  const find = (selector) => item.querySelector(selector);
  const socket = {
    id: deviceId, name: deviceId, location: null, may: new Set(), item, button: find(".socket"), power: find(".power"), relay: find(".relay"),
    nameText: find(".name"), place: find(".place"), switcher: find(".switch"), spark: find("polyline"), label: find(".state"),
    powers: [], reading: null, relayTold: null, pending: 0, online: false, lastSeenAt: null,
  };
  item.dataset.device = deviceId;
  list.sockets.set(deviceId, socket);
  byId("sockets").append(item);
  list.orderNeeded = true;
  return socket;
}

export function dropSocket(deviceId) {
  const socket = list.sockets.get(deviceId);
  if (!socket) return;
  socket.item.remove();
  list.sockets.delete(deviceId);
  list.onGone?.(socket);
}

export function takeReading(reading) {
  const socket = socketOf(reading.device_id);
  if (socket.reading && reading.measured_at <= socket.reading.measured_at) return socket;
  socket.reading = reading;
  socket.lastSeenAt = reading.received_at;
  // What a reading says counts until a command is acknowledged after it.
  if (socket.relayTold && reading.measured_at > socket.relayTold.at) socket.relayTold = null;
  socket.powers.push(reading.power_w);
  if (socket.powers.length > SPARK_POINTS) socket.powers.shift();
  return socket;
}

// True, false, or null if nobody knows.
export function relayOf(socket) {
  if (socket.relayTold) return socket.relayTold.relay;
  return socket.reading?.relay ?? null;
}

export function draw(socket) {
  const { reading } = socket;
  const relay = relayOf(socket);
  const word = relay === null ? "" : relay ? "on" : "off";
  socket.item.classList.toggle("offline", !socket.online);
  setText(socket.nameText, socket.name);
  setText(socket.place, [socket.location, socket.name === socket.id ? null : socket.id].filter(Boolean).join(" · "));
  setText(socket.power, reading ? formatPower(reading.power_w) : "–");
  const switches = socket.may.has("switch");
  socket.relay.hidden = switches;
  setText(socket.relay, word);
  socket.relay.dataset.relay = word;
  socket.switcher.hidden = !switches;
  if (switches) drawSwitch(socket.switcher, socket, relay, word);
  setText(socket.label, `${socket.online ? "online" : "offline"}, relay ${word || "unknown"}`);
  socket.button.title = socket.online ? "online" : `offline, heard ${formatAge(socket.lastSeenAt)}`;
  drawSpark(socket);
}

export function drawSwitch(button, socket, relay, word) {
  button.setAttribute("aria-checked", String(relay === true));
  button.setAttribute("aria-busy", String(socket.pending > 0));
  button.setAttribute("aria-label", `Switch ${socket.name}`);
  setText(button, socket.pending ? "…" : word || "?");
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function drawSpark(socket) {
  const top = Math.max(1, ...socket.powers) * 1.15;
  const step = 120 / (SPARK_POINTS - 1);
  const start = 120 - step * (socket.powers.length - 1);
  socket.spark.setAttribute("points", socket.powers.map((power, index) => `${(start + index * step).toFixed(1)},${(30 - (power / top) * 28).toFixed(1)}`).join(" "));
}

// Switches over; the button shows what is true, and until the socket has answered that it is being asked.
export async function switchOver(socket, follow) {
  if (socket.pending) return { state: "busy" };
  const relay = relayOf(socket);
  const order = relay === null ? { type: "toggle" } : { type: "switch", relay: !relay };
  const words = relay === null ? "switch over" : relay ? "switch off" : "switch on";
  socket.pending += 1;
  draw(socket);
  const ended = await command(socket.id, order, (now, text, one) => {
    if (now === "acknowledged" && relay !== null) socket.relayTold = { relay: !relay, at: one.ended_at };
    follow(now, `${words}: ${text}`);
  });
  socket.pending -= 1;
  draw(socket);
  return ended;
}

async function switchFromList(socket) {
  const ended = await switchOver(socket, (state, text) => {
    announce(`${socket.name}: ${text}`, ["rejected", "expired", "failed", "refused", "unknown"].includes(state) ? "bad" : "good");
    list.onSwitch?.(socket, state, text);
  });
  list.onSwitched?.(socket, ended);
}

export function arrange() {
  list.orderNeeded = false;
  const wanted = byId("search").value.trim().toLowerCase();
  const byPower = byId("sort").value === "power";
  const power = (socket) => (socket.online && socket.reading ? socket.reading.power_w : -1);
  const byName = new Intl.Collator(undefined, { numeric: true }).compare;
  const sockets = [...list.sockets.values()].sort((a, b) => (byPower && power(b) - power(a)) || byName(a.name, b.name) || byName(a.id, b.id));
  const items = byId("sockets");
  let visible = 0;
  // Moving only what stands elsewhere keeps the focus where it is.
  let place = items.firstElementChild;
  for (const socket of sockets) {
    socket.item.hidden = ![socket.name, socket.id, socket.location || ""].some((text) => text.toLowerCase().includes(wanted));
    visible += socket.item.hidden ? 0 : 1;
    if (place === socket.item) place = place.nextElementSibling;
    else items.insertBefore(socket.item, place);
  }
  byId("empty").hidden = visible > 0;
  const none = list.cursor === null ? "No socket has such a name." : "Looking …";
  byId("empty").textContent = wanted && sockets.length ? none : "You see no socket yet.";
}

let arranging = 0;
export function arrangeSoon() {
  if (!arranging) arranging = setTimeout(() => { arranging = 0; arrange(); }, 1000);
}

byId("search").addEventListener("input", arrange);
byId("sort").addEventListener("change", arrange);
byId("sockets").addEventListener("click", (event) => {
  const socket = list.sockets.get(event.target.closest("li")?.dataset.device);
  if (!socket) return;
  if (event.target.closest(".switch")) switchFromList(socket);
  else if (event.target.closest(".socket")) list.onChoose?.(socket.id);
});
