// The models that may be chosen for a chat.

import { gpt } from "./api.js";
import { byID, element } from "./elements.js";

/** Fills the list of suggestions with the upstream's models; any other name may be typed. */
export async function suggestModels() {
  try {
    const answer = await fetch(`${gpt.openai.baseURL}/models`);
    if (!answer.ok) return;
    const { data } = await answer.json();
    const names = data.map(({ id }) => String(id)).sort();
    byID("models").replaceChildren(...names.map((value) => element("option", { value })));
  } catch {
    // Without a list the field takes any name.
  }
}

/** What the server chose where no model was named is its default. */
export function showDefaultModel(name) {
  byID("model").placeholder = `${name} (default)`;
}
