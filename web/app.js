// The page as a whole: who is logged in, and what of theirs is open.
//
// What is open stands in the address, as #/chat/ID or #/group/ID, so that a reload, a bookmark
// and the back button do what one expects.

import { Announcer } from "./announcer.js";
import { gpt } from "./api.js";
import { ChatPage } from "./chat.js";
import { ask, attempt, byID, onSubmit } from "./elements.js";
import { GroupPage, groupFields } from "./group.js";
import { Lists } from "./lists.js";
import { showDefaultModel, suggestModels } from "./models.js";
import { Names } from "./people.js";

/** Everything the sections share. */
class App {
  me = null;
  names = new Names();
  announcer = new Announcer();
  lists = new Lists();
  #message = "";
  #chatPage = new ChatPage(this);
  #groupPage = new GroupPage(this);

  constructor() {
    onSubmit(byID("credentials"), (fields, button) => this.#signIn(fields, button));
    addEventListener("hashchange", () => this.#route());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.me) this.refresh();
    });
    const actions = {
      "new-chat": () => this.askForChat(),
      "new-group": () => this.#askForGroup(),
      refresh: () => this.refresh(),
      "log-out": () => this.#logOut(),
      "more-chats": () => this.#showOlder(this.lists.chats),
      "more-groups": () => this.#showOlder(this.lists.groups),
    };
    for (const [id, action] of Object.entries(actions)) byID(id).addEventListener("click", action);
    byID("skip").addEventListener("click", (event) => {
      event.preventDefault();
      byID("main").focus();
    });
  }

  async start() {
    try {
      const { user } = await gpt.users.session();
      await this.#signedIn(user);
    } catch (refusal) {
      this.signedOut(refusal.status === 401 ? "" : refusal.message);
    }
  }

  // Who

  async #signIn(fields, button) {
    const credentials = {
      username: fields.username.value.trim(),
      password: fields.password.value,
    };
    const isNew = button?.value === "signup";
    const { user } = await (isNew ? gpt.users.signUp(credentials) : gpt.users.logIn(credentials));
    byID("credentials").reset();
    await this.#signedIn(user);
  }

  async #signedIn(user) {
    this.me = user;
    this.names.learn([user]);
    byID("me").textContent = user.username;
    byID("welcome").hidden = true;
    byID("workspace").hidden = false;
    this.#route();
    suggestModels();
    await this.refresh();
  }

  async #logOut() {
    await attempt(byID("notice"), async () => {
      await gpt.users.logOut();
      history.replaceState(null, "", location.pathname);
      this.signedOut("You are logged out.");
    });
  }

  /** Shows the form; nothing of the last user stays on the page. */
  signedOut(message) {
    this.me = null;
    this.names = new Names();
    this.lists = new Lists();
    this.#chatPage.close();
    this.#groupPage.close();
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    for (const list of ["chats", "groups", "models"]) byID(list).replaceChildren();
    byID("model").value = "";
    byID("me").textContent = byID("notice").textContent = "";
    byID("workspace").hidden = true;
    byID("welcome").hidden = false;
    byID("welcome-notice").textContent = message;
    document.title = "Proxy GPT";
    byID("username").focus();
  }

  // What

  #route() {
    if (!this.me) return;
    const [, kind, id] = location.hash.split("/");
    const message = this.#message;
    this.#message = "";
    byID("notice").textContent = message;
    byID("workspace").dataset.open = id ? kind : "";
    this.#chatPage.close();
    this.#groupPage.close();
    byID("nothing").hidden = Boolean(id);
    byID("composer").hidden = kind === "group" && Boolean(id);
    document.title = "Proxy GPT";
    if (kind === "chat" && id) this.#chatPage.open(id);
    else if (kind === "group" && id) this.#groupPage.open(id);
    else this.#chatPage.openNew();
    this.lists.mark();
  }

  open(kind, id) {
    location.hash = `#/${kind}/${id}`;
  }

  /** Makes a chat and opens it, unless the user has gone elsewhere meanwhile: whether it did. */
  async begin(fields) {
    const [user, place] = [this.me, location.hash];
    const chat = await gpt.chats.create(fields);
    if (!fields.model) showDefaultModel(chat.model);
    if (user !== this.me) return false;
    this.refresh();
    if (place !== location.hash) return false;
    history.pushState(null, "", `#/chat/${chat.id}`);
    this.#route();
    return true;
  }

  /** Goes back to the lists, where a message says why. */
  leave(message = "") {
    this.#message = message;
    history.replaceState(null, "", "#/");
    this.#route();
    byID("chats-title").focus();
    this.refresh();
  }

  async refresh() {
    try {
      await this.lists.refresh();
    } catch (refusal) {
      if (refusal.status === 401) this.signedOut("You have been logged out.");
      else byID("notice").textContent = refusal.message;
    }
  }

  #showOlder(list) {
    attempt(byID("notice"), async () => {
      await list.readOlder();
      this.lists.show();
    });
  }

  // What is new

  askForChat(groupID = "") {
    const groups = this.lists.groups.items.map(({ id, name }) => [id, name]);
    ask({
      title: "New chat",
      fields: [
        { name: "name", label: "Name (optional)", maxLength: 120 },
        {
          name: "model",
          label: "Model (optional)",
          list: "models",
          maxLength: 200,
          placeholder: byID("model").placeholder,
        },
        {
          name: "groupId",
          label: "Group",
          kind: "select",
          options: [["", "None"], ...groups.toReversed()],
          value: groupID,
        },
      ],
      action: "Create",
      submit: async (values) => {
        // What is left empty is the server's to choose.
        const given = Object.entries(values).filter(([, value]) => value.trim());
        const chat = await gpt.chats.create(Object.fromEntries(given));
        if (!values.model.trim()) showDefaultModel(chat.model);
        this.open("chat", chat.id);
        this.refresh();
      },
    });
  }

  #askForGroup() {
    ask({
      title: "New group",
      fields: groupFields(),
      action: "Create",
      submit: async (values) => {
        const group = await gpt.groups.create(values);
        this.open("group", group.id);
        this.refresh();
      },
    });
  }
}

new App().start();
