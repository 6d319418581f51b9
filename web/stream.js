// The stream of one chat: an EventSource that does not stay closed.
//
// The browser reconnects by itself after a lost connection and says which frame it saw last. It
// gives up on any answer but 200 (nginx's 502 while the streamer restarts); then this opens a
// new one at the same frame, unless reading the chat shows that it is not ours any more.

import { address } from "./api.js";

const LONGEST_DELAY = 30_000;

/** Tells its owner `connected`, `disconnected`, `received`, `reset`, and has it `refresh`. */
export class ChatStream {
  #chatID;
  #owner;
  #source = null;
  #lastID = "";
  #tries = 0;
  #timer = 0;
  #isClosed = false;

  constructor(chatID, owner) {
    this.#chatID = chatID;
    this.#owner = owner;
    addEventListener("online", this.#isOnline);
    this.#connect();
  }

  close() {
    this.#isClosed = true;
    removeEventListener("online", this.#isOnline);
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  /** Whether a reconnection continues where the last connection ended. */
  get canResume() {
    return this.#lastID !== "";
  }

  #isOnline = () => {
    if (this.#timer) this.#connect();
  };

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const query = new URLSearchParams({ id: this.#chatID });
    if (this.#lastID) query.set("last_event_id", this.#lastID);
    const source = new EventSource(address(`/chat/stream?${query}`));
    this.#source = source;
    source.onopen = () => {
      this.#tries = 0;
      this.#owner.connected();
    };
    source.onmessage = (event) => {
      this.#lastID = event.lastEventId || this.#lastID;
      this.#owner.received(JSON.parse(event.data));
    };
    source.addEventListener("reset", (event) => {
      this.#lastID = event.lastEventId || this.#lastID;
      this.#owner.reset();
    });
    source.onerror = () => {
      this.#owner.disconnected();
      if (source.readyState === EventSource.CLOSED) this.#reopen();
    };
  }

  async #reopen() {
    const goesOn = await this.#owner.refresh();
    if (this.#isClosed || !goesOn) return;
    // Not all at once: everybody's stream has ended together.
    const delay = Math.min(LONGEST_DELAY, 1000 * 2 ** this.#tries) * (0.5 + Math.random() / 2);
    this.#tries += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
  }
}
