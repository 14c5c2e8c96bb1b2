// One socket: facts, switching, the chart and the last days.
import { API, ask } from "./api.js";
import { PowerChart } from "./chart.js";
import { command, historyOf, inHistory, whySwitched } from "./commands.js";
import { byId, make } from "./dom.js";
import { formatAge, formatEnergy, formatPower } from "./format.js";
import { openManage } from "./manage.js";
import { drawSwitch, list, relayOf, switchOver } from "./sockets.js";

const WIDTHS_MS = { raw: 0, "15m": 900000, "1h": 3600000, "1d": 86400000 };
const PAGE_POINTS = 5000;
// More would not be told apart on the screen.
const MOST_READINGS = 20000;
// heard: readings of the feed that a raw chart on its way may not know yet.
const state = { range: "-24h", resolution: "auto", shown: null, heard: [], relay: null };
export const chart = new PowerChart(byId("chart"), byId("chart-text"));
const chosen = () => list.sockets.get(list.chosen);
const pathOf = (deviceId, what) => `devices/${encodeURIComponent(deviceId)}/${what}`;

export function choose(deviceId) {
  list.chosen = deviceId;
  Object.assign(state, { shown: null, heard: [] });
  byId("days").replaceChildren();
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
    series = await fetchSeries(path, { from: range, resolution, limit: PAGE_POINTS });
  } catch (error) {
    if (deviceId !== list.chosen) return;
    state.shown = null;
    chart.show([], [0, 1], 0);
    byId("chart-text").textContent = error.status === 404 ? "No reading has come yet." : `The readings could not be fetched (${error.message}).`;
    return;
  }
  if (deviceId !== list.chosen || range !== state.range || resolution !== state.resolution) return;
  const heard = state.shown === "raw" ? chart.points : state.heard;
  Object.assign(state, { shown: series.resolution, heard: [] });
  const points = series.points.map(toPoint);
  const fromAt = Date.parse(series.from);
  chart.show(points, [fromAt, Date.parse(series.to)], WIDTHS_MS[series.resolution], series.isNewest);
  const lastAt = points.at(-1)?.at ?? fromAt;
  if (state.shown === "raw") heard.filter((point) => point.at > lastAt).forEach((point) => chart.append(point));
}

// All of the range, or of more readings than a chart holds the newest. Only readings come on several pages: 30 days are 2,880 quarters.
async function fetchSeries(path, parameters) {
  const first = await ask(path, parameters);
  if (first.next_cursor === null) return first;
  const from = await newestFrom(path, first);
  const isNewest = from !== first.from;
  const series = isNewest ? await ask(path, { ...parameters, from, to: first.to }) : first;
  let next = series.next_cursor;
  while (next !== null) {
    const more = await ask(path, { ...parameters, cursor: next });
    series.points.push(...more.points);
    next = more.next_cursor;
  }
  return { ...series, isNewest };
}

// Where the newest quarters begin that hold no more readings than a chart; where the range begins if those are all.
async function newestFrom(path, { from, to }) {
  const { points } = await ask(path, { from, to, resolution: "15m", limit: PAGE_POINTS });
  let first = points.length - 1;
  for (let held = points[first].readings; first > 0; first -= 1) {
    held += points[first - 1].readings;
    if (held > MOST_READINGS) return points[first].at;
  }
  return from;
}

function toPoint(point) {
  const mean = point.power_w ?? point.power_mean_w;
  return { at: Date.parse(point.at), mean, low: point.power_min_w ?? mean, high: point.power_max_w ?? mean };
}

export function appendToChart(reading) {
  const point = toPoint({ at: reading.measured_at, power_w: reading.power_w });
  if (state.shown === "raw") chart.append(point);
  else state.heard.push(point);
}

async function loadDays() {
  const { chosen: deviceId } = list;
  const daily = await ask(pathOf(deviceId, "daily"), { from: "-6d" }).catch(() => null);
  if (daily === null || deviceId !== list.chosen) return;
  const rows = daily.items.reverse().map((day) => {
    const label = new Date(`${day.day}T12:00:00`).toLocaleDateString([], { weekday: "short", day: "2-digit", month: "short" });
    const cells = [formatEnergy(day.energy_wh), formatPower(day.power_mean_w), formatPower(day.power_max_w), `${Math.floor(day.coverage * 100)} %`];
    return make("tr", {}, make("th", { scope: "row", text: label }), cells.map((text) => make("td", { text })));
  });
  byId("days").replaceChildren(...rows);
}

// What was missed of the feed is asked for: once for many, and one after the other.
let last = Promise.resolve();
let reloading = null;
export function reloadSoon() {
  reloading ||= last.then(() => new Promise((go) => { setTimeout(go, 300); })).then(() => {
    reloading = null;
    if (list.chosen) last = Promise.allSettled([loadChart(), loadDays()]);
  });
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
setInterval(() => {
  if (!list.chosen) return;
  loadDays();
  if (state.shown !== "raw") loadChart();
}, 30000);
