// For the site's admins: what was decided and what was denied, and dead letters.
import { API, ask } from "./api.js";
import { attempt, byId, instant, make, table } from "./dom.js";
import { makeForm } from "./form.js";

const SINCE = [["-24h", "the last day"], ["-7d", "the last week"], ["-30d", "the last month"], ["", "ever"]];
const KINDS = [["", "everything"], ["false", "what was done"], ["true", "denied attempts"]];
let filters = { from: "-24h" };
let asked = 0;

export async function showAudit() {
  const list = make("div", { id: "audit-list" });
  const fields = [
    { name: "from", label: "Since", options: SINCE },
    { name: "denied", label: "Show", options: KINDS },
    { name: "device", label: "Socket's id", maxlength: 64, spellcheck: "false" },
    { name: "action", label: "What", maxlength: 190, placeholder: "device-registered", spellcheck: "false" },
    { name: "actor", label: "Actor", maxlength: 190, placeholder: "user:…", spellcheck: "false" },
    { name: "subject", label: "Of what", maxlength: 190, placeholder: "user:… tenant:… command:…", spellcheck: "false" },
    { name: "correlation_id", label: "Correlation id", maxlength: 190, spellcheck: "false" },
  ].map((field) => ({ ...field, value: filters[field.name] ?? "" }));
  const send = async (values) => {
    filters = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, value.trim()]).filter(([, value]) => value));
    await loadAudit(list);
  };
  const form = makeForm({ fields, submit: "Show", send, kind: "grid", label: "Filter" });
  const letters = make("details", { class: "card more-part" }, make("summary", { text: "Dead letters" }), make("div", { class: "body" }));
  letters.addEventListener("toggle", () => { if (letters.open) attempt(async () => letters.querySelector(".body").replaceChildren(await deadLetters())); });
  const exporting = make("p", { class: "buttons" }, ["csv", "ndjson"].map((kind) => make("a", { href: "#audit", class: "export", text: `Download ${kind.toUpperCase()}`, onclick: (event) => download(event, kind) })));
  byId("audit").replaceChildren(make("h2", { text: "Audit", tabindex: "-1" }), make("div", { class: "card" }, form, exporting), list, letters);
  await loadAudit(list);
}

async function loadAudit(list, cursor) {
  const mine = ++asked;
  const page = await ask("audit", { ...filters, limit: 100, ...(cursor ? { cursor } : {}) });
  // A slow answer must not replace what was asked for since.
  if (mine !== asked) return;
  const rows = page.items.map((one) => [
    instant(one.at), one.who || one.actor, `${one.action}${one.denied ? " (denied)" : ""}`, one.subject, one.origin || "", details(one),
  ]);
  const shown = table("Audit", ["When", "Who", "What", "Of what", "From where", ""], rows, "Nothing.");
  const more = page.next_cursor && make("button", { type: "button", class: "more", text: "Show more", onclick: () => { more.remove(); attempt(() => loadAudit(list, page.next_cursor)); } });
  if (!cursor) list.replaceChildren();
  list.append(shown, more || "");
}

function details(one) {
  const text = [one.reason && `reason: ${one.reason}`, `actor: ${one.actor}`, `correlation: ${one.correlation_id}`, `before: ${JSON.stringify(one.before)}`, `after: ${JSON.stringify(one.after)}`].filter(Boolean).join("\n");
  const only = (label, name, value) => make("button", { type: "button", class: "plain", text: label, onclick: () => { filters = { ...(filters.from ? { from: filters.from } : {}), [name]: value }; attempt(showAudit); } });
  return make("details", {}, make("summary", { text: "more" }), make("pre", { text }),
    make("p", { class: "buttons" }, only("All by this actor", "actor", one.actor), only("All about this", "subject", one.subject), only("All of this request", "correlation_id", one.correlation_id)));
}

// The format is asked for in a header, which no link can send.
async function download(event, kind) {
  event.preventDefault();
  const type = kind === "csv" ? "text/csv" : "application/x-ndjson";
  await attempt(async () => {
    const answer = await fetch(`${API}/audit?${new URLSearchParams(filters)}`, { headers: { Accept: type } });
    if (!answer.ok) throw new Error(`The audit log could not be fetched (${answer.status}).`);
    const address = URL.createObjectURL(await answer.blob());
    const link = make("a", { href: address, download: `audit.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  });
}

async function deadLetters() {
  const page = await ask("dead-letters", { limit: 50 });
  const rows = page.items.map((one) => [instant(one.received_at), one.device_id || "", one.reason, one.detail, make("a", { href: one.raw_url, download: true, text: `${one.raw_bytes} bytes` })]);
  return table("Dead letters", ["When", "Socket", "Reason", "Detail", "What came"], rows, "None.");
}
