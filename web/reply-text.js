// The text of a reply as elements, while it grows.
//
// All is made with createElement and text nodes; nothing enters as HTML. What is shown of a block
// that has ended is left alone: only the end of the text is read and rendered again.

import { element } from "./elements.js";
import { parseInline } from "./inline.js";
import { parseBlocks } from "./markdown.js";

/** Rendering takes at most one part in so many of the time while words arrive. */
const SHARE = 8;
/** Nobody writes a longer paragraph with emphasis and links. */
const LONGEST_INLINE = 1 << 16;
const COPIED_FOR = 2000;

/** Shows a growing text in an element. */
export class ReplyText {
  #place;
  #text = "";
  /** Where the first block begins that may still change, and what is shown from there on. */
  #fixedUpTo = 0;
  #shown = [];
  #nextRender = 0;
  #timer = 0;

  constructor(place) {
    this.#place = place;
  }

  get text() {
    return this.#text;
  }

  append(words) {
    this.#text += words;
    const now = performance.now();
    if (now >= this.#nextRender) this.#render();
    else if (!this.#timer) {
      this.#timer = setTimeout(() => this.#render(), this.#nextRender - now);
    }
  }

  /** Shows the whole text at once. */
  set(text) {
    if (!text.startsWith(this.#text)) {
      this.#fixedUpTo = 0;
      this.#shown = [];
      this.#place.replaceChildren();
    }
    this.#text = text;
    this.#render();
  }

  #render() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const began = performance.now();
    const rest = this.#text.slice(this.#fixedUpTo);
    const blocks = parseBlocks(rest);
    blocks.forEach((block, index) => {
      const source = rest.slice(block.start, block.end);
      const old = this.#shown[index];
      if (old?.source === source) return;
      if (old && goesOn(old, block)) {
        old.source = source;
        return;
      }
      const made = render(block);
      if (old) old.node.replaceWith(made);
      else this.#place.append(made);
      this.#shown[index] = { source, node: made, block };
    });
    for (const { node } of this.#shown.splice(blocks.length)) node.remove();
    this.#fix(rest, blocks);
    const now = performance.now();
    this.#nextRender = now + (now - began) * SHARE;
  }

  /** A block stays as it is once two whole lines follow: no further words can join on to it. */
  #fix(rest, blocks) {
    let count = 0;
    while (count + 1 < blocks.length) {
      const line = rest.indexOf("\n", blocks[count + 1].start);
      if (line < 0 || rest.indexOf("\n", line + 1) < 0) break;
      count += 1;
    }
    if (count === 0) return;
    this.#fixedUpTo += blocks[count].start;
    this.#shown.splice(0, count);
  }
}

/** Whether a shown block of code became this one: then only its text grows. */
function goesOn(old, block) {
  if (block.kind !== "code" || old.block.kind !== "code") return false;
  if (block.language !== old.block.language || !block.text.startsWith(old.block.text)) return false;
  const code = old.node.querySelector("code");
  if (!code.firstChild) code.append("");
  code.firstChild.appendData(block.text.slice(old.block.text.length));
  old.block = block;
  return true;
}

function render(block) {
  switch (block.kind) {
    case "code":
      return codeBlock(block);
    case "heading":
      // The page's heading is the first level, each message's the second.
      return element(`h${Math.min(block.level + 2, 6)}`, {}, ...inline(block.text));
    case "rule":
      return element("hr");
    case "quote":
      return filled("blockquote", block.blocks.map(render));
    case "list":
      return list(block);
    case "table":
      return table(block);
    default:
      return filled("p", inline(block.text));
  }
}

/** An element with many children, more than a call can have arguments. */
function filled(tag, children) {
  const made = document.createElement(tag);
  for (const child of children) made.append(child);
  return made;
}

function list({ isOrdered, first, items }) {
  const made = filled(
    isOrdered ? "ol" : "ul",
    items.map((blocks) => {
      const [head, ...others] = blocks;
      const isText = head?.kind === "paragraph";
      const content = isText ? [...inline(head.text), ...others.map(render)] : blocks.map(render);
      return filled("li", content);
    }),
  );
  if (isOrdered) made.start = first;
  return made;
}

function table({ alignments, head, rows }) {
  const row = (tag, cells) => {
    const made = cells.map((text, column) => {
      const cell = filled(tag, inline(text));
      if (alignments[column]) cell.className = alignments[column];
      return cell;
    });
    return filled("tr", made);
  };
  const body = filled("tbody", rows.map((cells) => row("td", cells)));
  const made = element("table", {}, element("thead", {}, row("th", head)), body);
  return scrollable("Table", element("div", { className: "table" }, made));
}

function codeBlock({ language, text }) {
  const copy = element("button", { type: "button", className: "quiet", textContent: "Copy" });
  copy.setAttribute("aria-label", "Copy the code");
  const code = element("code", {}, text);
  copy.addEventListener("click", () => copyText(code, copy));
  const head = element("div", { className: "code-head" }, language || "Code", copy);
  const pre = scrollable(language ? `Code, ${language}` : "Code", element("pre", {}, code));
  return element("div", { className: "code", dir: "ltr" }, head, pre);
}

/** What may be wider than the screen is scrolled by the keyboard, too. */
function scrollable(name, made) {
  made.tabIndex = 0;
  made.role = "group";
  made.ariaLabel = name;
  return made;
}

async function copyText(code, button) {
  let isCopied;
  try {
    await navigator.clipboard.writeText(code.textContent);
    isCopied = true;
  } catch {
    // Without https the clipboard takes only what is selected.
    getSelection().selectAllChildren(code);
    isCopied = document.execCommand("copy");
  }
  button.textContent = isCopied ? "Copied" : "Not copied";
  button.ariaLabel = `${button.textContent}: the code`;
  setTimeout(() => {
    button.textContent = "Copy";
    button.ariaLabel = "Copy the code";
  }, COPIED_FOR);
}

/** The nodes of a text with emphasis, code and links. An endless one is shown as it is. */
function inline(text) {
  return text.length > LONGEST_INLINE ? [document.createTextNode(text)] : nodes(parseInline(text));
}

function nodes(parts) {
  return parts.map((part) => {
    if (typeof part === "string") return document.createTextNode(part);
    if (part.kind === "code") return element("code", { textContent: part.text });
    const made = filled(part.kind, nodes(part.parts));
    if (part.kind === "a") {
      Object.assign(made, { href: part.href, rel: "noopener noreferrer", target: "_blank" });
    }
    return made;
  });
}

/** A text as it is said: its words without their marks. */
export function spoken(text) {
  const words = (parts) =>
    parts.map((part) => part.text ?? (part.parts ? words(part.parts) : part)).join("");
  const lines = text.split("\n").map((line) => words(parseInline(line.replace(/^#{1,6} /, ""))));
  return lines.join("\n");
}
