// The group that is open: its members and its chats.

import { gpt } from "./api.js";
import { ask, attempt, byID, fill, onSubmit } from "./elements.js";
import { byActivity, link } from "./lists.js";
import { showPeople } from "./people.js";

/** The section of one group. `app` is the page around it. */
export class GroupPage {
  #app;
  #id = null;
  #group = null;

  constructor(app) {
    this.#app = app;
    byID("edit-group").addEventListener("click", () => this.#edit());
    byID("delete-group").addEventListener("click", () => this.#delete());
    byID("new-group-chat").addEventListener("click", () => app.askForChat(this.#id));
    onSubmit(byID("add-member"), async ({ username }) => {
      const names = username.value.split(",").map((name) => name.trim());
      await gpt.groups.addMembers(this.#id, names);
      username.value = "";
      await this.#read();
    });
  }

  async open(id) {
    this.close();
    this.#id = id;
    byID("group").hidden = false;
    this.#showRights();
    byID("group-title").focus();
    await attempt(byID("notice"), () => this.#read());
  }

  close() {
    this.#id = this.#group = null;
    byID("group").hidden = true;
    byID("no-group-chats").hidden = byID("more-members").hidden = true;
    for (const part of ["title", "about"]) byID(`group-${part}`).textContent = "";
    for (const list of ["members", "group-chats"]) byID(list).replaceChildren();
    byID("add-member").reset();
    byID("add-member").querySelector(".error").textContent = "";
  }

  async #read() {
    const id = this.#id;
    try {
      const [group, { chats }] = await Promise.all([
        gpt.groups.read(id, { limit: 1000 }),
        gpt.chats.list({ groupId: id, limit: 1000 }),
      ]);
      if (id !== this.#id) return;
      this.#group = group;
      this.#app.names.learn(group.members);
      byID("more-members").hidden = !group.has_more;
      this.#show(group.members, chats);
    } catch (refusal) {
      if (id !== this.#id) return;
      if (refusal.status === 401) this.#app.signedOut("You have been logged out.");
      else if (refusal.status === 404) this.#app.leave("This group is not there, or not yours.");
      else throw refusal;
    }
  }

  #show(users, chats) {
    byID("group-title").textContent = this.#group.name;
    byID("group-about").textContent = this.#group.description;
    document.title = `${this.#group.name} – Proxy GPT`;
    const items = byActivity(chats).map((chat) => link("chat", chat));
    fill(byID("group-chats"), items);
    byID("no-group-chats").hidden = items.length > 0;
    const verb = ({ id }) => {
      if (id === this.#group.owner_id) return "";
      if (id === this.#app.me.id) return "Leave";
      return this.#isOwner ? "Remove" : "";
    };
    showPeople(byID("members"), users, verb, (user) => {
      attempt(byID("notice"), () => this.#remove(user));
    });
    this.#showRights();
  }

  get #isOwner() {
    return this.#group !== null && this.#group.owner_id === this.#app.me.id;
  }

  #showRights() {
    for (const id of ["edit-group", "delete-group", "add-member"]) byID(id).hidden = !this.#isOwner;
  }

  async #remove(user) {
    await gpt.groups.removeMembers(this.#id, [user.id]);
    if (user.id === this.#app.me.id) {
      this.#app.leave("You have left the group.");
      return;
    }
    await this.#read();
    byID("group-title").focus();
  }

  #edit() {
    ask({
      title: "Edit the group",
      fields: groupFields(this.#group),
      action: "Save",
      submit: async (values) => {
        await gpt.groups.update(this.#id, values);
        await this.#read();
        this.#app.refresh();
      },
    });
  }

  #delete() {
    ask({
      title: "Delete the group?",
      text: `“${this.#group.name}” and all its chats are gone then, for everybody in it.`,
      action: "Delete",
      submit: async () => {
        await gpt.groups.delete(this.#id);
        this.#app.leave();
      },
    });
  }
}

/** The fields of a group, new or old, for `ask`. */
export function groupFields({ name = "", description = "" } = {}) {
  return [
    { name: "name", label: "Name", value: name, required: true, maxLength: 120 },
    {
      name: "description",
      label: "Description",
      value: description,
      kind: "textarea",
      rows: 3,
      maxLength: 2000,
    },
  ];
}
