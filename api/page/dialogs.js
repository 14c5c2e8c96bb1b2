// Questions in front of the page: the password once more, a deed that cannot be undone, a secret shown once.
import { GivenUp } from "./api.js";
import { make } from "./dom.js";
import { makeForm } from "./form.js";

// Resolves with what `fill(close)` closes with; closing it any other way gives up, if there is one.
export function openDialog(title, fill, { mayGiveUp = true } = {}) {
  return new Promise((resolve, reject) => {
    const heading = make("h2", { text: title, id: "dialog-title", tabindex: "-1" });
    const dialog = make("dialog", { class: "dialog", "aria-labelledby": "dialog-title" }, heading);
    let outcome;
    const close = (value) => { outcome = { value }; dialog.close(); };
    dialog.append(...fill(close));
    if (mayGiveUp) dialog.append(make("p", { class: "buttons" }, make("button", { type: "button", class: "plain cancel", text: "Close", onclick: () => dialog.close() })));
    // Escape, also when it is pressed twice.
    else dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.preventDefault(); });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (outcome) resolve(outcome.value);
      else reject(new GivenUp());
    });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector(".field:not([hidden]) :is(input, select, textarea)") || heading).focus();
  });
}

// Whose password it is, for the browser's keeper of passwords; nobody fills it in.
export function userNameField(email) {
  return { name: "username", label: "Email", autocomplete: "username", value: email, unseen: true };
}

export function askPassword(email, check) {
  const fields = [userNameField(email), { name: "password", label: "Your password", type: "password", autocomplete: "current-password", required: true }];
  return openDialog("Show your password once more", (close) => [
    make("p", { text: "This can do harm, so it is asked again whether it is you." }),
    makeForm({ fields, submit: "Continue", send: async ({ password }) => { await check(password); close(); } }),
  ]);
}

// A deed that cannot be undone: the person types `word` to show that it is meant.
export function confirmByTyping(title, warning, word, submit, deed) {
  const fields = [{ name: "typed", label: `Type ${word} to confirm`, required: true, spellcheck: "false" }];
  const send = async ({ typed }) => {
    if (typed.trim() !== word) throw Object.assign(new Error("mistyped"), { errors: [{ parameter: "typed", detail: `This is not ${word}.` }] });
    await deed();
    close();
  };
  let close;
  return openDialog(title, (closing) => {
    close = closing;
    return [make("p", { text: warning }), makeForm({ fields, submit, send, kind: "danger" })];
  });
}

// Things that are shown this once; pairs of [label, text].
export function showSecrets(title, note, pairs) {
  return openDialog(title, (close) => [
    make("p", { text: note }),
    ...pairs.map(([label, secret], index) => secretLine(label, secret, index)),
    make("p", { class: "buttons" }, make("button", { type: "button", class: "act", text: "I have kept it", onclick: () => close() })),
  ], { mayGiveUp: false });
}

function secretLine(label, secret, index) {
  const id = `secret-${index}`;
  const field = make("textarea", { id, class: "secret", readonly: true, rows: secret.length > 60 ? "2" : "1", spellcheck: "false", text: secret });
  const done = make("span", { class: "done", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(secret);
      done.textContent = "Copied";
    } catch {
      // Without TLS a browser gives no clipboard: what is marked can be copied by hand.
      field.select();
      done.textContent = "Marked: press Ctrl+C";
    }
  };
  return make("div", { class: "field" }, make("label", { for: id, text: label }), field,
    make("p", { class: "buttons" }, make("button", { type: "button", class: "plain copy", text: "Copy", "aria-label": `Copy: ${label}`, onclick: copy }), done));
}
