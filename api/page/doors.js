// Coming in: set-up with the one-time code, signing in, and an invitation.
import { ask, tell } from "./api.js";
import { announce, byId, make } from "./dom.js";
import { makeForm } from "./form.js";
import { loadTenants, session, setUp, signIn } from "./session.js";

const EMAIL = { name: "email", label: "Email", type: "email", autocomplete: "username", required: true, maxlength: 254 };
const PASSWORD = { name: "password", label: "Password", type: "password", autocomplete: "current-password", required: true, maxlength: 200 };
const NEW_PASSWORD = { ...PASSWORD, autocomplete: "new-password", minlength: 10, hint: "At least 10 characters." };
const NAME = { name: "name", label: "Your name", autocomplete: "name", required: true, maxlength: 100 };
const TENANT = { name: "tenant_name", label: "Name of your home or company", maxlength: 100, hint: "Sockets and members belong to it." };

// secrets: {code, invitation} from the address; they are kept in memory only.
export async function showDoors(secrets, note) {
  const state = await ask("set-up").catch(() => ({ needed: false, sign_up: "closed" }));
  if (state.needed) fill("Set WattAway up", setUpParts(secrets));
  else fill(secrets.invitation ? "You are invited" : "Sign in", signInParts(secrets, state, note));
}

function fill(title, parts) {
  const heading = make("h2", { text: title, tabindex: "-1" });
  byId("doors").replaceChildren(heading, ...parts);
  ([...byId("doors").querySelectorAll("input")].find((input) => !input.value) || heading).focus();
}

function setUpParts({ code }) {
  const fields = [
    { name: "code", label: "One-time code", required: true, value: code, hint: "It is in the link that `wattaway up` has printed.", spellcheck: "false" },
    NAME, EMAIL, NEW_PASSWORD, TENANT,
  ];
  const send = ({ tenant_name: tenantName, code: typed, ...rest }) => setUp({ ...rest, code: typed.trim(), ...(tenantName.trim() ? { tenant_name: tenantName.trim() } : {}) });
  return [make("p", { text: "Nobody has an account here yet. You become the admin." }), makeForm({ fields, submit: "Set up", send })];
}

function signInParts(secrets, state, note) {
  const parts = [];
  if (note) parts.push(make("p", { class: "note", role: "status", text: note }));
  if (secrets.invitation) parts.push(make("p", { text: "Sign in to accept the invitation, or make an account." }));
  parts.push(makeForm({ fields: [EMAIL, PASSWORD], submit: "Sign in", send: ({ email, password }) => signIn(email, password) }));
  const mayJoin = state.sign_up === "open" || (state.sign_up === "invitation" && secrets.invitation);
  if (mayJoin) parts.push(signUpPart(secrets));
  return parts;
}

function signUpPart({ invitation }) {
  const fields = invitation ? [NAME, EMAIL, NEW_PASSWORD] : [NAME, EMAIL, NEW_PASSWORD, TENANT];
  const send = async (values) => {
    const body = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));
    await tell("POST", "users", invitation ? { ...body, invitation } : body);
    // The answer is the same for an email that somebody has: signing in tells.
    await signIn(values.email, values.password);
  };
  return make("details", { class: "more-part", open: Boolean(invitation) }, make("summary", { text: "Make an account" }), makeForm({ fields, submit: "Make the account", send }));
}

// With a session, an invitation is taken at once; one that signing up has used already says nothing.
export async function acceptInvitation(token) {
  const before = new Set(session.tenants.map((tenant) => tenant.tenant_id));
  try {
    const joined = await tell("POST", "invitations/accept", { token });
    await loadTenants();
    const tenant = session.tenants.find((one) => one.tenant_id === joined.tenant_id);
    announce(`You belong to ${tenant?.name || "the tenant"} now, as ${joined.role}.`);
  } catch (problem) {
    if (problem.kind !== "unknown-invitation" || before.size === 0) announce(problem.message, "bad");
  }
}
