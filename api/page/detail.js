// One socket: facts, switching, the chart and the last days.
import { API, ask } from "./api.js";
import { PowerChart } from "./chart.js";
import { command, historyOf, inHistory, whySwitched } from "./commands.js";
import { byId, make } from "./dom.js";
import { formatAge, formatEnergy, formatPower } from "./format.js";
import { openManage } from "./manage.js";
import { drawSwitch, list, relayOf, switchOver } from "./sockets.js";

const WIDTHS_MS = { raw: 0, "15m": 900000, "1h": 3600000, "1d": 86400000 };
const state = { range: "-24h", resolution: "auto", shown: null, relay: null };
export const chart = new PowerChart(byId("chart"), byId("chart-text"));
const chosen = () => list.sockets.get(list.chosen);
const pathOf = (deviceId, what) => `devices/${encodeURIComponent(deviceId)}/${what}`;

export function choose(deviceId) {
  list.chosen = deviceId;
  state.shown = null;
  byId("detail").hidden = false;
  document.body.classList.add("with-detail");
  for (const socket of list.sockets.values()) socket.button.setAttribute("aria-pressed", String(socket.id === deviceId));
  byId("command-state").textContent = "";
  byId("why").textContent = "";
  state.relay = relayOf(chosen());
  showFacts();
  loadChart();
  loadDays();
  loadWhy();
  openManage(chosen(), showFacts);
  for (const part of byId("detail").querySelectorAll("details")) part.open = false;
  byId("detail-title").focus({ preventScroll: false });
}

export function closeDetail() {
  const socket = chosen();
  list.chosen = null;
  byId("detail").hidden = true;
  document.body.classList.remove("with-detail");
  if (!socket) return;
  socket.button.setAttribute("aria-pressed", "false");
  socket.button.focus();
}

// What may be done with it may change while it is open.
export function showRights() {
  if (!chosen()) return;
  openManage(chosen(), showFacts);
  showFacts();
}

export function showFacts() {
  const socket = chosen();
  if (!socket) return;
  const { reading } = socket;
  byId("detail-title").textContent = socket.name;
  byId("detail-place").textContent = [socket.location, socket.name === socket.id ? null : socket.id].filter(Boolean).join(" · ");
  const facts = [socket.online ? "online" : `offline, heard ${formatAge(socket.lastSeenAt)}`];
  if (reading) {
    facts.push(formatPower(reading.power_w));
    if (reading.voltage_v) facts.push(`${reading.voltage_v.toFixed(1)} V`);
    if (reading.current_a) facts.push(`${reading.current_a.toFixed(2)} A`);
    if (reading.temperature_c) facts.push(`${reading.temperature_c.toFixed(0)} °C`);
  }
  if (socket.firmware) facts.push(`firmware ${socket.firmware}`);
  if (socket.configDesired) facts.push(`configuration ${socket.configDesired}${socket.configReported === socket.configDesired ? "" : " on its way"}`);
  byId("facts").textContent = facts.join(" · ");
  byId("controls").hidden = !socket.may.has("switch");
  const relay = relayOf(socket);
  drawSwitch(byId("switch"), socket, relay, relay === null ? "" : relay ? "on" : "off");
  if (relay === state.relay) return;
  state.relay = relay;
  loadWhy();
}

// --- commands --------------------------------------------------------------------------------------------

export function followCommand(socket, commandState, text) {
  if (socket.id !== list.chosen) return;
  byId("command-state").textContent = text;
  byId("command-state").dataset.state = commandState;
  showFacts();
}

async function runCommand(button, run) {
  const socket = chosen();
  button.setAttribute("aria-busy", "true");
  const ended = await run(socket, (commandState, text) => followCommand(socket, commandState, text));
  button.setAttribute("aria-busy", "false");
  afterCommand(socket, ended);
}

export async function afterCommand(socket, ended) {
  if (socket.id !== list.chosen) return;
  showFacts();
  await inHistory(socket.id, ended);
  if (socket.id !== list.chosen) return;
  loadWhy();
  if (byId("history-part").open) loadHistory();
}

