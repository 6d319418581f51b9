// The chat that is open: its head, its people, and the form that prompts.

import { gpt } from "./api.js";
import { ask, attempt, byID, onSubmit } from "./elements.js";
import { Conversation } from "./conversation.js";
import { Menu } from "./menu.js";
import { showPeople } from "./people.js";
import { isUnnamed, titleOf } from "./titles.js";

/** The section of one chat. `app` is the page around it. */
export class ChatPage {
  #app;
  #conversation = null;
  #chat = null;
  #users = [];
  #group = null;
  #key = null;
  #menu = new Menu(byID("chat").querySelector("header"));

  constructor(app) {
    this.#app = app;
    this.names = app.names;
    this.announcer = app.announcer;
    byID("rename-chat").addEventListener("click", () => this.#rename());
    byID("change-model").addEventListener("click", () => this.#changeModel());
    byID("delete-chat").addEventListener("click", () => this.#delete());
    byID("people").addEventListener("click", () => this.#showPeople());
    byID("close-people").addEventListener("click", () => byID("people-dialog").close());
    byID("earlier").addEventListener("click", () => {
      this.attempt(() => this.#conversation.readEarlier());
    });
    byID("newest").addEventListener("click", () => {
      this.#conversation.scrollToEnd();
      byID("scroll").focus();
    });
    byID("scroll").addEventListener("scroll", () => this.scrolled());
    this.#listenToForms();
  }

  get me() {
    return this.#app.me;
  }

  attempt(action) {
    return attempt(byID("notice"), action);
  }

  open(id) {
    this.close();
    byID("chat").hidden = false;
    this.#showRights();
    this.#conversation = new Conversation(id, this);
    byID(isTouched() ? "chat-title" : "prompt").focus();
  }

  /** What is written without an open chat begins one. */
  openNew() {
    this.close();
    if (!isTouched()) byID("prompt").focus();
  }

  close() {
    this.#conversation?.close();
    this.#conversation = this.#chat = this.#group = this.#key = null;
    this.#users = [];
    byID("people-dialog").close();
    this.#menu.close();
    byID("chat").hidden = byID("newest").hidden = true;
    // What one user saw is not there for the next, not even unseen.
    for (const id of ["chat-title", "chat-about", "people-group"]) byID(id).textContent = "";
    byID("people-list").replaceChildren();
    byID("composer").reset();
    this.#fit();
    byID("composer").querySelector(".error").textContent = "";
  }

  // What the conversation tells

  chatRead({ chat, users }) {
    this.#chat = chat;
    this.#users = users;
    this.#show();
    if (chat.group_id && this.#group?.id !== chat.group_id) this.#readGroup(chat);
  }

  chatLost(refusal) {
    if (refusal.status === 401) this.#app.signedOut("You have been logged out.");
    else this.#app.leave("This chat is not there, or not yours to see any more.");
  }

  /** Keeps the chat's place in the list, which is by the last message. */
  hasMessage({ chat_id: id, created_at: time }) {
    if (time) this.#app.lists.hasMessage(id, time);
  }

  scrolled() {
    byID("newest").hidden = !this.#conversation || this.#conversation.isAtEnd;
  }

  // The head

  #show() {
    const others = this.#users.filter(({ id }) => id !== this.me.id).map((user) => user.username);
    const parts = [this.#chat.model];
    if (this.#group) parts.push(`group ${this.#group.name}`);
    if (others.length > 0) parts.push(`with ${others.join(", ")}`);
    const title = isUnnamed(this.#chat) ? titleOf(this.#conversation.firstPrompt) : "";
    const name = title || this.#chat.name;
    this.#app.lists.entitle(this.#chat.id, title);
    byID("chat-title").textContent = name;
    byID("chat-about").textContent = parts.join(" · ");
    document.title = `${name} – Proxy GPT`;
    this.#showRights();
  }

  #showRights() {
    for (const id of ["change-model", "rename-chat", "delete-chat"]) {
      byID(id).hidden = !this.isOwner;
    }
    this.#conversation?.showRights();
  }

  /** A group's owner owns its chats as well, its former members none of them. */
  get isOwner() {
    if (!this.#chat) return false;
    return this.#chat.user_id === this.me.id || this.#group?.owner_id === this.me.id;
  }

  /** Who is in the chat by the group has a name in the conversation too. */
  async #readGroup(chat) {
    try {
      const group = await gpt.groups.read(chat.group_id);
      this.names.learn(group.members);
      if (this.#chat?.id !== chat.id) return;
      this.#group = group;
      this.#show();
    } catch {
      // Who was added to the chat alone does not see its group.
    }
  }

  #rename() {
    ask({
      title: "Rename the chat",
      fields: [
        { name: "name", label: "Name", value: this.#chat.name, required: true, maxLength: 120 },
      ],
      action: "Rename",
      submit: async ({ name }) => {
        await this.#update({ name });
      },
    });
  }

  #changeModel() {
    const { model } = this.#chat;
    ask({
      title: "Change the model",
      text: "The replies to further prompts come from it.",
      fields: [
        {
          name: "model",
          label: "Model",
          list: "models",
          value: model,
          required: true,
          maxLength: 200,
        },
      ],
      action: "Change",
      submit: (values) => this.#update(values),
    });
  }

  async #update(fields) {
    const { id } = this.#chat;
    const chat = await gpt.chats.update(id, fields);
    if (this.#chat?.id === id) {
      this.#chat = chat;
      this.#show();
    }
    this.#app.refresh();
  }

  /** Its first prompt names a chat that has no name, for everybody in it. */
  async #nameByPrompt() {
    if (!this.#chat || !isUnnamed(this.#chat)) return;
    const name = titleOf(this.#conversation.firstPrompt);
    if (!name) return;
    this.#show();
    if (this.isOwner) await this.#update({ name }).catch(() => {});
  }

  #delete() {
    ask({
      title: "Delete the chat?",
      text: `“${this.#chat.name}” and its messages are gone then, for everybody in it.`,
      action: "Delete",
      submit: async () => {
        await gpt.chats.delete(this.#chat.id);
        this.#app.leave();
      },
    });
  }

  // The people

  #showPeople() {
    if (!this.#chat) return;
    byID("people-group").hidden = !this.#chat.group_id;
    byID("people-group").textContent = this.#group
      ? `All members of ${this.#group.name} are in it, too.`
      : "All members of its group are in it, too.";
    byID("add-person").hidden = !this.isOwner;
    byID("add-person").reset();
    byID("add-person").querySelector(".error").textContent = "";
    this.#listPeople();
    byID("people-dialog").showModal();
    // Somebody may have come or gone since the chat was read.
    this.#peopleChanged();
  }

  #listPeople() {
    const verb = ({ id }) => {
      if (id === this.#chat.user_id) return "";
      if (id === this.me.id) return "Leave";
      return this.isOwner ? "Remove" : "";
    };
    showPeople(byID("people-list"), this.#users, verb, (user) => {
      attempt(byID("add-person").querySelector(".error"), () => this.#remove(user));
    });
  }

  async #remove(user) {
    await gpt.chats.removeUser(this.#chat.id, user.id);
    if (user.id === this.me.id) {
      this.#app.leave("You have left the chat.");
      return;
    }
    await this.#peopleChanged();
    byID("close-people").focus();
  }

  async #peopleChanged() {
    if (await this.#conversation.refresh()) this.#listPeople();
  }

  // The forms

  #listenToForms() {
    onSubmit(byID("add-person"), async ({ username }) => {
      await gpt.chats.addUser(this.#chat.id, username.value.trim());
      username.value = "";
      await this.#peopleChanged();
    });

    const composer = byID("composer");
    const prompt = byID("prompt");
    onSubmit(composer, async () => {
      const text = prompt.value;
      const isOffRecord = byID("otr").checked;
      if (!text.trim()) return;
      if (!this.#conversation && !(await this.#begin(text, isOffRecord))) return;
      const conversation = this.#conversation;
      this.#key ??= randomKey();
      await conversation.prompt(text, isOffRecord, this.#key);
      if (conversation !== this.#conversation) return;
      this.#key = null;
      byID("otr").checked = false;
      // Unless somebody has gone on writing meanwhile.
      if (prompt.value === text) this.#write("");
      prompt.focus();
      await this.#nameByPrompt();
    });
    prompt.addEventListener("input", () => {
      this.#key = null;
      this.#fit();
    });
    prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      composer.requestSubmit();
    });
  }

  /** Opens a new chat with what is written; it stays written until it is sent. */
  async #begin(text, isOffRecord) {
    const name = isOffRecord ? "" : titleOf(text);
    const fields = { name, model: byID("model").value.trim() };
    const given = Object.entries(fields).filter(([, value]) => value);
    if (!(await this.#app.begin(Object.fromEntries(given)))) return false;
    byID("model").value = "";
    byID("otr").checked = isOffRecord;
    this.#write(text);
    return true;
  }

  #write(text) {
    byID("prompt").value = text;
    this.#fit();
  }

  /** As many lines as are written, where the style alone does not see to that. */
  #fit() {
    const prompt = byID("prompt");
    if (!CSS.supports("field-sizing", "content")) {
      prompt.rows = Math.min(8, prompt.value.split("\n").length);
    }
  }
}

/** On a phone a focused field would bring the keyboard up over everything else. */
function isTouched() {
  return matchMedia("(pointer: coarse)").matches;
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
