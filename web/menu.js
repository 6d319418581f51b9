// The actions of a chat: a row where there is room, a menu behind a button on a phone.

/** The menu of a header with a `.more` button. Where the row is shown, the button is not. */
export class Menu {
  #header;
  #button;

  constructor(header) {
    this.#header = header;
    this.#button = header.querySelector(".more");
    this.#button.addEventListener("click", () => this.#show(!this.#isOpen));
    header.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#isOpen) return;
      this.close();
      this.#button.focus();
    });
    // Before the action, so that the focus comes back from its dialog to what is still shown.
    header.querySelector(".menu").addEventListener("click", () => this.#leave(), true);
    document.addEventListener("pointerdown", ({ target }) => {
      if (!header.contains(target)) this.close();
    });
    header.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !header.contains(relatedTarget)) this.close();
    });
  }

  get #isOpen() {
    return this.#button.ariaExpanded === "true";
  }

  #show(isOpen) {
    this.#button.ariaExpanded = String(isOpen);
    this.#header.toggleAttribute("data-open", isOpen);
  }

  #leave() {
    if (!this.#isOpen) return;
    this.#button.focus();
    this.close();
  }

  close() {
    this.#show(false);
  }
}
