"""Replies as Markdown: elements and never HTML, whatever the model says and however it arrives."""

import json

import pytest
from processes import wait_for
from visitors import SKIP, browser, visit  # noqa: F401  fixtures

pytestmark = SKIP

MEBIBYTE = 1 << 20

# Defines `shown(pieces)`: the element in which the page shows a reply that arrives in these pieces.
# By the clock they come slowly, so that each of them is rendered.
RENDERER = """
    (async () => {
        const { ReplyText } = await import('./web/reply-text.js');
        window.shown = (pieces, each = () => {}) => {
            const place = document.createElement('div');
            const reply = new ReplyText(place);
            let time = 0;
            performance.now = () => (time += 1);
            for (const piece of pieces) {
                time += 1000;
                reply.append(piece);
                each(place);
            }
            delete performance.now;
            reply.set(reply.text);
            return place;
        };
    })()"""

DOCUMENT = """Some *emphasis*, **strong words** and `code` with a [link](https://example.org/a_b).
A second line.
***Both*** on the third line, and no rule.
- item
* other item

# A heading

- first
- second
  goes on
  - within

    a paragraph
7. seven
8. eight

> a quote
> - with a list

| City | Time |
|:-----|-----:|
| Sevilla | **45** |
| a \\| b | 1 |

***

```python
def f():

    return "*"
```
***both***, the end: ~~gone~~"""


@pytest.fixture
def page(visit):
    visitor = visit(signs_up=False)
    visitor.page.evaluate(RENDERER)
    return visitor.page


def rendered(page, *pieces):
    """The elements of a reply, without what only looks need."""
    html = page.evaluate(f"shown({json.dumps(pieces)}).innerHTML")
    return html.replace(' rel="noopener noreferrer" target="_blank"', "")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
        ("*a* _b_ **c** __d__ ***e***",
         "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> "
         "<em><strong>e</strong></em></p>"),
        ("**a *b* c** ~~d~~", "<p><strong>a <em>b</em> c</strong> <del>d</del></p>"),
        ("2 * 3 * 4, snake_case_name, \\*star\\*, **open",
         "<p>2 * 3 * 4, snake_case_name, *star*, **open</p>"),
        ("`*a*` and `` ` ``, ` open", "<p><code>*a*</code> and <code>`</code>, ` open</p>"),
        ("# One\n### Three ###\n#hash", "<h3>One</h3><h5>Three</h5><p>#hash</p>"),
        ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("1. a\n\n   more\n\n2. b", '<ol start="1"><li>a<p>more</p></li><li>b</li></ol>'),
        ("> a\n> b\n\nc", "<blockquote><p>a\nb</p></blockquote><p>c</p>"),
        ("a\n***\nb", "<p>a</p><hr><p>b</p>"),
        ("[a **b**](https://e.org/x_(y)_z \"title\")",
         '<p><a href="https://e.org/x_(y)_z">a <strong>b</strong></a></p>'),
        ("See https://e.org/a_b_c. And <http://e.org/>!",
         '<p>See <a href="https://e.org/a_b_c">https://e.org/a_b_c</a>. '
         'And <a href="http://e.org/">http://e.org/</a>!</p>'),
        ("[https://e.org](https://e.org)", '<p><a href="https://e.org/">https://e.org</a></p>'),
        ("in 1986. Was it?\n2. No", "<p>in 1986. Was it?\n2. No</p>"),
    ],
)  # fmt: skip
def test_markdown_becomes_elements(page, text, html):
    assert rendered(page, text) == html


