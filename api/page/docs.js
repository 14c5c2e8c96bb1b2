// The OpenAPI document as a page, without anything from elsewhere.
"use strict";

function make(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function rows(pairs) {
  const table = make("table");
  for (const [name, ...texts] of pairs) {
    const head = make("th", name);
    head.scope = "row";
    table.append(make("tr", "", head, ...texts.map((text) => make("td", text))));
  }
  return table;
}

function typeOf(schema = {}) {
  const kinds = schema.anyOf ? schema.anyOf.map(typeOf).filter((kind) => kind !== "null") : [schema.type || ""];
  const bounds = [["from", schema.minimum], ["to", schema.maximum], ["unless said", schema.default]];
  const limits = bounds.filter(([, value]) => value !== undefined && value !== null).map(([word, value]) => `${word} ${value}`);
  if (schema.enum) return [schema.enum.join(" | "), ...limits].join(", ");
  return [kinds.join(" | "), ...limits].filter(Boolean).join(", ");
}

function exampleOf(content) {
  if (content.example !== undefined) return content.example;
  return undefined;
}

function answers(route) {
  const parts = [make("h3", "Answers")];
  parts.push(rows(Object.entries(route.responses).map(([status, answer]) => [status, answer.description || "", Object.keys(answer.content || {}).join(", ")])));
  for (const [type, content] of Object.entries((route.responses["200"] || {}).content || {})) {
    const example = exampleOf(content);
    if (example === undefined) continue;
    const block = make("pre", typeof example === "string" ? example : JSON.stringify(example, null, 2));
    block.tabIndex = 0;
    parts.push(make("h3", `Example: ${type}`), block);
  }
  return parts;
}

function describe(path, method, route) {
  const section = make("section");
  section.className = "route";
  section.id = `${method}${path}`;
  const title = make("h2");
  const verb = make("span", method.toUpperCase());
  verb.className = "method";
  title.append(verb, path);
  section.append(title, make("p", route.summary || ""));
  if (route.description) {
    const prose = make("p", route.description.trim());
    prose.className = "prose";
    section.append(prose);
  }
  if (route.parameters) {
    const pairs = route.parameters.map((one) => [one.name, `${one.in}${one.required ? ", needed" : ""}`, typeOf(one.schema), one.description || ""]);
    section.append(make("h3", "Parameters"), rows(pairs));
  }
  section.append(...answers(route));
  return section;
}

async function show() {
  const answer = await fetch("/openapi.json");
  const openapi = await answer.json();
  document.getElementById("about").textContent = `${openapi.info.title} ${openapi.info.version}. ${openapi.info.description.trim()}`;
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const link = make("a", `${method.toUpperCase()} ${path}`);
      link.href = `#${method}${path}`;
      document.getElementById("contents").append(link);
      document.getElementById("routes").append(describe(path, method, route));
    }
  }
}

show().catch((error) => { document.getElementById("about").textContent = `The document could not be fetched: ${error.message}`; });
