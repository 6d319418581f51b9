// A backend with users of its own, behind one account of Proxy GPT: its users know nothing of that account, and
// each of them has one chat of it. They share the account's limits: MAX_REPLIES_PER_USER replies run at once.
//
//     export PROXY_GPT_URL=http://localhost:8080
//     export PROXY_GPT_TOKEN=…       # the token that /user/signup or /user/login answered
//     node examples/node-backend/server.mjs
//
//     curl localhost:3000/register -d '{"name": "ada", "password": "correct horse"}'         # {"session": "…"}
//     curl -N localhost:3000/ask -H "Authorization: Bearer $SESSION" -d '{"text": "Hello"}'  # a JSON object a line
//     curl localhost:3000/history -H "Authorization: Bearer $SESSION"

import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { promisify } from "node:util";

// In a project of your own: import { ProxyGPT } from "proxy-gpt";
import { ProxyGPT } from "../../clients/js/proxy-gpt.js";

const { PROXY_GPT_URL = "http://localhost:8080", PROXY_GPT_TOKEN, PORT = "3000" } = process.env;
if (!PROXY_GPT_TOKEN) {
  console.error("PROXY_GPT_TOKEN is not set: it is the token of the account that this backend uses.");
  process.exit(64);
}
const gpt = new ProxyGPT(PROXY_GPT_URL, { token: PROXY_GPT_TOKEN });

// A real backend has a database for these two: users by name, and users by the token of their session.
const users = new Map();
const sessions = new Map();
const hash = promisify(scrypt);

const routes = new Map([
  ["POST /register", register],
  ["POST /login", logIn],
  ["POST /ask", ask],
  ["GET /history", history],
]);

/** The error that a request is answered with. */
function refusal(status, message) {
  return Object.assign(new Error(message), { status, isRefusal: true });
}

async function register({ fields }) {
  const { name, password } = credentials(fields);
  if (users.has(name)) throw refusal(409, "The name is taken.");
  const user = { name, salt: randomBytes(16), hash: null, chat: null };
  users.set(name, user);
  user.hash = await hash(password, user.salt, 32);
  return begin(user);
}

async function logIn({ fields }) {
  const { name, password } = credentials(fields);
  const user = users.get(name);
  const found = await hash(password, user?.salt ?? "", 32);
  if (!user?.hash || !timingSafeEqual(found, user.hash)) throw refusal(401, "Wrong name or password.");
  return begin(user);
}

function credentials({ name, password }) {
  const areGood = typeof name === "string" && name && typeof password === "string" && password.length >= 8;
  if (!areGood) throw refusal(400, "A name and a password of at least 8 characters are needed.");
  return { name, password };
}

function begin(user) {
  const session = randomBytes(32).toString("base64url");
  sessions.set(session, user);
  return { session };
}

/** Streams the reply as lines: {"text": …} for each piece, then {"done": true, "state": …} or {"error": …}. */
async function ask({ request, response, fields }) {
  const user = userOf(request);
  if (typeof fields.text !== "string" || !fields.text) throw refusal(400, "A text is needed.");
  const chat = await chatOf(user);
  // A user who leaves ends the reply, and with it what the reply costs.
  const leaving = new AbortController();
  response.on("close", () => leaving.abort());
  const { signal } = leaving;
  for await (const { text, done, message } of gpt.chats.stream(chat.id, fields.text, { signal })) {
    if (!response.headersSent) response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    const line = JSON.stringify(done ? { text, done, state: message.state } : { text });
    if (!response.write(line + "\n")) await once(response, "drain", { signal }).catch(() => {});
  }
  response.end();
}

async function history({ request }) {
  const user = userOf(request);
  const { messages } = await gpt.chats.read((await chatOf(user)).id);
  return messages.map(({ prompt, reply, created_at }) => ({ prompt, reply, created_at }));
}

function userOf(request) {
  const user = sessions.get(request.headers.authorization?.replace(/^Bearer /, ""));
  if (!user) throw refusal(401, "Log in first.");
  return user;
}

/** The user's chat, which is made with the first question: once, also when two come together. */
function chatOf(user) {
  user.chat ??= gpt.chats.create({ name: `User ${user.name}` }).catch((error) => {
    user.chat = null;
    throw error;
  });
  return user.chat;
}

async function fieldsOf(request) {
  let text = "";
  for await (const piece of request.setEncoding("utf8")) {
    text += piece;
    if (text.length > 65536) throw refusal(413, "The body is too large.");
  }
  try {
    return Object(JSON.parse(text || "{}"));
  } catch {
    throw refusal(400, "The body is not JSON.");
  }
}

/** An error as the app's users see it: of Proxy GPT's errors only whether another try may help. */
function shown(error) {
  if (error.isRefusal) return error;
  console.error(error);
  if (![429, 503].includes(error.status)) return { status: 502, message: "There is no answer just now." };
  return { status: 503, message: "Too busy just now. Try again shortly.", retryAfter: error.retryAfter ?? 1 };
}

const server = createServer(async (request, response) => {
  try {
    const route = routes.get(`${request.method} ${request.url}`);
    if (!route) throw refusal(404, "There is nothing here.");
    const answer = await route({ request, response, fields: await fieldsOf(request) });
    if (answer) response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
  } catch (error) {
    const { status, message, retryAfter } = shown(error);
    const line = JSON.stringify({ error: message }) + "\n";
    if (response.headersSent) return response.end(line);
    if (retryAfter) response.setHeader("Retry-After", Math.ceil(retryAfter));
    response.writeHead(status, { "Content-Type": "application/json" }).end(line);
  }
});

server.listen(Number(PORT), "127.0.0.1", () => {
  console.log(`The backend is at http://127.0.0.1:${server.address().port}/`);
});
