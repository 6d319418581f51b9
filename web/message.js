// One message as it is shown: who asked what, and the reply as it grows.

import { sentenceEnd } from "./announcer.js";
import { element } from "./elements.js";
import { ReplyText, spoken } from "./reply-text.js";

/** How many characters the end of a sentence has: a full stop, brackets, a blank. */
const LONGEST_END = 8;

/** Whether a reply in this state is still to come. */
export function isRunning(state) {
  return state === "pending" || state === "streaming";
}

/** The element of one message. `owner` knows names and rights, stops replies and says texts. */
export class MessageView {
  #owner;
  #isQuiet;
  #saidUpTo = 0;
  #searchedUpTo = 0;
  #userID = null;
  #named = null;
  #author = element("span", { textContent: "…", dir: "auto" });
  #badge = element("span", { className: "badge", textContent: "Off the record", hidden: true });
  #prompt = element("p", { className: "text", dir: "auto" });
  #text = element("div", { className: "text markdown", dir: "auto" });
  #reply = new ReplyText(this.#text);
  #state = element("p", { className: "state faint" });
  #stop = element("button", { type: "button", className: "stop", textContent: "Stop" });
  #answer = element(
    "div",
    { className: "reply" },
    element("h2", { textContent: "Reply" }),
    this.#text,
    element("div", { className: "actions" }, this.#state, this.#stop),
  );
  element = element(
    "li",
    { className: "message" },
    element(
      "div",
      { className: "prompt" },
      element("h2", {}, this.#author, this.#badge),
      this.#prompt,
    ),
    this.#answer,
  );
  state = "streaming";
  heardAt = performance.now();

  /** A quiet one is not said: it was there before anybody listened. */
  constructor(message, owner, isQuiet) {
    this.id = message.id;
    this.#owner = owner;
    this.#isQuiet = isQuiet;
    this.#stop.addEventListener("click", () => owner.stop(this));
    this.#introduce(message);
    this.#show();
  }

  get isRunning() {
    return isRunning(this.state);
  }

  /** Not `disabled`: that would take the focus from the button, and leave it nowhere. */
  get isStopping() {
    return this.#stop.ariaDisabled === "true";
  }

  set isStopping(value) {
    this.#stop.ariaDisabled = value ? "true" : null;
  }

  /** Takes in new words; once the whole reply is there, they are old ones. */
  grow(message) {
    if (!this.isRunning) return;
    this.heardAt = performance.now();
    this.#introduce(message);
    if (message.reply) {
      this.#reply.append(message.reply);
      const from = Math.max(this.#saidUpTo, this.#searchedUpTo);
      const end = sentenceEnd(this.#reply.text, from);
      if (end > from) this.#sayUpTo(end);
      // An end may have begun with the last few characters; what is before them has none.
      this.#searchedUpTo = this.#reply.text.length - LONGEST_END;
    }
    this.#show();
  }

  /** Takes in the whole message, which stands for all that was shown. */
  settle(message) {
    this.#introduce(message);
    if (isRunning(message.state)) return;
    const wasRunning = this.isRunning;
    const reply = message.reply ?? "";
    this.state = message.state;
    this.#badge.hidden = !message.otr;
    this.#answer.hidden = message.otr === true;
    this.#reply.set(reply);
    this.#show(message.error?.message);
    if (!wasRunning) return;
    this.#sayUpTo(reply.length);
    if (this.state !== "done") this.#say(`reply ${this.id}`, "Reply", this.#state.textContent);
  }

  /** Says the prompt: for those who did not write it. */
  async announce() {
    await this.#named;
    this.#say(`prompt ${this.id}`, this.#author.textContent, this.#prompt.textContent);
  }

  /** The first prompt names a chat, unless it is off the record. */
  get title() {
    return this.#badge.hidden ? this.#prompt.textContent : "";
  }

  #introduce(message) {
    if (message.username) {
      this.#owner.names.learn([{ id: message.user_id, username: message.username }]);
    }
    if (message.user_id && message.user_id !== this.#userID) {
      this.#userID = message.user_id;
      this.#named = this.#owner.names.write(message.user_id, this.#author).then(() => {
        this.#stop.setAttribute("aria-label", `Stop the reply to ${this.#author.textContent}`);
      });
    }
    if (message.prompt && !this.#prompt.textContent) this.#prompt.textContent = message.prompt;
  }

  #sayUpTo(end) {
    if (end <= this.#saidUpTo) return;
    const text = this.#reply.text.slice(this.#saidUpTo, end);
    this.#saidUpTo = end;
    this.#say(`reply ${this.id}`, "Reply", spoken(text));
  }

  #say(speaker, name, text) {
    if (!this.#isQuiet) this.#owner.say(speaker, name, text);
  }

  #show(failure = "Something went wrong.") {
    const isWaiting = this.isRunning && !this.#reply.text;
    const words = { stopped: "Stopped.", failed: `The reply failed. ${failure}` };
    this.#state.textContent = isWaiting ? "Waiting for the reply…" : (words[this.state] ?? "");
    this.element.dataset.state = this.state;
    this.#text.hidden = !this.#reply.text;
    if (!this.isRunning && document.activeElement === this.#stop) this.#owner.takeFocus();
    this.showRights();
  }

  /** Shows the button to whom it is of use. */
  showRights() {
    this.#stop.hidden = !this.isRunning || !this.#owner.mayStop(this.#userID);
  }
}
