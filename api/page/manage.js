// What may be changed about a socket: name, behaviour, shares, token, taking it out of use.
import { ask, tell } from "./api.js";
import { command, pause, untilEnded } from "./commands.js";
import { announce, attempt, byId, make, table } from "./dom.js";
import { confirmByTyping, showSecrets } from "./dialogs.js";
import { makeForm } from "./form.js";
import { arrange, draw, dropSocket } from "./sockets.js";

// [member, label, unit, units of the wire per unit shown]
const REFERENCES = [["power_mw", "Power", "W", 1000], ["current_ma", "Current", "A", 1000], ["voltage_mv", "Voltage", "V", 1000]];
const LIMITS = [
  ["interval_ms", "Interval of readings", "s", 1000],
  ["max_power_mw", "Switch off above", "W", 1000],
  ["max_current_ma", "Switch off above", "A", 1000],
  ["min_voltage_mv", "Switch off below", "V", 1000],
  ["max_voltage_mv", "Switch off above", "V", 1000],
  ["max_temperature_mc", "Switch off above", "°C", 1000],
];
const POWER_ON = [["", "as it does by itself"], ["off", "off"], ["on", "on"], ["last", "as before"],
  ["outage-aware", "as before, but off if the power keeps going with it"]];
const PERMISSIONS = [["view", "see it"], ["switch", "see and switch it"], ["manage", "see, switch and configure it"]];
const pathOf = (socket, what = "") => `devices/${encodeURIComponent(socket.id)}${what}`;

let current = { socket: null, changed: () => {} };

export function openManage(socket, changed) {
  current = { socket, changed };
  const parts = { "name-part": "describe", "config-part": "configure", "meter-part": "configure", "shares-part": "share", "token-part": "rotate_token", "end-part": "decommission" };
  for (const [id, deed] of Object.entries(parts)) byId(id).hidden = !socket.may.has(deed);
}

const OPENERS = { "name-part": openName, "config-part": openConfiguration, "meter-part": openMeter, "shares-part": openShares, "token-part": openToken, "end-part": openEnd };
for (const [id, open] of Object.entries(OPENERS)) {
  byId(id).addEventListener("toggle", () => {
    const { socket } = current;
    if (byId(id).open) attempt(async () => fill(id, socket, await open(socket)));
  });
}

function fill(id, socket, parts) {
  if (socket === current.socket) byId(id).querySelector(".body").replaceChildren(...parts);
}

function openName(socket) {
  const fields = [
    { name: "name", label: "Name", required: true, maxlength: 100, value: socket.name },
    { name: "location", label: "Location", maxlength: 100, value: socket.location || "" },
  ];
  const send = async ({ name, location }) => {
    const told = await tell("PATCH", pathOf(socket), { name: name.trim(), location: location.trim() || null });
    Object.assign(socket, { name: told.name || socket.id, location: told.location });
    draw(socket);
    current.changed();
    announce("Saved.");
  };
  return [makeForm({ fields, submit: "Save", send, label: "Name and location" })];
}

async function openConfiguration(socket) {
  const state = await ask(pathOf(socket, "/configuration"));
  const { desired } = state;
  const fields = LIMITS.map(([name, label, unit, scale]) => ({
    name, label: `${label} (${unit})`, type: "number", step: "any", min: "0", value: desired[name] === undefined ? "" : String(desired[name] / scale),
  }));
  fields.push({ name: "power_on", label: "When the power comes back", options: POWER_ON, value: desired.power_on || "" });
  fields.push({ name: "time_zone", label: "Time zone", value: desired.time_zone || "", placeholder: "Europe/Berlin", maxlength: 64 });
  const send = async (values) => {
    const told = await tell("PUT", pathOf(socket, "/configuration"), toWire(values));
    line.textContent = versionLine(told);
    announce(told.command_url ? "Saved, and on its way to the socket." : "Saved; nothing was different.");
    if (told.command_url) attempt(() => confirm(socket, told, line));
  };
  const line = make("p", { class: "note", text: versionLine(state) });
  return [line, make("p", { class: "hint", text: "What is left empty is the socket's own default." }), makeForm({ fields, submit: "Save", send, kind: "grid", label: "Configuration" })];
}

// The socket says by itself which version it has, a moment after it has answered the command.
async function confirm(socket, told, line) {
  const url = told.command_url;
  const { state } = await untilEnded({ ...(await ask(url)), url }, () => {});
  for (let look = 0; look < 10 && line.isConnected; look += 1) {
    const now = await ask(pathOf(socket, "/configuration"));
    line.textContent = versionLine(now);
    Object.assign(socket, { configDesired: now.version, configReported: now.reported_version });
    current.changed();
    if (state !== "acknowledged" || now.confirmed || now.version > told.version) return;
    await pause(300);
  }
}

