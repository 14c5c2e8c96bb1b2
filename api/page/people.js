// Tenants, their members, and invitations.
import { ask, tell } from "./api.js";
import { announce, attempt, byId, make, table } from "./dom.js";
import { confirmByTyping, showSecrets } from "./dialogs.js";
import { makeForm } from "./form.js";
import { formatInstant } from "./format.js";
import { loadTenants, session } from "./session.js";

const ROLES = [["viewer", "viewer: sees"], ["operator", "operator: sees, switches, configures"], ["owner", "owner: everything"]];

export async function showPeople() {
  await loadTenants();
  const cards = await Promise.all(session.tenants.map(tenantCard));
  byId("people").replaceChildren(make("h2", { text: "People", tabindex: "-1" }), ...cards, newTenant());
}

const again = () => attempt(showPeople);

async function tenantCard(tenant) {
  const path = `tenants/${tenant.tenant_id}`;
  const owner = tenant.role === "owner";
  const members = (await ask(`${path}/members`)).items;
  const parts = [make("h3", { text: tenant.name || "A tenant that was forgotten" }), memberTable(tenant, path, members, owner)];
  if (owner) parts.push(await invitations(path), renaming(tenant, path));
  else parts.push(make("p", { class: "buttons" }, leaving(tenant, path)));
  return make("article", { class: "card" }, parts);
}

function memberTable(tenant, path, members, owner) {
  const rows = members.map((member) => {
    const name = `${member.name || "somebody"}${member.user_id === session.user.id ? " (you)" : ""}`;
    const cells = [name, member.email || "", owner ? roleChoice(path, member, name) : member.role];
    if (owner) cells.push(member.user_id === session.user.id ? leaving(tenant, path) : removal(path, member, name));
    return cells;
  });
  return table(`Members of ${tenant.name}`, ["Name", "Email", "Role", ...(owner ? [""] : [])], rows, "Nobody.");
}

function roleChoice(path, member, name) {
  const choice = make("select", { "aria-label": `Role of ${name}` }, ROLES.map(([key]) => make("option", { value: key, text: key })));
  choice.value = member.role;
  choice.addEventListener("change", () => attempt(() => tell("PATCH", `${path}/members/${member.user_id}`, { role: choice.value })).then(again));
  return choice;
}

function removal(path, member, name) {
  const remove = () => attempt(async () => {
    await tell("DELETE", `${path}/members/${member.user_id}`);
    announce(`${name} does not belong to it any more.`);
  }).then(again);
  return make("button", { type: "button", class: "plain", text: "Remove", "aria-label": `Remove ${name}`, onclick: remove });
}

function leaving(tenant, path) {
  return make("button", { type: "button", class: "plain", text: "Leave", onclick: () => leave(tenant, path) });
}

async function leave(tenant, path) {
  const name = tenant.name || tenant.tenant_id;
  await attempt(() => confirmByTyping("Leave", "You will no longer see its sockets.", name, "Leave", () => tell("DELETE", `${path}/members/${session.user.id}`)));
  again();
}

async function invitations(path) {
  const { items } = await ask(`${path}/invitations`);
  const rows = items.map((one) => [one.role, `until ${formatInstant(one.expires_at)}`, make("button", {
    type: "button", class: "plain", text: "Take back", onclick: () => attempt(() => tell("DELETE", `${path}/invitations/${one.invitation_id}`)).then(again),
  })]);
  const send = async ({ role }) => {
    const { token } = await tell("POST", `${path}/invitations`, { role });
    await showSecrets("The invitation", "Send this link to whom you invite. It is shown only now, and good for seven days, once.", [["Link", `${location.origin}/#invitation=${token}`]]);
    again();
  };
  const form = makeForm({ fields: [{ name: "role", label: "Invite somebody as", options: ROLES }], submit: "Make an invitation", send });
  return make("div", {}, items.length ? table("Open invitations", ["Invited as", "Good", ""], rows, "") : null, form);
}

function renaming(tenant, path) {
  const fields = [{ name: "name", label: "Name", required: true, maxlength: 100, value: tenant.name || "" }];
  const send = async ({ name }) => {
    await tell("PATCH", path, { name: name.trim() });
    again();
  };
  return make("details", { class: "more-part" }, make("summary", { text: "Rename" }), makeForm({ fields, submit: "Rename", send }));
}

function newTenant() {
  const fields = [{ name: "name", label: "Name", required: true, maxlength: 100 }];
  const send = async ({ name }) => {
    await tell("POST", "tenants", { name: name.trim() });
    again();
  };
  return make("details", { class: "card more-part" }, make("summary", { text: "Another home or company" }), makeForm({ fields, submit: "Found it", send }));
}