def test_a_table_has_a_head_and_aligned_cells(page):
    html = rendered(page, "| a | b |\n|---|--:|\n| `1` | 2 |\nafter")
    head = '<thead><tr><th>a</th><th class="end">b</th></tr></thead>'
    body = '<tbody><tr><td><code>1</code></td><td class="end">2</td></tr></tbody>'
    assert f"<table>{head}{body}</table>" in html
    assert html.endswith("<p>after</p>")


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'run'</script>",
        "<img src=x onerror=\"document.title='run'\">",
        "**<b onmouseover=alert(1)>**",
        "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](//e.org)",
        "[a](<javascript:alert(1)>) [b]( vbscript:x) [c](file:///etc/passwd) <javascript:alert(1)>",
        "[a](https://e.org\" onclick=\"alert(1)) [b](java\tscript:alert(1))",
        "![p](https://e.org/tracker.png) ![q](javascript:alert(1))",
        "```<img src=x onerror=alert(1)>\n</code></pre><script>alert(1)</script>",
        "| <script>alert(1)</script> | b |\n|--|--|\n| [x](javascript:alert(1)) | <iframe> |",
        "[x]: javascript:alert(1)\n[x] [x][x] &#106;avascript:alert(1) \u202e\u0000",
    ],
)
def test_hostile_text_stays_text(page, text):
    found = page.evaluate(f"""
        (() => {{
            const place = shown([{json.dumps(text)}]);
            document.body.append(place);
            const all = [...place.querySelectorAll('*')];
            return {{
                tags: all.map((each) => each.localName),
                attributes: all.flatMap((each) => each.getAttributeNames()),
                links: [...place.querySelectorAll('a')].map((each) => [each.href, each.rel]),
                title: document.title,
            }};
        }})()""")
    known = {"p", "a", "code", "pre", "div", "button", "strong"}
    known |= {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(found["tags"]) <= known
    assert not [name for name in found["attributes"] if name.startswith("on") or name == "src"]
    for address, relation in found["links"]:
        assert address.startswith("https://e.org/") and "noopener" in relation
    assert found["title"] == "Proxy GPT"


@pytest.mark.parametrize(
    "piece",
    ["*", "`", "_", "~", "[", "](", "[a](", "<http://", "https://a)", "**a *b ", "*a* ", "`a``b", "> ",
     "- ", "* + ", "|", "| a |\n|-", "1. a\n", "```\n", "\\", "#"],
)  # fmt: skip
def test_a_mebibyte_of_marks_is_shown_at_once(page, piece):
    text = json.dumps(piece)
    took = page.evaluate(f"""
        (() => {{
            const text = {text}.repeat({MEBIBYTE} / {text}.length);
            const began = performance.now();
            shown([text]);
            return performance.now() - began;
        }})()""")
    # Time that grew with the square of the length would be hours, and a hundred thousand elements
    # take a browser their time.
    assert took < (1000 if piece in ("*", "`") else 20_000)


def test_marks_within_marks_are_of_bounded_depth(page):
    for text in ("*a " * 5000 + "a* " * 5000, "> " * 5000, "- " * 5000 + "a", "* + " * 5000):
        depth = page.evaluate(f"""
            (() => {{
                const depth = (node) => 1 + Math.max(0, ...[...node.children].map(depth));
                return depth(shown([{json.dumps(text)}]));
            }})()""")
        assert depth < 60


def test_a_text_is_shown_alike_whatever_pieces_it_comes_in(page):
    whole = rendered(page, DOCUMENT)
    for size in (1, 2, 3, 7, 50):
        pieces = [DOCUMENT[start : start + size] for start in range(0, len(DOCUMENT), size)]
        assert rendered(page, *pieces) == whole


def test_only_the_end_of_a_growing_text_is_rendered_again(page):
    made, kept = page.evaluate("""
        (() => {
            const paragraphs = Array.from({ length: 50 }, (_, index) => `Paragraph ${index}.\\n\\n`);
            let made = 0;
            const create = document.createElement;
            document.createElement = (tag) => {
                if (tag === 'p') made += 1;
                return create.call(document, tag);
            };
            const seen = [];
            const place = shown([...paragraphs, ...'The end of it.'], (place) => {
                if (place.firstChild) seen.push(place.firstChild);
            });
            delete document.createElement;
            return [made, place.children.length === 51 && new Set(seen).size === 1];
        })()""")
    assert kept and 51 <= made <= 51 + 14


def test_an_unfinished_fence_is_code(page):
    html = rendered(page, "Look:\n```py", "thon\nprint(1)\n``")
    assert "python<button" in html
    assert "<code>print(1)\n``</code>" in html
    assert "<code>a</code></pre></div><p>text</p>" in rendered(page, "~~~\na\n~~~\ntext")
    # The same element grows, so that the focus stays on its button.
    assert page.evaluate("""
        (() => {
            const buttons = new Set();
            shown(['```js\\n', 'let a', ' = 1;\\n', 'a'], (place) => {
                buttons.add(place.querySelector('button'));
            });
            return buttons.size;
        })()""") == 1  # fmt: skip


def test_code_in_a_reply_can_be_copied(visit):
    ada = visit()
    ada.new_chat("Code")
    ada.page.fill("Message", "Code:\n\n```python\nprint('<b>')\n    more()\n```\n\n**after** it")
    ada.page.press("Enter")
    wait_for(lambda: [each["state"] for each in ada.messages()] == ["done"], "the reply")
    assert ada.page.evaluate("document.querySelector('.reply .text strong').textContent") == "after"
    style = "getComputedStyle(document.querySelector('.reply pre code')).fontFamily"
    assert "monospace" in ada.page.evaluate(style)
    ada.page.evaluate("""
        navigator.clipboard.writeText = async (text) => { window.copied = text; }""")
    ada.page.click("button", "Copy the code")
    ada.page.until("window.copied")
    assert ada.page.evaluate("window.copied") == "print('<b>')\n    more()"
    ada.page.until_shown("Copied")
    # Where there is no clipboard, the browser's older way copies what is selected.
    ada.page.evaluate("""
        navigator.clipboard.writeText = async () => { throw new Error('refused'); };
        document.addEventListener('copy', () => { window.selected = String(getSelection()); });""")
    ada.page.tab_to("button", "Copied: the code", shift=True)
    ada.page.press("Enter")
    ada.page.until("window.selected")
    assert ada.page.evaluate("window.selected") == "print('<b>')\n    more()"


def test_a_screen_reader_says_words_and_no_marks(visit):
    ada = visit()
    ada.new_chat("Heard")
    ada.write("One **bold** word, `code` and [a link](https://example.org/).")
    wait_for(lambda: [each["state"] for each in ada.messages()] == ["done"], "the reply")
    heard = ada.page.evaluate("document.getElementById('announcements').textContent")
    assert "One bold word, code and a link." in heard
    assert "*" not in heard and "`" not in heard and "https" not in heard
