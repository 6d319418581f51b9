// The client of Proxy GPT for browsers, Node.js from 18 on, and Deno: one module, no dependency.
//
// Calls are POST requests with a JSON body and the token in a header. The token is in no address
// and no error. Answers keep the field names of the server (`created_at`, `has_more`).

/** The longest time that a server may ask to wait before a call is repeated, in seconds. */
const LONGEST_WAIT = 60;
/** The longest pause that the client chooses by itself, in seconds. */
const LONGEST_PAUSE = 8;
/** The longest time between two connections of a stream, in seconds, and the tries in vain. */
const LONGEST_RECONNECT_PAUSE = 10;
const RECONNECTS = 10;
/** How long an aborted stream waits until the server has stopped the reply, in seconds. */
const STOP_TIME = 5;
/** How many ended messages a watch remembers, to recognize a repeated final frame. */
const REMEMBERED_ENDS = 1000;

/** A failed call. `status` is the HTTP status, or 0 where the server gave no answer. */
export class ProxyGPTError extends Error {
  constructor(message, details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "ProxyGPTError";
    this.status = details.status ?? 0;
    this.code = details.code ?? "connection";
    this.param = details.param ?? null;
    this.requestId = details.requestId ?? null;
    this.retryAfter = details.retryAfter ?? null;
    this.upstreamMessage = details.upstreamMessage ?? null;
  }
}

/** The API of one server, for one user. */
export class ProxyGPT {
  #connection;

