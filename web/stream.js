// The stream of one chat: a watch of the client that does not stay closed.
//
// The client reconnects by itself after a lost connection and says which frame it saw last. It
// gives up after ten tries; then this begins a new watch at the same frame, unless reading the
// chat shows that it is not ours any more.

import { gpt } from "./api.js";

const LONGEST_DELAY = 30_000;

/** Tells its owner `connected`, `disconnected`, `received`, `reset`, and has it `refresh`. */
export class ChatStream {
  #chatID;
  #owner;
  #lastID = "";
  #tries = 0;
  #timer = 0;
  #closing = new AbortController();

  constructor(chatID, owner) {
    this.#chatID = chatID;
    this.#owner = owner;
    addEventListener("online", this.#isOnline);
    this.#watch();
  }

  close() {
    removeEventListener("online", this.#isOnline);
    clearTimeout(this.#timer);
    this.#closing.abort();
  }

  /** Whether a reconnection continues where the last connection ended. */
  get canResume() {
    return this.#lastID !== "";
  }

  #isOnline = () => {
    if (this.#timer) this.#watch();
  };

  async #watch() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const { signal } = this.#closing;
    const onOpen = () => {
      this.#tries = 0;
      this.#owner.connected();
    };
    const onClose = () => this.#owner.disconnected();
    const options = { after: this.#lastID, signal, onOpen, onClose };
    try {
      for await (const frame of gpt.chats.watch(this.#chatID, options)) {
        this.#lastID = frame.id;
        if (frame.kind === "reset") this.#owner.reset();
        else this.#owner.received(frame);
      }
    } catch {
      await this.#watchLater();
    }
  }

  async #watchLater() {
    const goesOn = await this.#owner.refresh();
    if (this.#closing.signal.aborted || !goesOn) return;
    // Not all at once: everybody's stream has ended together.
    const delay = Math.min(LONGEST_DELAY, 1000 * 2 ** this.#tries) * (0.5 + Math.random() / 2);
    this.#tries += 1;
    this.#timer = setTimeout(() => this.#watch(), delay);
  }
}
