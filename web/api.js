// Calls of the API. The session is a cookie that scripts cannot read: nothing is kept here.

/** What the server refused, in its own words; status 0 when it could not be reached. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Wherever this file is, the API is one directory above: a front may have us below a path of its own.
const root = new URL("..", import.meta.url);

/** The address of a path of the API. */
export function address(path) {
  return new URL(path.slice(1), root);
}

/** Asks for something; the fields go into the query. */
export function read(path, fields = {}) {
  const query = new URLSearchParams(fields).toString();
  return answer(query ? `${path}?${query}` : path, { method: "GET" });
}

/** Changes something; the fields go as JSON. */
export function send(path, fields = {}, headers = {}) {
  return answer(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(fields),
  });
}

async function answer(path, options) {
  let response;
  let body;
  try {
    response = await fetch(address(path), { cache: "no-store", ...options });
    body = await response.text();
  } catch {
    throw new Refusal(0, "The server cannot be reached.");
  }
  let value = null;
  try {
    value = JSON.parse(body);
  } catch {
    // Whatever it is, it is not an answer of the API.
  }
  if (response.ok && value !== null) return value;
  const message = value?.error?.message ?? "The server gave an answer that makes no sense.";
  throw new Refusal(response.status, message);
}
