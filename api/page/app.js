// The live page: a list of sockets fed by the WebSocket, and one socket's chart.
"use strict";

const API = "/api/v1";
const PAGE_SIZE = 100;
const SPARK_POINTS = 60;
const WIDTHS_MS = { raw: 0, "15m": 900000, "1h": 3600000, "1d": 86400000 };
const byId = (id) => document.getElementById(id);

const state = { sockets: new Map(), cursor: null, total: 0, chosen: null, range: "-24h", resolution: "auto", shown: null };
const chart = new PowerChart(byId("chart"), byId("chart-text"));
let orderNeeded = false;

// --- the API ---------------------------------------------------------------------------------------------

async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const answer = await fetch(`${API}/${path}${query ? `?${query}` : ""}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function loadSockets(cursor) {
  const page = await ask("devices", { limit: PAGE_SIZE, ...(cursor ? { cursor } : {}) });
  for (const device of page.items) {
    const socket = socketOf(device.device_id);
    socket.lastSeenAt = device.last_seen_at;
    socket.firmware = device.firmware;
    if (device.latest) takeReading(device.latest);
    setOnline(socket, device.online);
    draw(socket);
  }
  if (cursor || state.cursor === null) state.cursor = page.next_cursor;
  byId("more").hidden = state.cursor === null;
  arrange();
}

// The last minutes of the sockets in view, so that their small charts do not begin empty.
async function loadSparks() {
  for (const socket of [...state.sockets.values()].slice(0, 24)) {
    const path = `devices/${encodeURIComponent(socket.id)}/readings`;
    const series = await ask(path, { from: "-5m", resolution: "raw", limit: 600 });
    socket.powers.unshift(...series.points.slice(0, -1).map((point) => point.power_w));
    socket.powers.splice(0, Math.max(0, socket.powers.length - SPARK_POINTS));
    draw(socket);
  }
}

async function loadFleet() {
  const fleet = await ask("fleet");
  state.total = fleet.devices;
  byId("fleet-power").textContent = formatPower(fleet.power_w);
  byId("fleet-energy").textContent = formatEnergy(fleet.energy_today_wh);
  byId("fleet-online").textContent = `${formatCount(fleet.online)} / ${formatCount(fleet.devices)}`;
  byId("fleet-rate").textContent = formatCount(fleet.readings_per_min);
  byId("fleet-dead").textContent = formatCount(fleet.dead_letters);
  byId("fleet-dead").classList.toggle("warn", fleet.dead_letters_24h > 0);
}

// --- the list --------------------------------------------------------------------------------------------

function socketOf(deviceId) {
  const known = state.sockets.get(deviceId);
  if (known) return known;
  const item = byId("socket").content.firstElementChild.cloneNode(true);
  const find = (selector) => item.querySelector(selector);
  const socket = {
    id: deviceId, item, button: find(".socket"), dot: find(".dot"), power: find(".power"), relay: find(".relay"),
    spark: find("polyline"), label: find(".state"), powers: [], reading: null, online: false, lastSeenAt: null,
  };
  find(".name").textContent = deviceId;
  socket.button.addEventListener("click", () => choose(deviceId));
  state.sockets.set(deviceId, socket);
  byId("sockets").append(item);
  orderNeeded = true;
  return socket;
}

function setOnline(socket, online) {
  socket.online = online;
}

function takeReading(reading) {
  const socket = socketOf(reading.device_id);
  if (socket.reading && reading.measured_at <= socket.reading.measured_at) return socket;
  socket.reading = reading;
  socket.lastSeenAt = reading.received_at;
  socket.powers.push(reading.power_w);
  if (socket.powers.length > SPARK_POINTS) socket.powers.shift();
  return socket;
}

function draw(socket) {
  const { reading } = socket;
  socket.item.classList.toggle("offline", !socket.online);
  socket.power.textContent = reading ? formatPower(reading.power_w) : "–";
  const relay = !reading || reading.relay === undefined || reading.relay === null ? "" : reading.relay ? "on" : "off";
  socket.relay.textContent = relay;
  socket.relay.dataset.relay = relay;
  socket.label.textContent = `${socket.online ? "online" : "offline"}, relay ${relay || "unknown"}`;
  socket.button.title = socket.online ? "online" : `offline, heard ${formatAge(socket.lastSeenAt)}`;
  drawSpark(socket);
}

function drawSpark(socket) {
  const top = Math.max(1, ...socket.powers) * 1.15;
  const step = 120 / (SPARK_POINTS - 1);
  const start = 120 - step * (socket.powers.length - 1);
  socket.spark.setAttribute("points", socket.powers.map((power, index) => `${(start + index * step).toFixed(1)},${(30 - (power / top) * 28).toFixed(1)}`).join(" "));
}

function arrange() {
  orderNeeded = false;
  const wanted = byId("search").value.trim().toLowerCase();
  const byPower = byId("sort").value === "power";
  const power = (socket) => (socket.online && socket.reading ? socket.reading.power_w : -1);
  const sockets = [...state.sockets.values()].sort((a, b) => (byPower && power(b) - power(a)) || a.id.localeCompare(b.id, undefined, { numeric: true }));
  const list = byId("sockets");
  sockets.forEach((socket, index) => {
    socket.item.hidden = !socket.id.toLowerCase().includes(wanted);
    // Moving only what stands elsewhere keeps the focus where it is.
    if (list.children[index] !== socket.item) list.insertBefore(socket.item, list.children[index] || null);
  });
  const visible = sockets.some((socket) => !socket.item.hidden);
  byId("empty").hidden = visible;
  byId("empty").textContent = wanted && sockets.length ? "No socket has such a name." : "No socket has reported yet.";
}

// --- one socket ------------------------------------------------------------------------------------------

function choose(deviceId) {
  state.chosen = deviceId;
  state.shown = null;
  byId("detail").hidden = false;
  document.body.classList.add("with-detail");
  byId("detail-title").textContent = deviceId;
  for (const socket of state.sockets.values()) socket.button.setAttribute("aria-pressed", String(socket.id === deviceId));
  showFacts();
  loadChart();
  loadDays();
  byId("detail-title").focus({ preventScroll: false });
}

function closeDetail() {
  const socket = state.sockets.get(state.chosen);
  state.chosen = null;
  byId("detail").hidden = true;
  document.body.classList.remove("with-detail");
  if (socket) {
    socket.button.setAttribute("aria-pressed", "false");
    socket.button.focus();
  }
}

function showFacts() {
  const socket = state.sockets.get(state.chosen);
  if (!socket) return;
  const { reading } = socket;
  const facts = [socket.online ? "online" : `offline, heard ${formatAge(socket.lastSeenAt)}`];
  if (reading) {
    facts.push(formatPower(reading.power_w));
    if (reading.voltage_v) facts.push(`${reading.voltage_v.toFixed(1)} V`);
    if (reading.current_a) facts.push(`${reading.current_a.toFixed(2)} A`);
    if (reading.temperature_c) facts.push(`${reading.temperature_c.toFixed(0)} °C`);
  }
  if (socket.firmware) facts.push(`firmware ${socket.firmware}`);
  byId("facts").textContent = facts.join(" · ");
}

async function loadChart() {
  const { chosen, range, resolution } = state;
  const path = `devices/${encodeURIComponent(chosen)}/readings`;
  byId("csv").href = `${API}/${path}?${new URLSearchParams({ from: range, resolution, format: "csv" })}`;
  let series;
  try {
    series = await wholeSeries(path, { from: range, resolution });
  } catch (error) {
    byId("chart-text").textContent = `The readings could not be fetched (${error.message}).`;
    return;
  }
  if (chosen !== state.chosen || range !== state.range || resolution !== state.resolution) return;
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

function appendToChart(reading) {
  if (state.shown === "raw") chart.append(toPoint({ at: reading.measured_at, power_w: reading.power_w }));
}

async function loadDays() {
  const { chosen } = state;
  const daily = await ask(`devices/${encodeURIComponent(chosen)}/daily`, { from: "-6d" }).catch(() => ({ items: [] }));
  if (chosen !== state.chosen) return;
  const rows = daily.items.reverse().map((day) => {
    const row = document.createElement("tr");
    const label = new Date(`${day.day}T12:00:00`).toLocaleDateString([], { weekday: "short", day: "2-digit", month: "short" });
    const cells = [label, formatEnergy(day.energy_wh), formatPower(day.power_mean_w), formatPower(day.power_max_w), `${Math.floor(day.coverage * 100)} %`];
    cells.forEach((text, index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (!index) cell.scope = "row";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  });
  byId("days").replaceChildren(...rows);
}

function press(group, attribute, apply) {
  const buttons = [...document.querySelectorAll(`[data-${attribute}]`)].filter((button) => button.tagName === "BUTTON" && group.includes(button.dataset[attribute]));
  for (const button of buttons) {
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      apply(button.dataset[attribute]);
      loadChart();
    });
  }
}

// --- start -----------------------------------------------------------------------------------------------

function refresh() {
  loadSockets().catch(() => {});
  loadFleet().catch(() => {});
}

byId("search").addEventListener("input", arrange);
byId("sort").addEventListener("change", arrange);
byId("close").addEventListener("click", closeDetail);
byId("detail").addEventListener("keydown", (event) => { if (event.key === "Escape") closeDetail(); });
byId("more").addEventListener("click", () => loadSockets(state.cursor).then(() => live.socket.close()).catch(() => {}));
press(["-1h", "-6h", "-24h", "-7d", "-30d"], "range", (range) => { state.range = range; });
press(["auto", "raw", "15m", "1h", "1d"], "resolution", (resolution) => { state.resolution = resolution; });
setInterval(() => loadFleet().catch(() => {}), 5000);
// Silence takes sockets offline without any message, and buckets grow.
setInterval(() => loadSockets().catch(() => {}), 30000);
setInterval(() => { if (state.chosen && state.shown !== "raw") loadChart(); }, 30000);
loadSockets().then(() => { connect(); return loadSparks(); }).catch(() => { if (!live.socket) connect(); });
loadFleet().catch(() => {});
