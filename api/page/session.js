// Who is signed in, and what that means for the rest of the page.
import { ask, openDoors, tell } from "./api.js";
import { askPassword } from "./dialogs.js";

export const session = { user: null, tenants: [] };
const listeners = [];

export function onSession(listener) {
  listeners.push(listener);
}

// The session the browser has, if any; true if somebody is signed in.
export async function findSession() {
  try {
    take(await ask("session"));
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    forget();
    return false;
  }
  await loadTenants();
  return true;
}

export async function loadTenants() {
  session.tenants = (await ask("tenants")).items;
}

export async function signIn(email, password) {
  take(await tell("POST", "session", { email, password }));
  await begin();
}

export async function setUp(values) {
  take(await tell("POST", "set-up", values));
  await begin();
}

export async function signOut() {
  await tell("DELETE", "session");
  forget();
  listeners.forEach((listener) => listener());
}

async function begin() {
  await loadTenants();
  listeners.forEach((listener) => listener());
}

function take(document) {
  session.user = { id: document.user_id, name: document.name, email: document.email, admin: document.admin };
  openDoors({ csrf: document.csrf_token });
}

export function forget() {
  session.user = null;
  session.tenants = [];
  openDoors({ csrf: null });
}

openDoors({
  whoAmI: async () => take(await ask("session")),
  reauthenticate: () => askPassword(session.user.email, async (password) => take(await tell("POST", "session/reauthentication", { password }))),
  signedOut: () => {
    if (!session.user) return;
    forget();
    listeners.forEach((listener) => listener("Your session has ended. Sign in again."));
  },
});
