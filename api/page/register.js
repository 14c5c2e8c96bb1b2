// Adding sockets: one by hand, or many from a CSV file.
import { tell } from "./api.js";
import { byId, make } from "./dom.js";
import { openDialog, showSecrets } from "./dialogs.js";
import { makeForm } from "./form.js";
import { session } from "./session.js";
import { refreshSockets } from "./paging.js";

const HEAD = "device_id,name,location";
const MOST_SHOWN = 20;
const tenantsToFill = () => session.tenants.filter((tenant) => tenant.role !== "viewer");

export function offerRegistering() {
  byId("add").hidden = tenantsToFill().length === 0;
}

function tenantField() {
  return { name: "tenant", label: "Belongs to", options: tenantsToFill().map((tenant) => [tenant.tenant_id, tenant.name || tenant.tenant_id]) };
}

async function register() {
  const registered = await openDialog("Add a socket", (close) => [oneForm(close), make("details", { class: "more-part" }, make("summary", { text: "Many from a CSV file" }), manyForm(close))]).catch(() => null);
  if (!registered) return;
  refreshSockets().catch(() => {});
  await showTokens(registered);
}

function oneForm(close) {
  const fields = [
    { name: "device_id", label: "Id", required: true, maxlength: 64, hint: "As the socket says it: A-Z a-z 0-9 _ -", spellcheck: "false" },
    { name: "name", label: "Name", required: true, maxlength: 100, placeholder: "Kettle" },
    { name: "location", label: "Location", maxlength: 100, placeholder: "Kitchen" },
    tenantField(),
  ];
  const send = async ({ tenant, device_id: deviceId, name, location }) => {
    const body = { device_id: deviceId.trim(), name: name.trim(), ...(location.trim() ? { location: location.trim() } : {}) };
    close([await tell("POST", `tenants/${tenant}/devices`, body)]);
  };
  return makeForm({ fields, submit: "Add", send, label: "Add a socket" });
}

function manyForm(close) {
  const fields = [
    { name: "file", label: "CSV file", type: "file", accept: ".csv,text/csv" },
    { name: "text", label: "or its lines", rows: "5", placeholder: `${HEAD}\nkitchen-kettle,Kettle,Kitchen` },
    tenantField(),
  ];
  const send = async ({ tenant, file, text }) => {
    const csv = file ? await file.text() : text;
    const answer = await tell("POST", `tenants/${tenant}/devices/bulk`, csv, { "Content-Type": "text/csv" });
    close(answer.items);
  };
  return makeForm({ fields, submit: "Add all", send, label: "Add many sockets" });
}

function showTokens(registered) {
  const note = "A token is shown only now. Put it into the socket: it is its MQTT password.";
  if (registered.length <= MOST_SHOWN) return showSecrets(registered.length === 1 ? "The socket's token" : "The sockets' tokens", note, registered.map((one) => [`Token of ${one.device_id}`, one.token]));
  const lines = ["device_id,token", ...registered.map((one) => `${one.device_id},${one.token}`)].join("\n");
  return showSecrets(`The tokens of ${registered.length} sockets`, note, [["CSV", lines]]);
}

byId("add").addEventListener("click", register);
