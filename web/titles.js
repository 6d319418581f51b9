// What a chat is called that nobody has named.

/** What the server calls such a chat. */
const UNNAMED = "general";
const LONGEST = 60;

export function isUnnamed({ name }) {
  return name === UNNAMED;
}

/** The first words of a prompt, at most 60 characters, cut at a word; nothing of an empty one. */
export function titleOf(prompt) {
  // A title needs no more than the prompt's beginning, however long that is.
  const text = prompt.slice(0, 1000).replace(/\s+/g, " ").trim();
  const characters = [...text];
  if (characters.length <= LONGEST) return text;
  const cut = characters.slice(0, LONGEST).join("");
  const space = cut.lastIndexOf(" ");
  return `${(space > 0 && characters[LONGEST] !== " " ? cut.slice(0, space) : cut).trimEnd()}…`;
}
