// Which sockets are listed: page by page, all that is listed again at every refresh, everything where one looks for something.
import { ask } from "./api.js";
import { byId } from "./dom.js";
import { arrange, dropSocket, list, takeDevice } from "./sockets.js";

const PAGE_SIZE = 100;
const LARGEST_PAGE = 500;
const MOST_FOLLOWED = 500;
let last = Promise.resolve();
let refreshing = null;

// One after the other: two at once would both think that they know where the list ends.
function inTurn(deed) {
  const done = last.then(deed);
  last = done.catch(() => {});
  return done;
}

// All that is listed, asked for anew; what has gone meanwhile leaves the list. Many at once are one.
export function refreshSockets() {
  refreshing ||= inTurn(() => {
    refreshing = null;
    return load(list.cursor === null && list.listed ? Infinity : Math.max(PAGE_SIZE, list.listed));
  });
  return refreshing;
}

export const loadMore = () => inTurn(() => load(list.listed + PAGE_SIZE));

// Who looks for a socket looks among all of them.
export const loadAll = () => inTurn(() => (list.cursor === null ? undefined : load(Infinity)));

async function load(wanted) {
  const { sockets } = list;
  const before = [...sockets.keys()];
  const found = new Set();
  let cursor = null;
  do {
    const limit = Math.min(LARGEST_PAGE, wanted - found.size);
    const page = await ask("devices", { limit, ...(cursor ? { cursor } : {}) });
    // Signed out meanwhile: this list is nobody's any more.
    if (sockets !== list.sockets) return;
    for (const device of page.items) found.add(takeDevice(device).id);
    cursor = page.next_cursor;
  } while (cursor !== null && found.size < wanted);
  Object.assign(list, { cursor, listed: found.size });
  before.filter((id) => !found.has(id)).forEach(dropSocket);
  byId("more").hidden = cursor === null;
  arrange();
  list.onLoaded?.();
}

// Those that the live feed is asked for; none means all.
export function followedIds() {
  return list.cursor === null ? [] : [...list.sockets.keys()].slice(0, MOST_FOLLOWED);
}
