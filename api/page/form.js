// Forms: labelled fields, and a problem shown where it belongs.
import { make } from "./dom.js";

let made = 0;

// fields: {name, label, type, value, hint, options, required, …}; submit: the button's text;
// send(values) does it, and may throw a Problem. Gives the <form>.
export function makeForm({ fields, submit, send, kind = "", label }) {
  const controls = new Map(fields.map((field) => [field.name, makeField(field)]));
  const message = make("p", { class: "form-error", role: "alert", hidden: true });
  const button = make("button", { type: "submit", class: "act", text: submit });
  const form = make("form", { class: `form ${kind}`, "aria-label": label || submit }, [...controls.values()].map((one) => one.box), message, make("p", { class: "buttons" }, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    clearProblems(controls, message);
    button.disabled = true;
    try {
      await send(valuesOf(controls), form);
    } catch (error) {
      if (error.name !== "GivenUp") showProblem(error, controls, message);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function makeField(field) {
  made += 1;
  const id = `field-${made}`;
  const control = makeControl(field, id);
  const error = make("p", { class: "field-error", id: `${id}-error`, hidden: true });
  const hint = field.hint ? make("p", { class: "hint", id: `${id}-hint`, text: field.hint }) : null;
  control.setAttribute("aria-describedby", `${hint ? `${id}-hint ` : ""}${id}-error`);
  const label = make("label", { for: id, text: field.label });
  return { field, control, error, box: make("div", { class: "field", hidden: field.unseen }, label, control, hint, error) };
}

function makeControl(field, id) {
  const { name, type = "text", value, options, autocomplete = "off", required, maxlength, minlength, min, max, step, rows, placeholder, accept, spellcheck } = field;
  if (options) {
    const choice = make("select", { id, name }, options.map(([key, text]) => make("option", { value: key, text })));
    choice.value = value ?? options[0][0];
    return choice;
  }
  if (rows) return make("textarea", { id, name, rows, required, placeholder, spellcheck: "false", text: value ?? "" });
  const input = make("input", { id, name, type, autocomplete, required, maxlength, minlength, min, max, step, placeholder, accept, spellcheck });
  if (type !== "file") input.value = value ?? "";
  return input;
}

function valuesOf(controls) {
  return Object.fromEntries([...controls].map(([name, { control }]) => [name, control.type === "file" ? control.files[0] : control.value]));
}

function clearProblems(controls, message) {
  message.hidden = true;
  for (const { control, error } of controls.values()) {
    error.hidden = true;
    control.removeAttribute("aria-invalid");
  }
}

function showProblem(problem, controls, message) {
  const elsewhere = [];
  let first = null;
  for (const { parameter, detail } of problem.errors || []) {
    const found = controls.get(parameter) || controls.get(String(parameter).split(".").pop());
    if (!found) {
      elsewhere.push(`${parameter}: ${detail}`);
      continue;
    }
    found.error.textContent = detail;
    found.error.hidden = false;
    found.control.setAttribute("aria-invalid", "true");
    first ||= found.control;
  }
  if (first) first.focus();
  if (first && !elsewhere.length) return;
  message.textContent = elsewhere.join("\n") || problem.message;
  message.hidden = false;
}
