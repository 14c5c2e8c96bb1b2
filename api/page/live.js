// The WebSocket: what it says, and coming back when it breaks off.
"use strict";

const live = { backoffMs: 500, lastId: null, quietTimer: 0 };

function connect() {
  const address = new URL(`${API}/live`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (state.cursor !== null) for (const id of [...state.sockets.keys()].slice(0, 500)) address.searchParams.append("device", id);
  if (live.lastId) address.searchParams.set("last_event_id", live.lastId);
  const socket = new WebSocket(address);
  live.socket = socket;
  socket.addEventListener("message", (event) => hear(JSON.parse(event.data)));
  socket.addEventListener("close", () => reconnect(socket));
}

function reconnect(socket) {
  if (socket !== live.socket) return;
  clearTimeout(live.quietTimer);
  const waitMs = live.backoffMs * (0.5 + Math.random());
  showLink("lost", `Connection lost, trying again in ${Math.ceil(waitMs / 1000)} s`);
  live.backoffMs = Math.min(15000, live.backoffMs * 2);
  setTimeout(connect, waitMs);
}

function hear(event) {
  if (event.id) live.lastId = event.id;
  clearTimeout(live.quietTimer);
  // Three heartbeats without a word: the connection is dead even if nobody said so.
  live.quietTimer = setTimeout(() => live.socket.close(), 45000);
  const take = { hello: heardHello, readings: heardReadings, presence: heardPresence, missed: heardMissed }[event.type];
  if (take) take(event);
}

function heardHello() {
  live.backoffMs = 500;
  showLink("live", "Live");
  refresh();
}

function heardReadings({ items }) {
  const changed = new Set();
  for (const reading of items) {
    const socket = takeReading(reading);
    setOnline(socket, true);
    changed.add(socket);
    if (reading.device_id === state.chosen) appendToChart(reading);
  }
  changed.forEach(draw);
  if (state.chosen && changed.has(state.sockets.get(state.chosen))) showFacts();
  if (orderNeeded || byId("sort").value === "power") arrangeSoon();
}

function heardPresence({ items }) {
  for (const presence of items) {
    const socket = socketOf(presence.device_id);
    setOnline(socket, presence.online);
    draw(socket);
  }
  if (orderNeeded) arrangeSoon();
}

function heardMissed() {
  loadSockets().catch(() => {});
}

function showLink(kind, text) {
  byId("link").dataset.state = kind;
  byId("link-text").textContent = text;
}

let arranging = 0;
function arrangeSoon() {
  if (!arranging) arranging = setTimeout(() => { arranging = 0; arrange(); }, 1000);
}
