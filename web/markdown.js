// The blocks of a Markdown text: paragraphs, headings, lists, quotes, tables, fenced code.
//
// A block is known by its lines alone, so that the rest of a growing text can be read from any
// block's start. Every line is looked at a bounded number of times. Nothing here knows the page.

/** How deep lists and quotes lie in each other; what lies deeper is a paragraph. */
const DEEPEST = 8;
/** A wider table is shown as its text. */
const MOST_COLUMNS = 20;

/**
 * The blocks of a text, in their order, each with `start` and `end`, its place in the text.
 *
 * `{ kind: "paragraph" | "heading", text, level }`, `{ kind: "code", language, text, isOpen }`,
 * `{ kind: "list", isOrdered, first, items: [blocks] }`, `{ kind: "quote", blocks }`,
 * `{ kind: "table", alignments, head, rows }` or `{ kind: "rule" }`.
 */
export function parseBlocks(text, depth = 0) {
  // A line that begins with a letter is a paragraph, as the items of most lists are.
  if (/^\p{L}/u.test(text) && !text.includes("\n")) {
    return [{ kind: "paragraph", text, start: 0, end: text.length }];
  }
  const lines = new Lines(text);
  const blocks = [];
  while (!lines.isAtEnd) {
    if (isBlank(lines.line)) {
      lines.next();
      continue;
    }
    const start = lines.start;
    const block =
      code(lines) ??
      heading(lines) ??
      rule(lines) ??
      quote(lines, depth) ??
      list(lines, depth) ??
      table(lines) ??
      paragraph(lines, depth);
    blocks.push({ ...block, start, end: lines.start });
  }
  return blocks;
}

/** The lines of a text, one after the other, with a look at the next one. */
class Lines {
  #text;
  #end;
  start = 0;

  constructor(text) {
    this.#text = text;
    this.#read();
  }

  #read() {
    const end = this.#text.indexOf("\n", this.start);
    this.#end = end < 0 ? this.#text.length : end;
    this.line = this.#text.slice(this.start, this.#end);
  }

  get isAtEnd() {
    return this.start >= this.#text.length;
  }

  next() {
    this.start = Math.min(this.#end + 1, this.#text.length);
    this.#read();
  }

  get following() {
    const end = this.#text.indexOf("\n", this.#end + 1);
    return this.#text.slice(this.#end + 1, end < 0 ? this.#text.length : end);
  }
}

function isBlank(line) {
  return line.trim() === "";
}

/** How many blanks a line begins with; a tab reaches to the next multiple of four. */
function indentation(line) {
  let width = 0;
  for (let place = 0; place < line.length; place += 1) {
    if (line[place] === " ") width += 1;
    else if (line[place] === "\t") width += 4 - (width % 4);
    else break;
  }
  return width;
}

/** A line without up to so many blanks at its beginning. */
function outdented(line, width) {
  let place = 0;
  for (let gone = 0; gone < width && place < line.length; place += 1) {
    if (line[place] === " ") gone += 1;
    else if (line[place] === "\t") gone += 4 - (gone % 4);
    else break;
  }
  return line.slice(place);
}

// Fenced code

function fence(line) {
  const indent = indentation(line);
  const mark = line.trimStart();
  const kind = mark[0];
  if (indent > 3 || (kind !== "`" && kind !== "~")) return null;
  let length = 0;
  while (mark[length] === kind) length += 1;
  if (length < 3) return null;
  const info = mark.slice(length).trim();
  return kind === "`" && info.includes("`") ? null : { kind, length, indent, info };
}

function code(lines) {
  const opening = fence(lines.line);
  if (!opening) return null;
  lines.next();
  const content = [];
  let isOpen = true;
  while (isOpen && !lines.isAtEnd) {
    const closing = fence(lines.line);
    isOpen =
      closing?.kind !== opening.kind || closing.length < opening.length || closing.info !== "";
    if (isOpen) content.push(outdented(lines.line, opening.indent));
    lines.next();
  }
  const language = opening.info.split(" ", 1)[0].slice(0, 40);
  return { kind: "code", language, text: content.join("\n"), isOpen };
}

// Headings and rules

