// The WebSocket: what it says, and coming back when it breaks off.
import { API } from "./api.js";
import { byId } from "./dom.js";

const HEARTBEATS_MS = 45000;

export class LiveFeed {
  // handlers: {hello, readings, presence, missed}; deviceIds(): the ids to ask for, empty for all.
  constructor(handlers, deviceIds) {
    Object.assign(this, { handlers, deviceIds, backoffMs: 500, lastId: null, wanted: false, socket: null });
  }

  start() {
    if (this.wanted) return;
    this.wanted = true;
    this.connect();
  }

  stop() {
    this.wanted = false;
    this.lastId = null;
    clearTimeout(this.quietTimer);
    clearTimeout(this.againTimer);
    if (this.socket) this.socket.close();
    this.socket = null;
  }

  // Break off and come back, with other devices maybe.
  renew() {
    if (this.socket) this.socket.close();
  }

  connect() {
    if (!this.wanted) return;
    const address = new URL(`${API}/live`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    for (const id of this.deviceIds()) address.searchParams.append("device", id);
    if (this.lastId) address.searchParams.set("last_event_id", this.lastId);
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.addEventListener("message", (event) => { if (socket === this.socket) this.hear(JSON.parse(event.data)); });
    socket.addEventListener("close", () => this.reconnect(socket));
  }

  reconnect(socket) {
    if (socket !== this.socket || !this.wanted) return;
    clearTimeout(this.quietTimer);
    const waitMs = this.backoffMs * (0.5 + Math.random());
    showLink("lost", `Connection lost, trying again in ${Math.ceil(waitMs / 1000)} s`);
    this.backoffMs = Math.min(15000, this.backoffMs * 2);
    this.againTimer = setTimeout(() => this.connect(), waitMs);
  }

  hear(event) {
    if (event.id) this.lastId = event.id;
    clearTimeout(this.quietTimer);
    // Three heartbeats without a word: the connection is dead even if nobody said so.
    this.quietTimer = setTimeout(() => this.socket && this.socket.close(), HEARTBEATS_MS);
    if (event.type === "hello") {
      this.backoffMs = 500;
      showLink("live", "Live");
    }
    const take = this.handlers[event.type];
    if (take) take(event);
  }
}

function showLink(kind, text) {
  byId("link").dataset.state = kind;
  byId("link-text").textContent = text;
}