async function loadWhy() {
  const { chosen: deviceId } = list;
  const why = await whySwitched(deviceId).catch(() => "");
  if (deviceId === list.chosen) byId("why").textContent = why;
}

async function loadHistory() {
  const { chosen: deviceId } = list;
  const shown = await historyOf(deviceId).catch((problem) => [make("p", { class: "form-error", text: problem.message })]);
  if (deviceId === list.chosen) byId("history").replaceChildren(...shown);
}

// --- readings --------------------------------------------------------------------------------------------

export async function loadChart() {
  const { chosen: deviceId } = list;
  const { range, resolution } = state;
  const path = pathOf(deviceId, "readings");
  byId("csv").href = `${API}/${path}?${new URLSearchParams({ from: range, resolution, format: "csv" })}`;
  let series;
  try {
    series = await wholeSeries(path, { from: range, resolution });
  } catch (error) {
    if (deviceId !== list.chosen) return;
    chart.show([], [0, 1], 0);
    byId("chart-text").textContent = error.status === 404 ? "No reading has come yet." : `The readings could not be fetched (${error.message}).`;
    return;
  }
  if (deviceId !== list.chosen || range !== state.range || resolution !== state.resolution) return;
  state.shown = series.resolution;
  chart.show(series.points.map(toPoint), [Date.parse(series.from), Date.parse(series.to)], WIDTHS_MS[series.resolution]);
}

async function wholeSeries(path, parameters) {
  const series = await ask(path, { ...parameters, limit: 5000 });
  let next = series.next_cursor;
  // More than 20,000 points would not be told apart on the screen.
  for (let page = 0; next !== null && page < 3; page += 1) {
    const more = await ask(path, { ...parameters, limit: 5000, cursor: next });
    series.points.push(...more.points);
    series.to = more.to;
    next = more.next_cursor;
  }
  return series;
}

function toPoint(point) {
  const mean = point.power_w ?? point.power_mean_w;
  return { at: Date.parse(point.at), mean, low: point.power_min_w ?? mean, high: point.power_max_w ?? mean };
}

export function appendToChart(reading) {
  if (state.shown === "raw") chart.append(toPoint({ at: reading.measured_at, power_w: reading.power_w }));
}

async function loadDays() {
  const { chosen: deviceId } = list;
  const daily = await ask(pathOf(deviceId, "daily"), { from: "-6d" }).catch(() => ({ items: [] }));
  if (deviceId !== list.chosen) return;
  const rows = daily.items.reverse().map((day) => {
    const label = new Date(`${day.day}T12:00:00`).toLocaleDateString([], { weekday: "short", day: "2-digit", month: "short" });
    const cells = [formatEnergy(day.energy_wh), formatPower(day.power_mean_w), formatPower(day.power_max_w), `${Math.floor(day.coverage * 100)} %`];
    return make("tr", {}, make("th", { scope: "row", text: label }), cells.map((text) => make("td", { text })));
  });
  byId("days").replaceChildren(...rows);
}

function press(attribute) {
  const buttons = [...document.querySelectorAll(`button[data-${attribute}]`)];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      state[attribute] = button.dataset[attribute];
      loadChart();
    });
  }
}

press("range");
press("resolution");
byId("close").addEventListener("click", closeDetail);
byId("detail").addEventListener("keydown", (event) => { if (event.key === "Escape") closeDetail(); });
byId("switch").addEventListener("click", () => runCommand(byId("switch"), switchOver));
for (const [id, type, words] of [["identify", "identify", "blink"], ["restart", "restart", "restart"]]) {
  byId(id).addEventListener("click", () => runCommand(byId(id), (socket, follow) => command(socket.id, { type }, (now, text) => follow(now, `${words}: ${text}`))));
}
byId("history-part").addEventListener("toggle", () => { if (byId("history-part").open) loadHistory(); });
setInterval(() => { if (list.chosen && state.shown !== "raw") loadChart(); }, 30000);
