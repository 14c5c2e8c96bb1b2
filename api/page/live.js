// The WebSocket: what it says, and coming back when it breaks off.
import { API } from "./api.js";
import { byId } from "./dom.js";

const HEARTBEATS_MS = 45000;
// The session has ended; the right to every device has.
const RIGHTS_ENDED = new Set([4401, 4403]);

export class LiveFeed {
  // handlers: {hello, readings, presence, missed, sight}; deviceIds(): the ids to ask for, empty for all.
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

  // Break off and come back if it is other devices now that are to be followed.
  renew() {
    if (this.socket && String(this.deviceIds()) !== this.followed) this.socket.close();
  }

  connect() {
    if (!this.wanted) return;
    const address = new URL(`${API}/live`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const ids = this.deviceIds();
    this.followed = String(ids);
    for (const id of ids) address.searchParams.append("device", id);
    if (this.lastId) address.searchParams.set("last_event_id", this.lastId);
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.addEventListener("message", (event) => { if (socket === this.socket) this.hear(JSON.parse(event.data)); });
    socket.addEventListener("close", ({ code }) => this.reconnect(socket, code));
  }

  reconnect(socket, code) {
    if (socket !== this.socket || !this.wanted) return;
    if (RIGHTS_ENDED.has(code)) this.handlers.sight();
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
