// Elements made in code. Text is always text: nothing that comes from people or sockets is ever read as markup.
import { formatInstant } from "./format.js";

export const byId = (id) => document.getElementById(id);

// make("p", { class: "note", text: "…", onclick: run }, child, …); what is null, undefined or false is left out.
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const instant = (at) => make("time", { datetime: at, text: formatInstant(at) });

export function table(caption, heads, rows, empty) {
  if (!rows.length) return make("p", { class: "empty", text: empty });
  const row = (cells) => make("tr", {}, cells.map((cell, index) => make(index ? "td" : "th", { scope: index ? null : "row" }, cell)));
  return make("div", { class: "wide-table", role: "region", "aria-label": caption, tabindex: "0" },
    make("table", { class: "rows" },
      make("caption", { class: "unseen", text: caption }),
      make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col", text: head })))),
      make("tbody", {}, rows.map(row))));
}

// One line that screen readers speak, for what was done or went wrong anywhere.
let hiding = 0;
export function announce(text, kind = "good") {
  const line = byId("message");
  line.textContent = text;
  line.dataset.kind = kind;
  line.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { line.hidden = true; }, kind === "bad" ? 12000 : 6000);
}

export async function attempt(deed) {
  try {
    return await deed();
  } catch (error) {
    if (error.name !== "GivenUp") announce(error.message, "bad");
    return undefined;
  }
}
