// Asking the API: the CSRF token, problem documents, and the password once more where it is needed.
export const API = "/api/v1";

const doors = { csrf: null, whoAmI: null, reauthenticate: null, signedOut: null };

// What the API asks of the page: see session.js and passwords.js.
export function openDoors(more) {
  Object.assign(doors, more);
}

// An answer that is no success, as the API explains it (RFC 9457).
export class Problem extends Error {
  constructor(status, problem, retryAfterS) {
    const wait = status === 429 && retryAfterS ? ` Try again ${inSeconds(retryAfterS)}.` : "";
    super(`${problem.detail || `The server answered ${status}.`}${wait}`);
    this.name = "Problem";
    this.status = status;
    this.kind = String(problem.type || "").split("/").pop();
    this.errors = problem.errors || [];
    this.retryAfterS = retryAfterS;
  }
}

// The person closed the question; nothing is to be said about it.
export class GivenUp extends Error {
  constructor() {
    super("given up");
    this.name = "GivenUp";
  }
}

function inSeconds(seconds) {
  if (seconds < 90) return `in ${seconds} s`;
  const at = new Date(Date.now() + seconds * 1000);
  return `at ${at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
}

// GET, as JSON.
export function ask(path, parameters = {}) {
  return exchange("GET", withQuery(path, parameters), undefined, {});
}

// The path with those parameters that say something.
export function withQuery(path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "")).toString();
  return query ? `${path}?${query}` : path;
}

// A change; `body` is sent as JSON, or as it is if it is text or a file.
export function tell(method, path, body, headers = {}) {
  return exchange(method, path, body, headers);
}

async function exchange(method, path, body, headers, again = { csrf: true, password: true }) {
  const answer = await sendOnce(method, path, body, headers);
  if (answer.ok) return answer.status === 204 ? null : readBody(answer);
  const problem = new Problem(answer.status, await readProblem(answer), Number(answer.headers.get("Retry-After")) || 0);
  if (problem.kind === "reauthentication-needed" && again.password) {
    await doors.reauthenticate();
    return exchange(method, path, body, headers, { ...again, password: false });
  }
  if (problem.kind === "csrf" && again.csrf && path !== "session") {
    // Another tab has renewed the session: its token is the one that counts now.
    await doors.whoAmI();
    return exchange(method, path, body, headers, { ...again, csrf: false });
  }
  if (problem.kind === "unauthenticated" && !path.startsWith("session")) doors.signedOut();
  throw problem;
}

function sendOnce(method, path, body, headers) {
  const all = { Accept: "application/json", ...headers };
  if (method !== "GET" && doors.csrf) all["X-CSRF-Token"] = doors.csrf;
  const isReady = typeof body === "string" || body instanceof Blob;
  if (body !== undefined && !isReady) all["Content-Type"] = "application/json";
  const address = path.startsWith("/") ? path : `${API}/${path}`;
  return fetch(address, { method, headers: all, body: body === undefined || isReady ? body : JSON.stringify(body), credentials: "same-origin" })
    .catch(() => { throw new Problem(0, { detail: "The server cannot be reached." }, 0); });
}

async function readBody(answer) {
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

async function readProblem(answer) {
  try {
    return JSON.parse(await answer.text());
  } catch {
    return {};
  }
}
