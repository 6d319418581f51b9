// The parts of a line of Markdown: emphasis, code, links. HTML is text like any other.
//
// The text is read once from left to right. Marks that are still open are on a stack of bounded
// height, and each is taken from it once, so the time grows with the length of the text alone.

/** How many marks may be open at a time, which bounds how deep the parts lie in each other. */
const MOST_OPEN = 16;
const LONGEST_ADDRESS = 2000;
const DEEPEST_PARENTHESES = 32;

/**
 * The parts of a text: strings, `{ kind: "code", text }`, `{ kind: "a", href, parts }`, and
 * `{ kind: "em" | "strong" | "del", parts }`.
 */
export function parseInline(text) {
  return new Reader(text).read();
}

class Reader {
  #text;
  #parts = [];
  /** `{ kind, length, index }`: an open mark, and where among the parts it stands. */
  #open = [];
  #backticks = null;
  #place = 0;
  #plainFrom = 0;

  constructor(text) {
    this.#text = text;
  }

  read() {
    const text = this.#text;
    // Anything else is plain, and found by the engine's own search.
    const special = /[\\`*_~[\]<h]/g;
    while (this.#place < text.length) {
      special.lastIndex = this.#place;
      const found = special.exec(text);
      if (!found) break;
      this.#place = found.index;
      if (!this.#take(found[0])) this.#place += 1;
    }
    this.#endPlain(text.length);
    return this.#parts;
  }

  #take(mark) {
    switch (mark) {
      case "\\":
        return this.#escape();
      case "`":
        return this.#code();
      case "[":
        return this.#openBracket();
      case "]":
        return this.#closeBracket();
      case "<":
      case "h":
        return this.#address(mark === "<" ? 1 : 0);
      default:
        return this.#emphasis(mark);
    }
  }

  /** Takes the plain text up to `end`; reading goes on at `next`. */
  #endPlain(end, next = end) {
    if (end > this.#plainFrom) this.#parts.push(this.#text.slice(this.#plainFrom, end));
    this.#place = this.#plainFrom = next;
  }

