// The messages of the chat that is open: read once, then streamed.
//
// The stream is opened before the messages are read, so that nothing falls between the two.
// A reply that was running when the stream began arrives on it from its first word.

import { gpt } from "./api.js";
import { byID } from "./elements.js";
import { isRunning, MessageView } from "./message.js";
import { ChatStream } from "./stream.js";

const NEARLY_AT_END = 80;
const SILENCE = 30_000;
const SHOWS_LOSS_AFTER = 1500;

/** One open chat. `page` is told what concerns more than its messages. */
export class Conversation {
  #page;
  #views = new Map();
  #stream;
  #isRead = false;
  #isClosed = false;
  #lossTimer = 0;
  #watch;
  #list = byID("messages");
  #scroll = byID("scroll");
  #earlier = byID("earlier");

  constructor(chatID, page) {
    this.id = chatID;
    this.#page = page;
    this.names = page.names;
    this.#clear();
    this.#earlier.hidden = true;
    this.#watch = setInterval(() => this.#lookAtSilent(), SILENCE / 2);
    this.#stream = new ChatStream(chatID, this);
  }

  close() {
    this.#isClosed = true;
    this.#stream.close();
    clearInterval(this.#watch);
    this.#showLoss(false);
    this.#clear();
  }

  // What the stream tells

  connected() {
    this.#showLoss(false);
    // The first time; and as long as no frame was seen the server cannot know what we missed.
    if (!this.#isRead || !this.#stream.canResume) this.refresh();
  }

  disconnected() {
    this.#showLoss(true);
  }

  received({ message, partial }) {
    this.#page.hasMessage(message);
    this.#following(() => {
      const view = this.#views.get(message.id) ?? this.#append(message);
      if (partial) view.grow(message);
      else view.settle(message);
    });
  }

  /** Forgets what is shown; the messages as they stand follow on the stream. */
  reset() {
    this.#clear();
    this.#earlier.hidden = false;
  }

  /** Reads the newest messages into what is shown; false when the chat is not ours any more. */
  async refresh() {
    try {
      const answer = await gpt.chats.read(this.id);
      if (this.#isClosed) return false;
      this.#following(() => {
        this.#merge(answer);
        this.#page.chatRead(answer);
      });
      return true;
    } catch (refusal) {
      if (this.#isClosed) return false;
      if (refusal.status !== 401 && refusal.status !== 404) return true;
      this.#page.chatLost(refusal);
      return false;
    }
  }

  // What the messages tell

  say(speaker, name, text) {
    if (this.#isRead) this.#page.announcer.say(speaker, name, text);
  }

  /** A reply may be stopped by whose prompt it answers, and by the chat's owner. */
  mayStop(userID) {
    return userID === this.#page.me.id || this.#page.isOwner;
  }

  showRights() {
    for (const view of this.#views.values()) view.showRights();
  }

  takeFocus() {
    byID("prompt").focus();
  }

  async stop(view) {
    if (view.isStopping) return;
    view.isStopping = true;
    await this.#page.attempt(async () => {
      const { message } = await gpt.chats.stop(this.id, view.id);
      this.#following(() => view.settle(message));
    });
    view.isStopping = false;
  }

  // What the user does

  /** The key makes sure that a prompt sent again after a lost answer is stored once. */
  async prompt(text, isOffRecord, key) {
    const options = { stream: true, otr: isOffRecord, idempotencyKey: key };
    const { message } = await gpt.chats.prompt(this.id, text, options);
    if (this.#isClosed) return;
    const view = this.#views.get(message.id) ?? this.#append(message);
    view.settle(message);
    this.scrollToEnd();
    this.#page.hasMessage(message);
  }

  /** The first prompt for the record, where all messages are shown; empty otherwise. */
  get firstPrompt() {
    if (!this.#isRead || !this.#earlier.hidden) return "";
    return [...this.#views.values()].find(({ title }) => title)?.title ?? "";
  }

  async readEarlier() {
    const [first] = this.#views.keys();
    if (!first) return;
    const answer = await gpt.chats.read(this.id, { before: first });
    if (this.#isClosed) return;
    const height = this.#scroll.scrollHeight;
    const older = answer.messages.map((message) => this.#view(message, true));
    this.#views = new Map([...older.map((view) => [view.id, view]), ...this.#views]);
    this.#list.prepend(...older.map((view) => view.element));
    this.#scroll.scrollTop += this.#scroll.scrollHeight - height;
    if (!answer.has_more && document.activeElement === this.#earlier) this.#scroll.focus();
    this.#earlier.hidden = !answer.has_more;
  }

  scrollToEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  get isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight < NEARLY_AT_END;
  }

  // The list

  #merge({ users, messages, has_more: hasMore }) {
    this.names.learn(users);
    const shown = [...this.#views.keys()];
    const joint = shown.findIndex((id) => messages.some((message) => message.id === id));
    // More was missed than one reading tells: what was shown before does not join on.
    const isTorn = this.#isRead && joint < 0 && messages.length > 0 && shown.length > 0;
    if (isTorn) this.#forgetEnded();
    if (isTorn || !this.#isRead) this.#earlier.hidden = !hasMore;
    const older = this.#isRead ? shown.slice(0, Math.max(joint, 0)) : [];

    const ordered = new Map(older.map((id) => [id, this.#views.get(id)]));
    for (const message of messages) {
      const view = this.#views.get(message.id) ?? this.#view(message, !this.#isRead || isTorn);
      view.settle(message);
      ordered.set(view.id, view);
    }
    // Last what the answer did not know yet.
    for (const [id, view] of this.#views) if (!ordered.has(id)) ordered.set(id, view);
    this.#views = ordered;

    // Only what is not in its place is moved: moving an element takes the focus from it.
    let place = this.#list.firstElementChild;
    for (const view of this.#views.values()) {
      if (view.element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(view.element, place);
    }
    if (!this.#isRead) this.scrollToEnd();
    this.#isRead = true;
  }

  #append(message) {
    const view = this.#view(message, false);
    this.#views.set(view.id, view);
    this.#list.append(view.element);
    return view;
  }

  /** A running reply starts out empty: its words come on the stream. */
  #view(message, wasThereBefore) {
    const view = new MessageView(message, this, wasThereBefore && !isRunning(message.state));
    if (wasThereBefore) view.settle(message);
    else if (message.user_id !== this.#page.me.id) view.announce();
    return view;
  }

  #forgetEnded() {
    for (const view of this.#views.values()) {
      if (view.isRunning) continue;
      this.#views.delete(view.id);
      view.element.remove();
    }
  }

  #clear() {
    this.#views.clear();
    this.#list.replaceChildren();
    this.#page.announcer.clear();
  }

  /** Keeps the end in view while it grows, unless somebody has scrolled up to read. */
  #following(change) {
    const follows = this.isAtEnd;
    change();
    if (follows) this.scrollToEnd();
    this.#page.scrolled();
  }

  /** Every reply ends with a frame; should one be lost, reading tells. */
  #lookAtSilent() {
    const now = performance.now();
    const isSilent = (view) => view.isRunning && now - view.heardAt > SILENCE;
    if ([...this.#views.values()].some(isSilent)) this.refresh();
  }

  /** A connection that is renewed at once is nobody's concern. */
  #showLoss(isLost) {
    if (isLost === (this.#lossTimer !== 0)) return;
    clearTimeout(this.#lossTimer);
    this.#lossTimer = 0;
    const line = byID("connection");
    line.textContent = "";
    if (!isLost) return;
    this.#lossTimer = setTimeout(() => {
      line.textContent = "The connection is lost. Trying again…";
    }, SHOWS_LOSS_AFTER);
  }
}
