// For the site's admins: the firmware that sockets may have; published, listed, withdrawn.
import { ask, tell, withQuery } from "./api.js";
import { announce, attempt, byId, instant, make, table } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { makeForm } from "./form.js";

let releases = [];

export async function showFirmware() {
  const page = await ask("firmware", { limit: 500 });
  releases = page.items;
  byId("firmware").replaceChildren(
    make("h2", { text: "Firmware", tabindex: "-1" }), make("div", { id: "releases" }),
    make("article", { class: "card" }, make("h3", { text: "Publish" }), publishing()),
  );
  drawReleases();
}

// What was just decided is shown at once; the list of the server has it a moment later.
function take(release) {
  const same = (one) => one.board === release.board && one.counter === release.counter;
  releases = releases.some(same) ? releases.map((one) => (same(one) ? release : one)) : [release, ...releases];
  drawReleases();
}

function drawReleases() {
  const rows = releases.map((one) => [
    `${one.board} ${one.version}`, String(one.counter), instant(one.published_at), `${Math.ceil(one.size / 1024)} KiB`, one.notes || "",
    one.withdrawn_at ? make("span", {}, "withdrawn ", instant(one.withdrawn_at), one.withdrawn_reason ? `: ${one.withdrawn_reason}` : "") : withdrawing(one),
  ]);
  byId("releases").replaceChildren(table("Releases", ["Release", "Counter", "Published", "Size", "Notes", ""], rows, "No firmware was published yet."));
}

function publishing() {
  const fields = [
    { name: "image", label: "Signed image", type: "file", required: true, hint: "What wattaway firmware sign has written." },
    { name: "notes", label: "Notes", rows: 2 },
  ];
  const send = async ({ image, notes }, form) => {
    const release = await tell("POST", withQuery("firmware", { notes: notes.trim() }), image, { "Content-Type": "application/octet-stream" });
    take(release);
    form.reset();
    announce(`${release.board} ${release.version} is published: sockets of this board fetch it within two hours.`);
  };
  return makeForm({ fields, submit: "Publish", send, label: "Publish" });
}

function withdrawing(release) {
  const name = `${release.board} ${release.version}`;
  const send = (close) => async ({ reason }) => {
    const path = `firmware/${encodeURIComponent(release.board)}/${release.counter}`;
    take(await tell("DELETE", withQuery(path, { reason: reason.trim() })));
    close();
  };
  const asking = (close) => [
    make("p", { text: "No socket gets it any more; those that have it keep it until there is a newer one." }),
    makeForm({ fields: [{ name: "reason", label: "Why", maxlength: 500 }], submit: "Withdraw", send: send(close), kind: "danger" }),
  ];
  const open = () => attempt(() => openDialog(`Withdraw ${name}`, asking));
  return make("button", { type: "button", class: "plain", text: "Withdraw …", "aria-label": `Withdraw ${name}`, onclick: open });
}