  /**
   * @param url the address of the server; it may have a path
   * @param options `token`, `maxRetries` (2), `timeout` of calls (600 s), `silenceTimeout` of
   *   streams (60 s), `fetch`, and `cookies`: for a page of the server's own origin, whose session
   *   is in a cookie that scripts cannot read
   */
  constructor(url, options = {}) {
    this.#connection = new Connection(url, options);
    this.users = new Users(this.#connection);
    this.chats = new Chats(this.#connection);
    this.groups = new Groups(this.#connection);
  }

  /** The token of the session; null before a log-in and after a log-out. */
  get token() {
    return this.#connection.token;
  }

  /** What OpenAI's own client takes to reach the server. */
  get openai() {
    return { baseURL: this.#connection.url + "v1", apiKey: this.#connection.token ?? "" };
  }
}

// MARK: - Endpoints

/** Accounts and sessions. */
class Users {
  #connection;

  constructor(connection) {
    this.#connection = connection;
  }

  /** Makes a user; the client uses the new session from then on. */
  signUp({ username, password, firstName, lastName }) {
    const names = { first_name: firstName, last_name: lastName };
    return this.#begin("user/signup", { username, password, ...names });
  }

  /** Begins a session; the client uses it from then on. */
  logIn({ username, password }) {
    return this.#begin("user/login", { username, password });
  }

  async #begin(path, fields) {
    const answer = await this.#connection.call(path, fields, { isAnonymous: true });
    if (!this.#connection.hasCookies) this.#connection.token = answer.token;
    return answer;
  }

  /** Ends the session, also where it is used elsewhere. */
  async logOut() {
    const token = this.#connection.token;
    try {
      await this.#connection.call("user/logout");
    } catch (error) {
      // A session that has ended needs no log-out.
      if (error.status !== 401) throw error;
    }
    if (this.#connection.token === token) this.#connection.token = null;
  }

  /** The user and the session of the token. */
  session() {
    return this.#connection.call("user/session", {}, { isRepeatable: true });
  }

  /** A user by `id` or `username`, without either the user of the token. */
  read({ id, username } = {}) {
    return this.#connection.call("user/read", { id, username }, { isRepeatable: true });
  }

  /** Changes what is given of the user of the token. */
  update({ username, firstName, lastName }) {
    const fields = { username, first_name: firstName, last_name: lastName };
    return this.#connection.call("user/update", fields);
  }

  /** Changes the password and ends the other sessions of the user. */
  async changePassword({ oldPassword, newPassword }) {
    const fields = { old_password: oldPassword, new_password: newPassword };
    await this.#connection.call("user/password/update", fields);
  }
}

/** Chats, prompts and replies. */
class Chats {
  #connection;

  constructor(connection) {
    this.#connection = connection;
  }

  create({ name, model, groupId } = {}) {
    return this.#connection.call("chat/create", { name, model, group_id: groupId });
  }

  /** A page of the user's chats: the newest ones, or those `before` or `after` a chat. */
  list({ groupId, ...page } = {}) {
    return this.#connection.call(
      "chat/index",
      { group_id: groupId, ...pageFields(page) },
      { isRepeatable: true },
    );
  }

  /** All chats that the user may read, newest first. */
  listAll({ groupId, limit } = {}) {
    return allElements("chats", (before) => this.list({ groupId, limit, before }));
  }

  /** A chat, its users and a page of its messages. */
  read(id, page = {}) {
    return this.#connection.call("chat/read", { id, ...pageFields(page) }, { isRepeatable: true });
  }

  /** All messages of a chat, the newest first. */
  messagesAll(id, { limit } = {}) {
    return allElements("messages", (before) => this.read(id, { limit, before }));
  }

  /** Changes what is given of a chat of the user's own. */
  update(id, { name, model }) {
    return this.#connection.call("chat/update", { id, name, model });
  }

  async delete(id) {
    await this.#connection.call("chat/delete", { id });
  }

  /** Lets a user into a chat, by id or name. */
  async addUser(id, user) {
    await this.#connection.call("chat/user/add", { id, user_id: user });
  }

  /** Takes a user out of a chat, by id or name. */
  async removeUser(id, user) {
    await this.#connection.call("chat/user/remove", { id, user_id: user });
  }

  /**
   * Sends a prompt and waits for the whole reply: `{ message, reply }`. With `stream` the answer
   * comes at once, and the reply to those who watch the chat.
   */
  prompt(id, text, { context, otr, stream, idempotencyKey, signal } = {}) {
    return this.#prompt({ id, prompt: text, context, otr, stream }, idempotencyKey, signal);
  }

  #prompt(fields, idempotencyKey = newKey(), signal) {
    const headers = { "Idempotency-Key": idempotencyKey };
    return this.#connection.call("chat/prompt", fields, { isRepeatable: true, headers, signal });
  }

  /** Ends a running reply; the text so far is kept. */
  stop(id, messageId) {
    return this.#connection.call("chat/stop", { id, message_id: messageId });
  }

  /**
   * Sends a prompt and yields the reply while it grows: `{ text, message, done }` with new text.
   *
   * The last delta has `done: true` and the stored message, whose state is "done" or "stopped". A
   * failed reply throws after its text. When the signal aborts, or the loop is left, the reply is
   * stopped at the upstream and the stream ends without an error.
   */
  async *stream(id, text, { context, idempotencyKey, signal } = {}) {
    if (signal?.aborted) return;
    const reading = new AbortController();
    const reply = new ReplyText();
    let prompted = null;
    let stopping = null;
    let isOver = false;
    let message = null;
    const stop = () => {
      reading.abort();
      if (isOver || !prompted || stopping) return;
      // The answer to the prompt has the id of the message, so it is awaited first.
      stopping = prompted.then((answer) => this.stop(id, answer.message.id)).catch(() => {});
    };
    signal?.addEventListener("abort", stop);
    try {
      for await (let frame of this.#connection.frames(id, { signal: reading.signal })) {
        if (frame.kind === "open") {
          if (prompted) continue;
          // Only now, so that no frame of the reply can be missed.
          prompted = this.#prompt({ id, prompt: text, context, stream: true }, idempotencyKey);
          message = (await prompted).message;
          if (signal?.aborted) return;
          if (isRunning(message)) continue;
          // The caller's key is that of an earlier prompt, whose reply has ended.
          frame = { kind: "message", message, partial: false };
        }
        if (frame.kind === "reset") {
          reply.restart();
          // The newest messages follow: one that is older and has ended is not among them.
          const stored = await this.#stored(id, message.id);
          if (signal?.aborted) return;
          if (!stored || isRunning(stored)) continue;
          frame = { kind: "message", message: stored, partial: false };
        }
        if (frame.kind !== "message" || frame.message.id !== message.id) continue;
        if (frame.partial) {
          const fresh = reply.add(frame.message.reply);
          message = { ...message, ...frame.message, reply: reply.text };
          if (fresh) yield { text: fresh, message, done: false };
          continue;
        }
        isOver = true;
        message = frame.message;
        const rest = reply.finish(message.reply);
        if (message.state !== "failed") {
          yield { text: rest, message, done: true };
          return;
        }
        if (rest) yield { text: rest, message, done: false };
        throw failureOf(message);
      }
    } catch (error) {
      // After an abort nobody waits for the reply. A lost stream does not end it.
      if (signal?.aborted) return;
      isOver = true;
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
      stop();
      if (stopping) await settled(stopping, STOP_TIME);
    }
  }

  /** A message as it is stored; null where it cannot be read. */
  async #stored(id, messageId) {
    try {
      for await (const message of this.messagesAll(id)) {
        if (message.id === messageId) return message;
      }
    } catch {
      // The stream says whether the chat is still there.
    }
    return null;
  }

  /**
   * Yields what happens in a chat, for everybody in it, until the signal aborts.
   *
   * A frame is `{ kind: "message", id, message, partial }`, where a partial one has the new text in
   * `message.reply`, or `{ kind: "reset", id }`: what came before may have a hole, and the messages
   * follow in their present form. `after` is the id of the last frame that the caller knows.
   * `onOpen` is called whenever a subscription stands: each message that ends from then on is a
   * frame; `onClose` whenever its connection is lost.
   */
  async *watch(id, { after, signal, onOpen, onClose } = {}) {
    const ends = new Map();
    for await (const frame of this.#connection.frames(id, { after, signal })) {
      if (frame.kind === "open" || frame.kind === "close") {
        if (frame.kind === "open") onOpen?.();
        else onClose?.();
        continue;
      }
      if (frame.kind === "reset") {
        ends.clear();
      } else if (!frame.partial) {
        // The server may send a final frame again to a client that comes back.
        const { id: key, state, updated_at: time } = frame.message;
        if (ends.get(key) === `${state} ${time}`) continue;
        ends.delete(key);
        ends.set(key, `${state} ${time}`);
        if (ends.size > REMEMBERED_ENDS) ends.delete(ends.keys().next().value);
      }
      yield frame;
    }
  }
}

/** Groups and their members. */
class Groups {
  #connection;

  constructor(connection) {
    this.#connection = connection;
  }

  create({ name, description }) {
    return this.#connection.call("group/create", { name, description });
  }

  /** A page of the groups that the user is a member of. */
  list(page = {}) {
    return this.#connection.call("group/index", pageFields(page), { isRepeatable: true });
  }

  /** All groups that the user is a member of, the newest first. */
  listAll({ limit } = {}) {
    return allElements("groups", (before) => this.list({ limit, before }));
  }

  /** A group and a page of its members. */
  read(id, page = {}) {
    return this.#connection.call("group/read", { id, ...pageFields(page) }, { isRepeatable: true });
  }

  /** Changes what is given of a group of the user's own; `ownerId` hands it on to a member. */
  update(id, { name, description, ownerId }) {
    return this.#connection.call("group/update", { id, name, description, owner_id: ownerId });
  }

  /** Deletes a group with its chats. */
  async delete(id) {
    await this.#connection.call("group/delete", { id });
  }

  /** A page of the members of a group. */
  members(id, page = {}) {
    const fields = { id, ...pageFields(page) };
    return this.#connection.call("group/members", fields, { isRepeatable: true });
  }

  /** All members of a group. */
  membersAll(id, { limit } = {}) {
    return allElements("users", (before) => this.members(id, { limit, before }));
  }

  /** Makes users members, by id or name: all of them or none. */
  async addMembers(id, users) {
    await this.#connection.call("group/members/add", { id, user_ids: users });
  }

  /** Ends memberships, by id or name: all of them or none. */
  async removeMembers(id, users) {
    await this.#connection.call("group/members/remove", { id, user_ids: users });
  }
}

function pageFields({ limit, before, after }) {
  return { limit, before, after };
}

/** The elements of all pages, backwards from the newest. */
async function* allElements(name, readPage) {
  let page = await readPage();
  for (;;) {
    const [oldest, ...newer] = page[name];
    if (oldest === undefined) return;
    yield* newer.reverse();
    // The next page is read before its anchor is yielded, since callers may delete what they get.
    const next = page.has_more ? await readPage(oldest.id) : null;
    yield oldest;
    if (!next) return;
    page = next;
  }
}

// MARK: - Replies

/** The text of a reply as far as the caller has it, through resets of the stream. */
class ReplyText {
  /** What the caller has. */
  text = "";
  /** What has come since a reset, which repeats the text from its beginning; else null. */
  #repeated = null;
  /** Whether what has come since a reset is not the caller's text: the final frame has it all. */
  #isLost = false;

  restart() {
    this.#repeated = "";
    this.#isLost = false;
  }

  /** Takes a delta and returns the text that the caller does not have yet. */
  add(delta) {
    if (this.#repeated === null) {
      this.text += delta;
      return delta;
    }
    if (this.#isLost) return "";
    const repeated = (this.#repeated += delta);
    if (repeated.length < this.text.length) return "";
    this.#isLost = !repeated.startsWith(this.text);
    if (!this.#isLost) this.#repeated = null;
    return this.finish(repeated);
  }

  /** Takes the whole text and returns what the caller does not have yet. */
  finish(whole) {
    const fresh = whole.startsWith(this.text) ? whole.slice(this.text.length) : "";
    this.text += fresh;
    return fresh;
  }
}

function isRunning(message) {
  return message.state === "pending" || message.state === "streaming";
}

/** The error of a message whose reply failed. */
function failureOf(message) {
  const { code = "upstream_error", message: text, upstream_message } = message.error ?? {};
  return new ProxyGPTError(text ?? "The reply failed.", {
    // The upstream's own status is not part of a message.
    status: code === "upstream_timeout" ? 504 : 502,
    code,
    upstreamMessage: upstream_message,
  });
}

// MARK: - HTTP

/** Sends requests, repeats what may be repeated, and keeps streams open. */
class Connection {
  url;
  hasCookies;
  #token = null;
  #maxRetries;
  #timeout;
  #silenceTimeout;
  #fetch;

  constructor(url, { token, cookies = false, fetch, ...options } = {}) {
    this.url = baseAddress(url);
    this.hasCookies = cookies;
    this.token = token ?? null;
    this.#maxRetries = options.maxRetries ?? 2;
    this.#timeout = options.timeout ?? 600;
    this.#silenceTimeout = options.silenceTimeout ?? 60;
    this.#fetch = fetch ?? ((...request) => globalThis.fetch(...request));
  }

  get token() {
    return this.#token;
  }

  set token(token) {
    // A header refuses other characters with an error that quotes them.
    if (token !== null && !/^[!-~]+$/.test(token)) {
      throw new TypeError("A token consists of printing ASCII characters without spaces.");
    }
    this.#token = token;
  }

  /** The answer of one endpoint. */
  async call(path, fields = {}, { isRepeatable, isAnonymous, headers, signal } = {}) {
    const deadline = performance.now() + this.#timeout * 1000;
    const request = { path, fields, headers, token: isAnonymous ? null : this.#token };
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#attempt(request, signal, (deadline - performance.now()) / 1000);
      } catch (error) {
        if (!isRepeatable || attempt >= this.#maxRetries || !mayBeRepeated(error)) throw error;
        const pause = error.retryAfter ?? pauseBefore(attempt);
        if (performance.now() + pause * 1000 >= deadline) throw error;
        await sleep(pause, signal);
      }
    }
  }

  async #attempt(request, signal, timeLeft) {
    const limit = new Limit(signal);
    limit.start(timeLeft);
    try {
      const response = await limit.race(this.#send(request, limit.signal));
      const body = await limit.race(response.text());
      if (!response.ok) throw refusal(response, body);
      return parsedAnswer(response, body);
    } catch (error) {
      if (error instanceof ProxyGPTError) throw error;
      if (signal?.aborted) throw signal.reason;
      if (!limit.isOver) throw unreachable(error);
      const text = `The server gave no answer in ${this.#timeout} seconds.`;
      throw new ProxyGPTError(text, { code: "timeout" });
    } finally {
      limit.end();
    }
  }

  #send({ path, fields, headers, token }, signal) {
    return this.#fetch(this.url + path, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...headers,
        ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(fields),
      credentials: this.hasCookies ? "same-origin" : "omit",
      // The body and the token are for this address alone.
      redirect: "error",
      signal,
    });
  }

  /**
   * The frames of a chat over as many connections as it takes. A frame of the kind "open" comes
   * first on each: the subscription stands, and there is an id to resume it from. One of the kind
   * "close" comes between two connections.
   */
  async *frames(chat, { after, signal } = {}) {
    const token = this.#token;
    let id = after ?? "";
    let retry = 1;
    let failures = 0;
    while (!signal?.aborted) {
      const limit = new Limit(signal);
      let failure = new ProxyGPTError("The stream breaks off without a new frame.");
      let body = null;
      try {
        limit.start(this.#silenceTimeout);
        const fields = { id: chat, last_event_id: id || undefined };
        const sent = this.#send({ path: "chat/stream", fields, token }, limit.signal);
        const response = await limit.race(sent);
        await limit.race(checkStream(response));
        body = response.body.getReader();
        const events = new EventReader();
        let isOpen = false;
        for (;;) {
          // The server sends a comment every 15 seconds: a longer silence is a dead connection.
          limit.start(this.#silenceTimeout);
          const { value, done } = await limit.race(body.read());
          limit.pause();
          if (done) break;
          for (const event of events.push(value)) {
            if (event.isComment || (event.id && event.id !== id)) failures = 0;
            if (event.isComment) continue;
            if (event.id) id = event.id;
            if (event.id && !isOpen) {
              isOpen = true;
              yield { kind: "open" };
            }
            const frame = frameOf(event);
            if (frame && !signal?.aborted) yield frame;
            if (signal?.aborted) return;
          }
          retry = events.retry ?? retry;
        }
      } catch (error) {
        if (signal?.aborted) return;
        failure = error instanceof ProxyGPTError ? error : unreachable(error);
        if (!mayReconnect(failure)) throw failure;
      } finally {
        limit.end();
        body?.cancel().catch(() => {});
      }
      if (signal?.aborted) return;
      yield { kind: "close" };
      failures += 1;
      if (failures > RECONNECTS) throw failure;
      const pause = Math.max(Math.min(retry, LONGEST_RECONNECT_PAUSE), failure.retryAfter ?? 0);
      await sleep(pause, signal).catch(() => {});
    }
  }
}

/** The address below which the endpoints lie, with a slash at its end. */
function baseAddress(address) {
  let url;
  try {
    url = new URL(address, globalThis.location?.href);
  } catch {
    throw new TypeError("The address of the server is not a URL.");
  }
  if (!["http:", "https:"].includes(url.protocol)) {
    throw new TypeError("The address of the server must be one of http or https.");
  }
  if (url.username || url.password) {
    throw new TypeError("The address of the server has a credential in it: give it as the token.");
  }
  return url.origin + url.pathname.replace(/\/*$/, "/");
}

/** Whether a repeated call can have another outcome. */
function mayBeRepeated({ status, code, retryAfter }) {
  if ((retryAfter ?? 0) > LONGEST_WAIT) return false;
  if (status === 0) return code === "connection";
  if (status === 429) return retryAfter !== null;
  if (![502, 503, 504].includes(status)) return false;
  // Not the failure of a model, which would be the same again: that has a code and no Retry-After.
  return retryAfter !== null || code === "unavailable" || code === "unexpected_answer";
}

/** Whether a stream goes on after a failure: a second subscription does no harm. */
function mayReconnect({ status, retryAfter }) {
  return (retryAfter ?? 0) <= LONGEST_WAIT && [0, 429, 502, 503, 504].includes(status);
}

function pauseBefore(attempt) {
  return Math.min(LONGEST_PAUSE, 0.5 * 2 ** attempt) * (0.5 + Math.random() / 2);
}

function unreachable(cause) {
  const reason = cause?.cause?.code ?? cause?.code;
  const detail = typeof reason === "string" ? ` (${reason})` : "";
  return new ProxyGPTError(`The server cannot be reached${detail}.`, { cause });
}

/** The error that an answer of another status than 200 stands for. */
function refusal(response, body) {
  let error = null;
  try {
    error = JSON.parse(body).error;
  } catch {
    // Something before the server has answered.
  }
  const isOurs = typeof error?.message === "string" && typeof error.code === "string";
  return new ProxyGPTError(
    isOurs ? error.message : `The server answered with status ${response.status}.`,
    {
      status: response.status,
      code: isOurs ? error.code : "unexpected_answer",
      param: error?.param,
      requestId: response.headers.get("x-request-id"),
      retryAfter: retryAfter(response.headers),
      upstreamMessage: error?.upstream_message,
    },
  );
}

/** How many seconds a server asks to wait; null where it says nothing. */
function retryAfter(headers) {
  const milliseconds = headers.get("retry-after-ms") ?? "";
  if (/^\d+(\.\d+)?$/.test(milliseconds)) return Number(milliseconds) / 1000;
  const text = headers.get("retry-after") ?? "";
  if (/^\d+$/.test(text)) return Number(text);
  const time = text.endsWith("GMT") ? Date.parse(text) : NaN;
  return Number.isNaN(time) ? null : Math.max(0, (time - Date.now()) / 1000);
}

function parsedAnswer(response, body) {
  try {
    return JSON.parse(body);
  } catch {
    throw unexpected(response, "The answer of the server is not JSON.");
  }
}

function unexpected(response, text) {
  const requestId = response.headers.get("x-request-id");
  return new ProxyGPTError(text, { status: response.status, code: "unexpected_answer", requestId });
}

// MARK: - Server-sent events

async function checkStream(response) {
  if (!response.ok) throw refusal(response, await response.text());
  if (/^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "")) return;
  throw unexpected(response, "The answer of the server is not an event stream.");
}

/** The frame in an event; null where the event has none. */
function frameOf({ type, data, id }) {
  if (type === "reset") return { kind: "reset", id };
  if (type !== "message" || data === null) return null;
  try {
    const { message, partial } = JSON.parse(data);
    if (typeof message.id === "string" && typeof message.reply === "string") {
      return { kind: "message", id, message, partial };
    }
  } catch {
    // As below.
  }
  const text = "A frame of the stream is not a message.";
  throw new ProxyGPTError(text, { status: 200, code: "unexpected_answer" });
}

/** Reads events from bytes that may be cut anywhere (WHATWG HTML, section 9.2). */
class EventReader {
  /** The time after which the server wants to be asked again, in seconds. */
  retry = null;
  #decoder = new TextDecoder();
  #pieces = [];
  #followsCarriageReturn = false;
  #type = "";
  #data = [];
  #id = "";

  /** The events and comments that these bytes complete. */
  *push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (this.#followsCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    this.#followsCarriageReturn = text.endsWith("\r");
    const lines = text.split(/\r\n|\n|\r/);
    this.#pieces.push(lines[0]);
    for (let index = 1; index < lines.length; index += 1) {
      const event = this.#line(this.#pieces.join(""));
      this.#pieces = [lines[index]];
      if (event) yield event;
    }
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return { isComment: true };
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    if (name === "event") this.#type = value;
    // An id counts once its event is complete: what was cut is sent again.
    if (name === "id" && !value.includes("\0")) this.#id = value;
    if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value) / 1000;
    return null;
  }

  #dispatch() {
    const data = this.#data.length ? this.#data.join("\n") : null;
    const event = { type: this.#type || "message", data, id: this.#id };
    this.#type = "";
    this.#data = [];
    return event;
  }
}

// MARK: - Time

/**
 * A signal that aborts with the caller's, and when a time is over.
 *
 * Node.js forgets the signal of a request in a garbage collection once there is a response
 * (undici keeps it by a weak reference): what must end by it is raced and cancelled as well.
 */
class Limit {
  isOver = false;
  #controller = new AbortController();
  #callerSignal;
  #timer;
  #abort = () => this.#controller.abort();

  constructor(callerSignal) {
    this.#callerSignal = callerSignal;
    if (callerSignal?.aborted) this.#abort();
    callerSignal?.addEventListener("abort", this.#abort);
  }

  get signal() {
    return this.#controller.signal;
  }

  /** The outcome of a promise, or an error at once when the signal aborts. */
  race(promise) {
    return new Promise((resolve, reject) => {
      const abort = () => reject(new DOMException("The operation was aborted.", "AbortError"));
      if (this.signal.aborted) abort();
      this.signal.addEventListener("abort", abort);
      const isSettled = () => this.signal.removeEventListener("abort", abort);
      promise.then(resolve, reject).finally(isSettled);
    });
  }

  start(seconds) {
    this.pause();
    this.#timer = startTimer(seconds, () => {
      this.isOver = true;
      this.#abort();
    });
  }

  pause() {
    clearTimeout(this.#timer);
  }

  /** Also closes a connection that is still open. */
  end() {
    this.pause();
    this.#callerSignal?.removeEventListener("abort", this.#abort);
    this.#abort();
  }
}

function startTimer(seconds, action) {
  // Longer timers would fire at once.
  return setTimeout(action, Math.min(seconds * 1000, 2 ** 31 - 1));
}

/** Waits, and throws the reason of the signal when that aborts. */
function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = startTimer(seconds, () => {
      signal?.removeEventListener("abort", abort);
      resolve();
    });
    signal?.addEventListener("abort", abort);
  });
}

/** Waits for a promise, but not longer than a time. */
async function settled(promise, seconds) {
  let timer;
  const late = new Promise((resolve) => (timer = startTimer(seconds, resolve)));
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

/** A key for one prompt, by which the server recognizes its repetition. */
function newKey() {
  const bytes = new Uint8Array(16);
  // Node.js 18 has no global `crypto`; a key need not be secret, only another one for each prompt.
  if (globalThis.crypto) globalThis.crypto.getRandomValues(bytes);
  else bytes.forEach((_, index) => (bytes[index] = Math.floor(Math.random() * 256)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