function inWireUnits(members, values) {
  const filled = members.filter(([name]) => values[name] !== "");
  return Object.fromEntries(filled.map(([name, , , scale]) => [name, Math.round(Number(values[name]) * scale)]));
}

function toWire(values) {
  const wire = inWireUnits(LIMITS, values);
  if (values.power_on) wire.power_on = values.power_on;
  if (values.time_zone.trim()) wire.time_zone = values.time_zone.trim();
  return wire;
}

function versionLine({ version, reported_version: reported, confirmed }) {
  if (version === 0) return "Never configured: the socket runs on its own defaults.";
  const has = reported === null ? "has not said which it has" : `has version ${reported}`;
  return confirmed ? `Version ${version}, confirmed by the socket.` : `Version ${version} is on its way; the socket ${has}.`;
}

const WHY_NOT_CALIBRATED = {
  unsteady: "the load is not steady, or too small",
  too_far_off: "its meter is further off than one can be: is that the right load?",
  not_kept: "its memory is out of order",
};

function openMeter(socket) {
  const fields = REFERENCES.map(([name, label, unit]) => ({ name, label: `${label} (${unit})`, type: "number", step: "any", min: "0" }));
  const line = make("p", { class: "note", role: "status" });
  const send = async (values) => {
    const told = (state, text, ended) => { line.textContent = WHY_NOT_CALIBRATED[ended?.reason] ? `Not done: ${WHY_NOT_CALIBRATED[ended.reason]}.` : `calibrate: ${text}`; };
    await command(socket.id, { type: "calibrate", reference: inWireUnits(REFERENCES, values) }, told);
  };
  const hint = "Let a heater or kettle of some hundred watts run, and write what a meter that you trust shows of it; what is left empty stays as it is.";
  return [make("p", { class: "hint", text: hint }), makeForm({ fields, submit: "Calibrate", send, kind: "grid", label: "Meter" }), line];
}

async function openShares(socket) {
  const { items } = await ask(pathOf(socket, "/shares"));
  const again = () => attempt(async () => fill("shares-part", socket, await openShares(socket)));
  const rows = items.map((one) => {
    const name = one.name || "somebody who was forgotten";
    const choice = make("select", { "aria-label": `What ${name} may do` }, PERMISSIONS.map(([key, text]) => make("option", { value: key, text })));
    choice.value = one.permission;
    const path = pathOf(socket, `/shares/${one.user_id}`);
    choice.addEventListener("change", () => attempt(() => tell("PUT", path, { permission: choice.value })).then(again));
    return [name, choice, make("button", { type: "button", class: "plain", text: "End", "aria-label": `End sharing with ${name}`, onclick: () => attempt(() => tell("DELETE", path)).then(again) })];
  });
  const fields = [
    { name: "email", label: "Email", type: "email", required: true, maxlength: 254 },
    { name: "permission", label: "They may", options: PERMISSIONS },
  ];
  const send = async (values) => {
    await tell("POST", pathOf(socket, "/shares"), values);
    announce(`If somebody signs in here as ${values.email}, they see this socket now.`);
    again();
  };
  return [table("Shared with", ["Who", "May", ""], rows, "Shared with nobody."), makeForm({ fields, submit: "Share", send })];
}

function openToken(socket) {
  const rotate = () => attempt(async () => {
    const { token } = await tell("POST", pathOf(socket, "/token"));
    await showSecrets("A new token", `The old one of ${socket.id} counts no more. This one is shown only now: put it into the socket.`, [["Token", token]]);
  });
  return [make("p", { text: "Another token ends the socket's connection at once; it comes back with the new one." }), make("p", { class: "buttons" }, make("button", { type: "button", class: "act danger", text: "Make another token", onclick: rotate }))];
}

function openEnd(socket) {
  const end = () => attempt(async () => {
    await confirmByTyping("Take the socket out of use", `${socket.name} can no longer connect, and all shares end. Its history stays.`, socket.id, "Take it out of use", () => tell("DELETE", pathOf(socket)));
    byId("close").click();
    dropSocket(socket.id);
    arrange();
    announce(`${socket.id} is out of use.`);
  });
  return [make("p", { class: "buttons" }, make("button", { type: "button", class: "act danger", text: "Take it out of use …", onclick: end }))];
}