  #escape() {
    const next = this.#text[this.#place + 1];
    if (!next || !"\\`*_~[]<>(){}#+-.!|".includes(next)) return false;
    // The character behind the backslash begins the next plain text, and is not looked at.
    this.#endPlain(this.#place, this.#place + 1);
    this.#place += 1;
    return true;
  }

  #runLength(mark) {
    let end = this.#place;
    while (this.#text[end] === mark) end += 1;
    return end - this.#place;
  }

  // Code

  #code() {
    const length = this.#runLength("`");
    const start = this.#place + length;
    const end = this.#nextBackticks(length, start);
    if (end === undefined) {
      this.#place = start;
      return true;
    }
    let code = this.#text.slice(start, end).replaceAll("\n", " ");
    // Blanks let code begin and end with a backtick.
    if (code.startsWith(" ") && code.endsWith(" ") && code.trim()) code = code.slice(1, -1);
    this.#endPlain(this.#place, end + length);
    this.#parts.push({ kind: "code", text: code });
    return true;
  }

  /** Where the next run of so many backticks is. All runs are found once, by their lengths. */
  #nextBackticks(length, from) {
    if (!this.#backticks) {
      this.#backticks = new Map();
      for (const { 0: run, index } of this.#text.matchAll(/`+/g)) {
        const known = this.#backticks.get(run.length);
        if (known) known.places.push(index);
        else this.#backticks.set(run.length, { places: [index], next: 0 });
      }
    }
    const runs = this.#backticks.get(length);
    if (!runs) return undefined;
    while (runs.places[runs.next] < from) runs.next += 1;
    return runs.places[runs.next];
  }

  // Emphasis

  #emphasis(mark) {
    let length = this.#runLength(mark);
    const start = this.#place;
    const end = start + length;
    const before = this.#text[start - 1] ?? " ";
    const after = this.#text[end] ?? " ";
    let mayOpen = after.trim() !== "";
    let mayClose = before.trim() !== "";
    // names_like_this and 2*3 within words: the underscore marks whole words only.
    if (mark === "_" && isWord(before)) mayOpen = false;
    if (mark === "_" && isWord(after)) mayClose = false;
    if (length > 3 || (mark === "~" && length !== 2)) mayOpen = mayClose = false;
    if (!mayOpen && !mayClose) {
      this.#place = end;
      return true;
    }
    this.#endPlain(start, end);
    while (mayClose && length > 0) {
      const taken = this.#close(mark, length);
      if (!taken) break;
      length -= taken;
    }
    if (length === 0) return true;
    if (mayOpen) this.#push({ kind: mark, length, index: this.#parts.length });
    this.#parts.push(mark.repeat(length));
    return true;
  }

  /** Of too many open marks the oldest stays the text that it is. */
  #push(mark) {
    this.#open.push(mark);
    if (this.#open.length > MOST_OPEN) this.#open.shift();
  }

  /** Makes a part of what follows the last open mark of this kind: how many signs it took. */
  #close(mark, length) {
    const opening = this.#lastOpen(mark);
    if (!opening) return 0;
    const taken = length > 1 && opening.length > 1 ? 2 : 1;
    const parts = this.#parts.splice(opening.index + 1);
    opening.length -= taken;
    if (opening.length > 0) {
      this.#parts[opening.index] = mark.repeat(opening.length);
    } else {
      this.#parts.pop();
      this.#open.pop();
    }
    const kind = mark === "~" ? "del" : ["em", "strong"][taken - 1];
    this.#parts.push({ kind, parts });
    return taken;
  }

  /** The last open mark of a kind; those opened after it stay the text that they are. */
  #lastOpen(kind) {
    const place = this.#open.findLastIndex((each) => each.kind === kind);
    if (place < 0) return null;
    this.#open.length = place + 1;
    return this.#open[place];
  }

  // Links

  /** A picture is not loaded: its description is a link to it. */
  #openBracket() {
    const isPicture = this.#text[this.#place - 1] === "!" && this.#place > this.#plainFrom;
    const start = isPicture ? this.#place - 1 : this.#place;
    const next = this.#place + 1;
    this.#endPlain(start, next);
    this.#push({ kind: "[", index: this.#parts.length });
    this.#parts.push(isPicture ? "![" : "[");
    return true;
  }

  #closeBracket() {
    const opening = this.#lastOpen("[");
    if (!opening) return false;
    const target = this.#target(this.#place + 1);
    if (!target) {
      this.#open.pop();
      return false;
    }
    this.#endPlain(this.#place, target.end);
    const parts = this.#parts.splice(opening.index + 1);
    this.#parts.pop();
    this.#parts.push({ kind: "a", href: target.href, parts: parts.length ? parts : [target.href] });
    // A link has no link within it.
    this.#open = this.#open.slice(0, -1).filter(({ kind }) => kind !== "[");
    return true;
  }

  /** `(address)` or `(address "title")` behind a bracket. */
  #target(start) {
    if (this.#text[start] !== "(") return null;
    const reach = this.#text.slice(start + 1, start + 1 + LONGEST_ADDRESS);
    let depth = 0;
    let end = -1;
    for (let place = 0; place < reach.length && end < 0; place += 1) {
      const sign = reach[place];
      if (sign === "\n" || depth > DEEPEST_PARENTHESES) return null;
      if (sign === "(") depth += 1;
      if (sign === ")" && depth === 0) end = place;
      else if (sign === ")") depth -= 1;
    }
    if (end < 0) return null;
    const [address] = reach.slice(0, end).trim().split(/[ \t]/, 1);
    const href = safeAddress(address.startsWith("<") ? address.slice(1, -1) : address);
    return href && { href, end: start + 1 + end + 1 };
  }

  /** An address in the text itself, with or without `<` and `>` around it. */
  #address(bracket) {
    const start = this.#place + bracket;
    if (!this.#text.startsWith("http", start)) return false;
    const rest = this.#text.slice(start, start + LONGEST_ADDRESS);
    if (!bracket && isWord(this.#text[start - 1] ?? " ")) return false;
    const isInLink = this.#open.some(({ kind }) => kind === "[");
    const pattern = isInLink ? /^https?:\/\/[^\s<>"`*\]]*/ : /^https?:\/\/[^\s<>"`*]*/;
    const [found] = pattern.exec(rest) ?? [""];
    const address = bracket ? found : withoutPunctuation(found);
    if (!found || (bracket && rest[address.length] !== ">")) return false;
    const href = safeAddress(address);
    const end = start + address.length;
    if (!href || isInLink) {
      // In the text of a link there is no other link. The address is not looked at again.
      this.#place = Math.max(end, start + 1);
      return true;
    }
    this.#endPlain(this.#place, end + bracket);
    this.#parts.push({ kind: "a", href, parts: [address] });
    return true;
  }
}

function isWord(character) {
  return /[\p{L}\p{N}_]/u.test(character);
}

/** An address without the punctuation of the sentence around it. */
function withoutPunctuation(address) {
  let end = address.length;
  const hasParenthesis = address.includes("(");
  while (end > 0 && ".,;:!?'])_~".includes(address[end - 1])) {
    // A closing parenthesis belongs to an address that has an opening one.
    if (address[end - 1] === ")" && hasParenthesis) break;
    end -= 1;
  }
  return address.slice(0, end);
}

/** The address of a link, or null: of the schemes only those that cannot run anything. */
export function safeAddress(address) {
  if (!/^https?:\/\/[^\s"<>\\^`{|}]+$/i.test(address)) return null;
  return URL.canParse(address) ? new URL(address).href : null;
}
