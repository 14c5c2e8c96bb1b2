// One's own account: name, password, API tokens, being forgotten.
import { ask, tell } from "./api.js";
import { announce, attempt, byId, instant, make, table } from "./dom.js";
import { confirmByTyping, showSecrets, userNameField } from "./dialogs.js";
import { makeForm } from "./form.js";
import { findSession, session } from "./session.js";

const SCOPES = [["read", "read: sees what you see"], ["control", "control: switches, too"], ["manage", "manage: all but your account"]];
const LIVES = [["30", "30 days"], ["90", "90 days"], ["365", "a year"]];
const DAY_MS = 86400000;

export async function showAccount() {
  const tokens = (await ask("account/tokens")).items;
  const card = (title, ...parts) => make("article", { class: "card" }, make("h3", { text: title }), parts);
  byId("account").replaceChildren(
    make("h2", { text: "Your account", tabindex: "-1" }),
    card("You", aboutForm()), card("Password", passwordForm()), card("API tokens", tokenTable(tokens), tokenForm()), card("Be forgotten", forgetting()),
  );
}

const again = () => attempt(showAccount);

function aboutForm() {
  const { user } = session;
  const fields = [
    { name: "name", label: "Name", required: true, maxlength: 100, autocomplete: "name", value: user.name },
    { name: "email", label: "Email", type: "email", required: true, maxlength: 254, autocomplete: "email", value: user.email },
  ];
  const send = async ({ name, email }) => {
    await tell("PATCH", "account", { ...(name !== user.name ? { name } : {}), ...(email !== user.email ? { email } : {}) });
    await findSession();
    byId("who").textContent = session.user.name || session.user.email;
    announce("Saved.");
    again();
  };
  return makeForm({ fields, submit: "Save", send, label: "You" });
}

function passwordForm() {
  const fields = [userNameField(session.user.email), { name: "password", label: "New password", type: "password", autocomplete: "new-password", required: true, minlength: 10, maxlength: 200, hint: "At least 10 characters. All your other sessions end." }];
  const send = async ({ password }) => {
    await tell("PUT", "account/password", { password });
    announce("Your password is changed.");
    again();
  };
  return makeForm({ fields, submit: "Change", send, label: "Change the password" });
}

function tokenTable(tokens) {
  const rows = tokens.map((one) => [one.label, one.scope, instant(one.expires_at), make("button", {
    type: "button", class: "plain", text: "Revoke", "aria-label": `Revoke ${one.label}`, onclick: () => attempt(() => tell("DELETE", `account/tokens/${one.token_id}`)).then(again),
  })]);
  return table("API tokens", ["For", "Scope", "Expires", ""], rows, "No program has a token of yours.");
}

function tokenForm() {
  const fields = [
    { name: "label", label: "For which program", required: true, maxlength: 100 },
    { name: "scope", label: "It may", options: SCOPES },
    { name: "days", label: "Good for", options: LIVES },
  ];
  const send = async ({ label, scope, days }) => {
    // An hour less than that, so that a clock a little ahead asks for no more than a year.
    const expiresAt = new Date(Date.now() + days * DAY_MS - DAY_MS / 24).toISOString();
    const { token } = await tell("POST", "account/tokens", { label, scope, expires_at: expiresAt });
    await showSecrets("The token", "It is shown only now. The program sends it as Authorization: Bearer …", [["API token", token]]);
    again();
  };
  return makeForm({ fields, submit: "Make a token", send });
}

function forgetting() {
  const forget = () => attempt(async () => {
    await confirmByTyping("Be forgotten", "Your name, email and password can never be read again, by nobody. Tenants that only you belong to are dissolved, their sockets taken out of use.", session.user.email, "Forget me", () => tell("DELETE", "account"));
    location.reload();
  });
  return make("p", { class: "buttons" }, make("button", { type: "button", class: "act danger", text: "Forget me …", onclick: forget }));
}
