// The two lists beside the content: chats by their last message, groups the newest first.

import { gpt } from "./api.js";
import { byID, element, fill } from "./elements.js";

// As many as people have, so that a chat that goes on comes first whenever it was made.
const PAGE = 200;

/** What one endpoint lists, page by page. */
class List {
  #name;
  #kind;
  items = [];

  constructor(name, kind) {
    this.#name = name;
    this.#kind = kind;
  }

  /** Reads the newest again, and as many older pages as were asked for. */
  async read() {
    const answer = await gpt[this.#name].list({ limit: PAGE });
    // What the newest page does not reach down to stays as it was.
    const oldest = answer[this.#name][0]?.id;
    const joint = this.items.findIndex(({ id }) => id === oldest);
    const older = answer.has_more && joint > 0 ? this.items.slice(0, joint) : [];
    if (older.length === 0) this.hasMore = answer.has_more;
    this.items = [...older, ...answer[this.#name]];
  }

  async readOlder() {
    const answer = await gpt[this.#name].list({ before: this.items[0].id, limit: PAGE });
    this.items = [...answer[this.#name], ...this.items];
    this.hasMore = answer.has_more;
  }

  show(items, detail = () => "") {
    this.#fill(items.map((item) => link(this.#kind, item, detail(item))));
  }

  #fill(items) {
    fill(byID(this.#name), items);
    byID(`no-${this.#name}`).hidden = items.length > 0;
    byID(`more-${this.#name}`).hidden = !this.hasMore;
  }
}

function mark(anchor) {
  anchor.ariaCurrent = anchor.hash === location.hash ? "page" : null;
}

/** A list item that leads to a chat or a group. */
export function link(kind, { id, name }, detail) {
  const anchor = element("a", { href: `#/${kind}/${id}` });
  anchor.append(element("span", { textContent: name, dir: "auto" }));
  if (detail) {
    anchor.append(" ", element("small", { className: "faint", textContent: detail, dir: "auto" }));
  }
  mark(anchor);
  return element("li", {}, anchor);
}

/** Chats change when a message comes: the last one to change is the first. */
export function byActivity(chats) {
  return chats.toReversed().sort((one, other) => {
    if (one.updated_at === other.updated_at) return 0;
    return one.updated_at < other.updated_at ? 1 : -1;
  });
}

/** Both lists, and which of their links is open. */
export class Lists {
  chats = new List("chats", "chat");
  groups = new List("groups", "group");
  #titles = new Map();

  async refresh() {
    await Promise.all([this.chats.read(), this.groups.read()]);
    this.show();
  }

  show() {
    const chats = this.chats.items.map((chat) => {
      return { ...chat, name: this.#titles.get(chat.id) ?? chat.name };
    });
    this.chats.show(byActivity(chats), ({ group_id: id }) => this.group(id)?.name);
    this.groups.show(this.groups.items.toReversed());
  }

  /** Puts a chat where a message of this time has its place. */
  hasMessage(chatID, time) {
    const chat = this.chats.items.find(({ id }) => id === chatID);
    if (!chat || chat.updated_at >= time) return;
    chat.updated_at = time;
    this.show();
  }

  /** Shows a chat without a name of its own under its first words. */
  entitle(chatID, title) {
    if (this.#titles.get(chatID) === title) return;
    if (title) this.#titles.set(chatID, title);
    else this.#titles.delete(chatID);
    this.show();
  }

  /** Says which link stands for what is open. */
  mark() {
    for (const anchor of byID("sidebar").querySelectorAll("li a")) mark(anchor);
  }

  group(id) {
    return this.groups.items.find((group) => group.id === id);
  }
}
