// Elements of the page. All text enters as text: no function here takes HTML.

/** The element with this id. */
export function byID(id) {
  return document.getElementById(id);
}

/** A new element with properties, and with elements or texts within it. */
export function element(tag, properties = {}, ...content) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...content);
  return made;
}

/** Fills a list. What is in it already is left alone, and what had the focus has it again. */
export function fill(list, items) {
  const isSame = (item, index) => item.isEqualNode(list.children[index]);
  if (items.length === list.children.length && items.every(isSame)) return;
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  list.replaceChildren(...items);
  if (!focused) return;
  const controls = [...list.querySelectorAll("a, button")];
  controls.find((each) => each.isEqualNode(focused))?.focus();
}

/** Runs an action; what it is refused stands in `place`, which a screen reader says at once. */
export async function attempt(place, action) {
  place.textContent = "";
  try {
    await action();
    return true;
  } catch (error) {
    place.textContent = error.message;
    return false;
  }
}

/** Makes a form run an action instead of a navigation, one submission at a time. */
export function onSubmit(form, action) {
  let isBusy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy) return;
    isBusy = true;
    form.setAttribute("aria-busy", "true");
    try {
      await attempt(form.querySelector(".error"), () => action(form.elements, event.submitter));
    } finally {
      isBusy = false;
      form.removeAttribute("aria-busy");
    }
  });
}

/**
 * A dialog with a question: `fields` become labelled controls, `submit` gets their values and
 * the dialog closes when it was not refused.
 */
export function ask({ title, text, fields = [], action, submit }) {
  const heading = element("h2", { id: "question-title", textContent: title });
  const form = element("form", {}, heading);
  if (text) form.append(element("p", { textContent: text, dir: "auto" }));
  for (const field of fields) form.append(...control(field));
  const cancel = element("button", { type: "button", textContent: "Cancel" });
  form.append(
    element("p", { className: "error", role: "alert" }),
    element(
      "div",
      { className: "actions end" },
      cancel,
      element("button", { className: "primary", textContent: action }),
    ),
  );
  const dialog = element("dialog", {}, form);
  dialog.setAttribute("aria-labelledby", heading.id);
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  onSubmit(form, async (controls) => {
    const values = fields.map(({ name }) => [name, controls[fieldID(name)].value]);
    await submit(Object.fromEntries(values));
    dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
}

// Not the bare name: browsers would fill what is called "name" with the user's own.
function fieldID(name) {
  return `question-${name}`;
}

function control({ name, label, value = "", kind = "input", options = [], list, ...rest }) {
  const id = fieldID(name);
  const made = element(kind, { id, name: id, autocomplete: "off", ...rest });
  if (list) made.setAttribute("list", list);
  for (const [choice, text] of options) {
    made.append(element("option", { value: choice, textContent: text }));
  }
  made.value = value;
  return [element("label", { htmlFor: id, textContent: label }), made];
}
