// Who the ids stand for, and lists of people with what may be done to them.

import { gpt } from "./api.js";
import { element, fill } from "./elements.js";

/** The names of users by id, asked for when somebody is seen for the first time. */
export class Names {
  #known = new Map();

  learn(users) {
    for (const user of users) this.#known.set(user.id, user.username);
  }

  /** Writes a user's name into a node, at once where it is known. */
  async write(id, node) {
    if (!this.#known.has(id)) {
      this.#known.set(id, gpt.users.read({ id }).then(({ username }) => username));
    }
    const name = this.#known.get(id);
    if (typeof name === "string") {
      node.textContent = name;
      return;
    }
    try {
      const found = await name;
      this.#known.set(id, found);
      node.textContent = found;
    } catch {
      // The user is gone, or nothing but a running message shows it. Asked again when seen again.
      this.#known.delete(id);
      node.textContent = "Somebody";
    }
  }
}

/**
 * Fills a list with users. `verb` says what the button beside one does ("Remove", "Leave"), or
 * nothing where there is none; `act` does it.
 */
export function showPeople(list, users, verb, act) {
  const items = users.map((user) => {
    const item = element("li", {}, element("span", { textContent: user.username, dir: "auto" }));
    const word = verb(user);
    if (word) {
      const button = element("button", { type: "button", className: "quiet", textContent: word });
      button.setAttribute("aria-label", `${word} ${user.username}`);
      button.addEventListener("click", () => act(user));
      item.append(button);
    }
    return item;
  });
  fill(list, items);
}
