// The scenario that every client runs: the same steps and the same lines in all languages.
//
// Environment: PROXY_GPT_URL, SCENARIO_USER, SCENARIO_OTHER. The program prints one JSON object a line, and at "cut"
// and "worker" it waits for a line on standard input, so that the test can stop and start processes meanwhile.
// The stack has MAX_REPLIES_PER_USER=1 and a mock upstream that takes 30 ms for a word.

import { createInterface } from "node:readline";
import { ProxyGPT, ProxyGPTError } from "./proxy-gpt.js";

const url = process.env.PROXY_GPT_URL;
const username = process.env.SCENARIO_USER;
const otherUsername = process.env.SCENARIO_OTHER;
const password = "correct horse battery";
// The mock repeats the prompt behind "echo:", one word in 30 ms: 61 words are a reply of two seconds.
const slowModel = "mock?chunks=61";
const sixtyWords = Array.from({ length: 60 }, (_, index) => `word${index + 1}`).join(" ");
const missingChat = "00000000-0000-7000-8000-000000000000";

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function print(step, values = {}) {
  process.stdout.write(JSON.stringify({ step, ...values }) + "\n");
}

async function waitForGo() {
  await input.next();
}

/** The error of a call that has to fail. */
async function errorOf(call) {
  try {
    await call;
  } catch (error) {
    if (error instanceof ProxyGPTError) return error;
    throw error;
  }
  throw new Error("a call succeeded that should have failed");
}

/** The message as the server has it once its reply has ended. */
async function endedMessage(gpt, chat, id) {
  for (;;) {
    for await (const message of gpt.chats.messagesAll(chat.id)) {
      if (message.id === id && !["pending", "streaming"].includes(message.state)) return message;
      if (message.id === id) break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const gpt = new ProxyGPT(url);

// 1 to 3: users and sessions
const signedUp = await gpt.users.signUp({ username, password });
print("sign-up", { role: signedUp.user.role, has_token: Boolean(signedUp.token) });
const wrong = await errorOf(new ProxyGPT(url).users.logIn({ username, password: "wrong password" }));
print("wrong-password", { error: { status: wrong.status, code: wrong.code } });
const session = await gpt.users.session();
print("session", { same_user: session.user.id === signedUp.user.id });

// 4 to 6: a chat, a prompt, a stream
const chat = await gpt.chats.create({ name: "Scenario" });
print("chat", { name: chat.name, model: chat.model });
const answer = await gpt.chats.prompt(chat.id, "Tell me about Spain.");
print("prompt", { reply: answer.reply, state: answer.message.state });
let text = "";
let last;
for await (const delta of gpt.chats.stream(chat.id, "one two three four five")) {
  text += delta.text;
  last = delta;
}
print("stream", {
  text,
  deltas_joined_equal_reply: text === last.message.reply,
  state: last.message.state,
});

// 7: an abort after the third delta ends the reply at the upstream
const slow = await gpt.chats.create({ name: "Slow", model: slowModel });
const controller = new AbortController();
let deltas = 0;
for await (const delta of gpt.chats.stream(slow.id, sixtyWords, { signal: controller.signal })) {
  last = delta;
  deltas += 1;
  if (deltas === 3) controller.abort();
}
const stopped = await endedMessage(gpt, slow, last.message.id);
print("abort", {
  state: stopped.state,
  is_shorter: stopped.reply.length < `echo: ${sixtyWords}`.length,
});

// 8: the streamer is killed in mid-reply
text = "";
deltas = 0;
for await (const delta of gpt.chats.stream(slow.id, sixtyWords)) {
  text += delta.text;
  last = delta;
  deltas += 1;
  if (deltas === 3) {
    print("cut", { at: "third delta" });
    await waitForGo();
  }
}
const stored = await endedMessage(gpt, slow, last.message.id);
print("resumed", { text, equals_stored: text === stored.reply });
await gpt.chats.delete(slow.id);

// 9: a worker is killed between two calls
print("worker", { at: "before prompt" });
await waitForGo();
print("worker-prompt", { reply: (await gpt.chats.prompt(chat.id, "after the restart")).reply });

// 10: the first chat and 250 more, over several pages
for (let number = 1; number <= 250; number += 1) {
  await gpt.chats.create({ name: `Chat ${number}` });
}
const ids = [];
for await (const listed of gpt.chats.listAll()) ids.push(listed.id);
print("paging", { chats: ids.length, distinct: new Set(ids).size });

// 11 to 14: off the record, and errors
const note = await gpt.chats.prompt(chat.id, "between us", { otr: true });
print("off-the-record", { otr: note.message.otr, reply: note.reply });
const missing = await errorOf(gpt.chats.read(missingChat));
print("not-found", { error: { status: missing.status, code: missing.code } });
const conflict = await errorOf(new ProxyGPT(url).users.signUp({ username, password }));
print("conflict", {
  error: { status: conflict.status, code: conflict.code, param: conflict.param },
});
const busy = await gpt.chats.create({ name: "Busy", model: slowModel });
const impatient = new ProxyGPT(url, { token: gpt.token, maxRetries: 0 });
const end = new AbortController();
for await (const delta of gpt.chats.stream(busy.id, sixtyWords, { signal: end.signal })) {
  last = delta;
  const limited = await errorOf(impatient.chats.prompt(chat.id, "one too many"));
  print("rate-limit", {
    error: {
      status: limited.status,
      code: limited.code,
      has_retry_after: limited.retryAfter !== null,
    },
  });
  end.abort();
}
await endedMessage(gpt, busy, last.message.id);

// 15: a group of two users, and a chat that both read
const other = new ProxyGPT(url);
const { user: otherUser } = await other.users.signUp({ username: otherUsername, password });
const group = await gpt.groups.create({ name: "Scenario" });
await gpt.groups.addMembers(group.id, [otherUser.id]);
let members = 0;
for await (const _ of gpt.groups.membersAll(group.id)) members += 1;
const shared = await gpt.chats.create({ name: "Shared", model: slowModel, groupId: group.id });
const { chat: seen } = await other.chats.read(shared.id);
print("group", { members, chat_in_group: seen.group_id === group.id });

// 16: the other user watches the chat while the first one prompts
const watched = (async () => {
  const kinds = new Set();
  for await (const frame of other.chats.watch(shared.id)) {
    kinds.add(frame.kind);
    if (frame.kind === "message" && !frame.partial) break;
  }
  return [...kinds];
})();
await gpt.chats.prompt(shared.id, sixtyWords);
print("watch", { kinds: await watched });

// 17: a log-out ends the other user's watch
const ended = (async () => {
  for await (const frame of other.chats.watch(shared.id)) if (frame.kind === "reset") continue;
  return true;
})().catch((error) => error instanceof ProxyGPTError && error.status === 401);
await new ProxyGPT(url, { token: other.token }).users.logOut();
print("logout", { watch_ended: await ended });

// 18: what OpenAI's own client needs
const { baseURL, apiKey } = gpt.openai;
const models = await fetch(`${baseURL}/models`, { headers: { Authorization: `Bearer ${apiKey}` } });
print("openai", { models: models.status === 200 });

print("end");
process.exit(0);
