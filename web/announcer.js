// What a screen reader says by itself while replies stream in.
//
// The list of messages is not a live region: a reader would say a growing paragraph again with
// every word. Here each sentence appears once, in a region that is only heard.

import { byID, element } from "./elements.js";

const KEPT = 8;

/** Says whole sentences, and whose they are when the speaker changes. */
export class Announcer {
  #region = byID("announcements");
  #speaker = null;

  /** Says a text that somebody, known by a key, has written. */
  say(speaker, name, text) {
    const words = text.trim();
    if (!words) return;
    const intro = speaker === this.#speaker ? "" : `${name}: `;
    this.#speaker = speaker;
    this.#region.append(element("p", { textContent: intro + words }));
    while (this.#region.childElementCount > KEPT) this.#region.firstElementChild.remove();
  }

  clear() {
    this.#speaker = null;
    this.#region.replaceChildren();
  }
}

/** Where the last whole sentence or line of a growing text ends, at `start` or behind it. */
export function sentenceEnd(text, start) {
  const ends = /[.!?…:;。！？]["'”’)\]]*\s|\n/g;
  ends.lastIndex = start;
  let end = start;
  while (ends.exec(text)) end = ends.lastIndex;
  return end;
}