function headingLevel(line) {
  return /^ {0,3}(#{1,6})(?:[ \t]|$)/.exec(line)?.[1].length ?? 0;
}

function heading(lines) {
  const level = headingLevel(lines.line);
  if (!level) return null;
  let text = lines.line.trim().slice(level).trim();
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  // What closes a heading stands apart from its words: "# C#" is one on C#.
  if (end === 0 || text[end - 1] === " ") text = text.slice(0, end).trimEnd();
  lines.next();
  return { kind: "heading", level, text };
}

function isRule(line) {
  const marks = line.trim();
  if (!"*-_".includes(marks[0]) || indentation(line) > 3) return false;
  let count = 0;
  for (const mark of marks) {
    if (mark === marks[0]) count += 1;
    else if (mark !== " " && mark !== "\t") return false;
  }
  return count > 2;
}

function rule(lines) {
  if (!isRule(lines.line)) return null;
  lines.next();
  return { kind: "rule" };
}

// Quotes and lists

function isQuote(line) {
  return /^ {0,3}>/.test(line);
}

function quote(lines, depth) {
  if (depth >= DEEPEST || !isQuote(lines.line)) return null;
  const content = [];
  while (!lines.isAtEnd && isQuote(lines.line)) {
    const rest = lines.line.trimStart().slice(1);
    content.push(rest[0] === " " ? rest.slice(1) : rest);
    lines.next();
  }
  return { kind: "quote", blocks: parseBlocks(content.join("\n"), depth + 1) };
}

/** The mark that begins a list's item: its kind, its number, and where the content begins. */
function marker(line) {
  const found = /^( {0,3})(?:([-*+])|(\d{1,9})([.)]))(?=[ \t]|$)/.exec(line);
  if (!found || isRule(line)) return null;
  const [mark, , bullet, number, sign] = found;
  const rest = line.slice(mark.length);
  const gap = isBlank(rest) ? 1 : indentation(rest);
  // Four blanks more would be code: one of them parts the mark from it.
  return { kind: bullet ?? sign, number, width: mark.length + (gap > 4 ? 1 : gap) };
}

function list(lines, depth) {
  const opening = depth < DEEPEST ? marker(lines.line) : null;
  if (!opening) return null;
  const items = [];
  let found = opening;
  while (found?.kind === opening.kind) {
    items.push(parseBlocks(item(lines, found.width), depth + 1));
    found = lines.isAtEnd ? null : marker(lines.line);
  }
  const isOrdered = opening.number !== undefined;
  return { kind: "list", isOrdered, first: Number(opening.number ?? 1), items };
}

/** The text of one item: its line and what is indented below, or goes on with its paragraph. */
function item(lines, width) {
  const content = [lines.line.slice(width)];
  let isParagraph = !isBlank(content[0]);
  let blanks = 0;
  lines.next();
  while (!lines.isAtEnd) {
    const { line } = lines;
    if (isBlank(line)) {
      blanks += 1;
      isParagraph = false;
    } else if (indentation(line) >= width || (isParagraph && !beginsBlock(line) && !marker(line))) {
      for (; blanks > 0; blanks -= 1) content.push("");
      content.push(outdented(line, width));
      isParagraph = true;
    } else {
      break;
    }
    lines.next();
  }
  return content.join("\n");
}

// Tables

/** The cells of a row; a pipe within a cell is written with a backslash. */
function cells(line) {
  const row = line.trim();
  const found = [];
  let cell = "";
  for (let place = row[0] === "|" ? 1 : 0; place < row.length; place += 1) {
    if (row[place] === "\\" && row[place + 1] === "|") {
      cell += "|";
      place += 1;
    } else if (row[place] === "|") {
      found.push(cell.trim());
      cell = "";
      if (place === row.length - 1) return found;
    } else {
      cell += row[place];
    }
  }
  found.push(cell.trim());
  return found;
}

/** The alignments that the line below a table's head gives; null where it is none. */
function alignments(line) {
  if (!line.includes("-") || !line.includes("|")) return null;
  for (const each of line) if (!"|-: \t\r".includes(each)) return null;
  const found = cells(line);
  if (found.length > MOST_COLUMNS) return null;
  if (!found.every((cell) => /^:?-+:?$/.test(cell))) return null;
  return found.map((cell) => {
    if (!cell.endsWith(":")) return "";
    return cell.startsWith(":") ? "center" : "end";
  });
}

function tableHead(lines) {
  if (!lines.line.includes("|")) return null;
  const columns = alignments(lines.following);
  return columns && cells(lines.line).length === columns.length ? columns : null;
}

function table(lines) {
  const columns = tableHead(lines);
  if (!columns) return null;
  const head = cells(lines.line);
  const rows = [];
  lines.next();
  lines.next();
  while (!lines.isAtEnd && lines.line.includes("|") && !beginsBlock(lines.line)) {
    rows.push(cells(lines.line).slice(0, columns.length));
    lines.next();
  }
  return { kind: "table", alignments: columns, head, rows };
}

// Paragraphs

/** Whether a line ends a paragraph before it. A number does so only where a list begins at 1. */
function beginsBlock(line) {
  if (fence(line) || headingLevel(line) || isRule(line) || isQuote(line)) return true;
  const found = marker(line);
  return found !== null && (found.number === undefined || Number(found.number) === 1);
}

function paragraph(lines, depth) {
  const content = [];
  do {
    content.push(lines.line);
    lines.next();
  } while (!lines.isAtEnd && !isBlank(lines.line) && !ends(lines, depth));
  return { kind: "paragraph", text: content.join("\n") };
}

/** At the greatest depth no list and no quote begins, so none ends a paragraph. */
function ends(lines, depth) {
  if (tableHead(lines)) return true;
  if (depth < DEEPEST) return beginsBlock(lines.line);
  return Boolean(fence(lines.line) || headingLevel(lines.line) || isRule(lines.line));
}
