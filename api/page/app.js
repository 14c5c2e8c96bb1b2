// The page as a whole: who is signed in, which view is shown, and the live feed behind the list.
import { ask } from "./api.js";
import { showAccount } from "./account.js";
import { showAudit } from "./audit.js";
import { afterCommand, appendToChart, choose, closeDetail, followCommand, reloadSoon, showFacts, showRights } from "./detail.js";
import { acceptInvitation, showDoors } from "./doors.js";
import { announce, attempt, byId } from "./dom.js";
import { showFirmware } from "./firmware.js";
import { formatCount, formatEnergy, formatPower } from "./format.js";
import { LiveFeed } from "./live.js";
import { showPeople } from "./people.js";
import { followedIds, loadAll, loadMore, refreshSockets } from "./paging.js";
import { offerRegistering } from "./register.js";
import { findSession, loadTenants, onSession, session, signOut } from "./session.js";
import { arrangeSoon, clearSockets, draw, list, loadSparks, takeReading } from "./sockets.js";

const VIEWS = { people: showPeople, account: showAccount, firmware: showFirmware, audit: showAudit };
const FOR_ADMINS = new Set(["firmware", "audit"]);
const secrets = readSecrets();
export const live = new LiveFeed({ hello: heardHello, readings: heardReadings, presence: heardPresence, missed: heardMissed, sight: heardSight }, followedIds);

// A code in the address is taken out of it at once: it must not stay in the history.
function readSecrets() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = { code: given.get("set-up"), invitation: given.get("invitation") };
  if (found.code || found.invitation) history.replaceState(null, "", "/");
  return found;
}

// --- the fleet -------------------------------------------------------------------------------------------

async function loadFleet() {
  if (!session.user) return;
  const fleet = await ask("fleet");
  byId("fleet-power").textContent = formatPower(fleet.power_w);
  byId("fleet-energy").textContent = formatEnergy(fleet.energy_today_wh);
  byId("fleet-online").textContent = `${formatCount(fleet.online)} / ${formatCount(fleet.devices)}`;
  byId("fleet-rate").textContent = formatCount(fleet.readings_per_min);
  byId("dead-figure").hidden = fleet.dead_letters === null;
  byId("fleet-dead").textContent = formatCount(fleet.dead_letters);
  byId("fleet-dead").classList.toggle("warn", fleet.dead_letters_24h > 0);
}

function refresh() {
  refreshSockets().catch(() => {});
  loadFleet().catch(() => {});
}

function heardHello() {
  refresh();
  reloadSoon();
}

function heardMissed() {
  refreshSockets().catch(() => {});
  reloadSoon();
}

// A share has begun or ended, or somebody has joined or left.
function heardSight() {
  refresh();
  loadTenants().then(offerRegistering).catch(() => {});
}

function heardReadings({ items }) {
  const changed = new Set();
  for (const reading of items) {
    const isNew = !list.sockets.has(reading.device_id);
    const socket = takeReading(reading);
    socket.online = true;
    changed.add(socket);
    if (isNew) lookSoon();
    if (reading.device_id === list.chosen) appendToChart(reading);
  }
  afterNews(changed);
}

function heardPresence({ items }) {
  const known = items.filter((presence) => list.sockets.has(presence.device_id));
  if (known.length < items.length) lookSoon();
  const changed = new Set(known.map((presence) => Object.assign(list.sockets.get(presence.device_id), { online: presence.online })));
  afterNews(changed);
}

function afterNews(changed) {
  changed.forEach(draw);
  if (list.chosen && changed.has(list.sockets.get(list.chosen))) showFacts();
  if (list.orderNeeded || byId("sort").value === "power") arrangeSoon();
}

// A socket that was registered meanwhile: what it is called is asked for, once for many.
let looking = 0;
function lookSoon() {
  if (!looking) looking = setTimeout(() => { looking = 0; refreshSockets().catch(() => {}); }, 300);
}

// --- views -----------------------------------------------------------------------------------------------

function showView() {
  const wanted = location.hash.slice(1);
  const name = !session.user ? "doors" : wanted in VIEWS && (!FOR_ADMINS.has(wanted) || session.user.admin) ? wanted : "home";
  for (const view of document.querySelectorAll("[data-view]")) view.hidden = view.dataset.view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name === "home" ? "sockets" : name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (VIEWS[name]) attempt(VIEWS[name]).then(() => byId(name).querySelector("h2")?.focus({ preventScroll: true }));
}

async function enter(note) {
  document.body.classList.toggle("signed-in", Boolean(session.user));
  for (const part of document.querySelectorAll("[data-signed-in]")) part.hidden = !session.user;
  if (!session.user) return leave(note);
  byId("doors").replaceChildren();
  byId("who").textContent = session.user.name || session.user.email;
  for (const part of document.querySelectorAll("[data-admin]")) part.hidden = !session.user.admin;
  if (secrets.invitation) await acceptInvitation(secrets.invitation);
  Object.assign(secrets, { code: null, invitation: null });
  offerRegistering();
  showView();
  loadFleet().catch(() => {});
  await refreshSockets().catch((problem) => announce(problem.message, "bad"));
  live.start();
  return loadSparks().catch(() => {});
}

async function leave(note) {
  live.stop();
  closeDetail();
  clearSockets();
  for (const name of Object.keys(VIEWS)) byId(name).replaceChildren();
  showView();
  await showDoors(secrets, note);
}

list.onChoose = choose;
list.onSwitch = followCommand;
list.onSwitched = afterCommand;
list.onLoaded = () => {
  showRights();
  live.renew();
};
list.onGone = (socket) => {
  if (socket.id !== list.chosen) return;
  closeDetail();
  announce(`${socket.name} is not yours to see any more.`, "bad");
  byId("sockets").focus();
};
onSession(enter);
addEventListener("hashchange", () => {
  const found = readSecrets();
  if (!found.code && !found.invitation) return showView();
  Object.assign(secrets, found);
  return enter();
});
byId("sign-out").addEventListener("click", () => attempt(signOut));
byId("more").addEventListener("click", () => attempt(loadMore));
for (const [id, event] of [["search", "input"], ["sort", "change"]]) byId(id).addEventListener(event, () => attempt(loadAll));
setInterval(() => loadFleet().catch(() => {}), 5000);
// Silence takes sockets offline without any message, and buckets grow.
setInterval(() => { if (session.user) refreshSockets().catch(() => {}); }, 30000);

async function start() {
  try {
    await findSession();
  } catch (problem) {
    announce(problem.message, "bad");
    setTimeout(start, 3000);
    return;
  }
  await enter();
}

start();
