"""The page at /: its files, signing up, chats and groups, the keyboard, and screen readers."""

import re

import pytest
from browser import CONTROLS
from client import call, check_error
from page_picture import picture
from processes import wait_for
from stack import CHECKOUT, Stack
from visitors import SKIP, browser, visit  # noqa: F401  fixtures

FILES = sorted(path.name for path in (CHECKOUT / "web").iterdir() if path.name != "index.html")


# The files


@pytest.mark.parametrize("path", ["/", *(f"/web/{name}" for name in FILES)])
def test_every_file_comes_without_a_credential_and_with_the_policy(stack, path):
    answer = call(stack.url, "GET", path)
    assert answer.status == 200 and answer.body
    parts = answer.header("Content-Security-Policy").split("; ")
    policy = dict(part.split(" ", 1) for part in parts)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["form-action"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy) and "http" not in str(policy)
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Referrer-Policy") == "same-origin"
    assert answer.header("X-Request-Id")
    assert answer.header("Cache-Control") == "no-cache"
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    wanted = kind.get(path.rsplit(".")[-1], "text/html")
    assert answer.header("Content-Type").split(";")[0] == wanted

    known = {"If-None-Match": answer.header("ETag")}
    assert call(stack.url, "GET", path, headers=known).status == 304


def test_the_page_is_read_only_and_nothing_else_lies_below_web(stack):
    for path in ("/", "/web/app.js"):
        answer = call(stack.url, "POST", path)
        check_error(answer, 405, "method_not_allowed")
        assert answer.header("Allow") == "GET, HEAD"
    check_error(call(stack.url, "GET", "/web/nothing.js"), 404, "not_found")
    for path in ("../Makefile", "%2e%2e/Makefile", "..%2fMakefile", "./app.js", "%61pp.js"):
        check_error(call(stack.url, "GET", "/web/" + path), 400, "invalid_request")
    assert call(stack.url, "GET", "/?a=b").status == 200


def test_the_page_has_one_address_and_its_files_know_no_other(stack):
    for path in ("/web/", "/web/index.html", "/web/index.html?a"):
        answer = call(stack.url, "GET", path)
        assert (answer.status, answer.header("Location")) == (308, "../"), path
    for path in (CHECKOUT / "web").iterdir():
        # A front may have us below a path of its own.
        assert not re.search(r"""(from |src=|href=|url\()["']?/""", path.read_text()), path


def test_the_page_stands_while_no_worker_does():
    with Stack(workers=0, mock=False) as stack:
        stack.close_sockets()
        assert call(stack.url, "GET", "/").status == 200
        assert call(stack.url, "GET", "/user/session").status == 502


# Signing up


@SKIP
def test_the_main_way_is_open_to_the_keyboard_alone(visit):
    ada = visit(signs_up=False)
    page = ada.page
    assert page.focused() == ("textbox", "User name")
    page.type(ada.name)
    page.tab_to("textbox", "Password")
    page.type("password-1")
    page.tab_to("button", "Sign up")
    page.press("Enter")
    page.until_found("button", "New chat")

    page.tab_to("link", "Skip to the content")
    page.tab_to("button", "New chat")
    page.press("Enter")
    page.until_found("textbox", "Name (optional)")
    assert page.focused() == ("textbox", "Name (optional)")
    page.type("By keys")
    page.press("Enter")
    page.until_found("heading", "By keys")
    assert page.focused() == ("textbox", "Message")

    page.type("first line")
    page.press("Enter", shift=True)
    page.type("second line")
    page.press("Enter")
    wait_for(lambda: ada.messages(), "a message")
    assert ada.messages()[0]["prompt"] == "first line\nsecond line"
    wait_for(lambda: ada.messages()[0]["state"] == "done", "the reply")
    page.until("document.getElementById('prompt').value === ''")
    assert page.focused() == ("textbox", "Message")

    page.tab_to("button", "Rename", shift=True)
    page.press("Enter")
    page.until_found("textbox", "Name")
    page.press("Escape")
    assert page.focused() == ("button", "Rename")

    page.tab_to("button", "Log out", shift=True)
    page.press("Enter")
    page.until_shown("You are logged out.")
    assert page.focused() == ("textbox", "User name")
    assert ada.name not in page.text() and "By keys" not in page.evaluate("document.body.innerHTML")


@SKIP
def test_a_reload_stays_logged_in_and_in_the_chat(visit):
    ada = visit()
    ada.expected += ["DocumentCookie"]
    ada.new_chat("Stays")
    ada.page.call("Page.reload")
    ada.page.until_found("heading", "Stays")
    stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert ada.page.evaluate(stored) == '[{},{},""]'


@SKIP
def test_a_wrong_password_and_a_taken_name_are_said(visit):
    ada, eve = visit(), visit(signs_up=False)
    eve.expected += ["status of 409"]
    eve.page.fill("User name", ada.name)
    eve.page.fill("Password", "wrong-password")
    eve.page.press("Enter")
    wait_for(lambda: alert(eve), "what is wrong")
    first = alert(eve)
    eve.page.click("button", "Sign up")
    wait_for(lambda: alert(eve) not in ("", first), "what is wrong")
    assert "taken" in alert(eve)


def alert(visitor):
    texts = visitor.page.evaluate(
        "[...document.querySelectorAll('[role=alert]')].map((each) => each.innerText).join('')"
    )
    return texts.strip()


# Chats and groups


@SKIP
def test_new_chats_of_others_appear_and_the_focus_stays(visit):
    ada, bob = visit(), visit()
    ada.new_chat("Mine")
    ada.page.tab_to("link", "Mine", shift=True)
    chat = bob.api("/chat/create", name="Theirs")["id"]
    bob.api("/chat/user/add", id=chat, username=ada.name)
    ada.page.evaluate("document.getElementById('refresh').click()")
    ada.page.until_found("link", "Theirs")
    assert ada.page.focused() == ("link", "Mine")
    current = ada.page.evaluate("document.querySelector('[aria-current=page]').innerText")
    assert current == "Mine"


@SKIP
def test_a_chat_is_renamed_and_deleted(visit):
    ada = visit()
    ada.new_chat("Before")
    ada.page.click("button", "Rename")
    ada.page.fill("Name", "<i>After</i> & more")
    ada.page.press("Enter")
    ada.page.until_found("heading", "<i>After</i> & more")
    ada.page.until_found("link", "<i>After</i> & more")
    ada.page.click("button", "Delete")
    ada.page.until_shown("for everybody in it")
    assert ada.page.focused() == ("button", "Cancel")
    ada.page.click("button", "Delete")
    ada.page.until_shown("Open a chat, or start a new one.")
    wait_for(lambda: not ada.page.find("link", "<i>After</i> & more"), "an empty list")
    assert ada.api("/chat/index")["chats"] == []
    assert alert(ada) == ""


@SKIP
def test_people_come_and_go(visit):
    ada, bob = visit(), visit()
    for each in (ada, bob):
        each.expected += ["status of 404"]
    chat = ada.new_chat("For two")
    ada.page.click("button", "People")
    ada.page.fill("Add somebody by user name", "nobody-of-this-name")
    ada.page.press("Enter")
    wait_for(lambda: alert(ada) == "There is no user of this name.", "a refusal")
    ada.page.fill("Add somebody by user name", bob.name)
    ada.page.press("Enter")
    ada.page.until_found("button", f"Remove {bob.name}")
    assert alert(ada) == ""

    bob.page.click("button", "Refresh")
    bob.page.click("link", "For two")
    bob.page.until_found("heading", "For two")
    assert not bob.page.find("button", "Delete")
    bob.page.click("button", "People")
    bob.page.click("button", f"Leave {bob.name}")
    bob.page.until_shown("You have left the chat.")
    wait_for(lambda: not bob.page.find("link", "For two"), "a list without the chat")
    users = ada.api("/chat/read", id=chat)["users"]
    assert [user["username"] for user in users] == [ada.name]


@SKIP
def test_a_group_has_members_and_chats(visit):
    ada, bob = visit(), visit()
    ada.page.click("button", "New group")
    ada.page.fill("Name", "Geographers")
    ada.page.fill("Description", "Maps and more")
    ada.page.click("button", "Create")
    ada.page.until_found("heading", "Geographers")
    ada.page.fill("Add a member by user name", bob.name)
    ada.page.press("Enter")
    ada.page.until_found("button", f"Remove {bob.name}")
    ada.page.click("button", "New group chat")
    ada.page.fill("Name (optional)", "Rivers")
    ada.page.press("Enter")
    ada.page.until_found("heading", "Rivers")
    ada.page.until_shown("group Geographers")

    bob.page.click("button", "Refresh")
    bob.page.click("link", "Geographers")
    bob.page.until_found("heading", "Geographers")
    bob.page.until_shown("Maps and more")
    assert not bob.page.find("button", "Edit")
    assert bob.page.find("button", f"Leave {bob.name}")
    wait_for(lambda: bob.page.find("link", "Rivers"), "the group's chat")

    ada.page.click("link", "Geographers")
    ada.page.click("button", "Edit")
    ada.page.fill("Name", "Cartographers")
    ada.page.click("button", "Save")
    ada.page.until_found("heading", "Cartographers")
    ada.page.click("button", f"Remove {bob.name}")
    wait_for(lambda: not ada.page.find("button", f"Remove {bob.name}"), "a list without Bob")
    ada.page.click("button", "Delete")
    ada.page.click("button", "Delete")
    ada.page.until_shown("Open a chat, or start a new one.")
    assert ada.api("/group/index")["groups"] == ada.api("/chat/index")["chats"] == []


# For everybody


@SKIP
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1100, 800), (360, 640)])
def test_every_view_can_be_seen_heard_and_reached(visit, scheme, size):
    ada = visit(signs_up=False, width=size[0], height=size[1])
    ada.page.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    look_at(ada.page)
    ada.sign_up()
    look_at(ada.page)
    chat = ada.api("/chat/create", name="Seen", model="mock?chunks=100&chunk-delay-ms=50")["id"]
    group = ada.api("/group/create", name="Heard", description="A group")["id"]
    ada.api("/chat/prompt", id=chat, prompt="noted", otr=True)
    ada.open("chat", chat)
    ada.page.until_found("heading", "Seen")
    ada.write("# Long\n\n`enough` **to** [be](https://example.org)\n\n```\nseen\n```\n\n> or | read\n\n")
    ada.page.until_found("button", f"Stop the reply to {ada.name}")
    look_at(ada.page)
    if size[0] < 600:
        ada.page.click("button", "More about the chat")
        look_at(ada.page)
        ada.page.click("button", "More about the chat")
    ada.page.click("button", "People")
    look_at(ada.page)
    ada.page.click("button", "Close")
    ada.open("group", group)
    ada.page.until_found("heading", "Heard")
    look_at(ada.page)


# The texts that are shown with a contrast below 4.5 : 1 (WCAG 2, level AA), with what they have.
FAINT_TEXTS = """
(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const painted = (colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
        }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => {
        const [r, g, b] = rgb.map((value) => value / 255).map((value) =>
            value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    for (const each of document.querySelectorAll('body *')) {
        const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
        if (![...each.childNodes].some(isText) && !each.value) continue;
        if (!each.checkVisibility() || each.closest('.unseen')) continue;
        const grounds = ['Canvas'];
        for (let up = each; up; up = up.parentElement) {
            grounds.splice(1, 0, getComputedStyle(up).backgroundColor);
        }
        const ground = luminance(painted(grounds));
        const text = luminance(painted([...grounds, getComputedStyle(each).color]));
        const contrast = (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
        if (contrast < 4.5) faint.push([each.textContent || each.value, contrast]);
    }
    return faint;
})()"""


def look_at(page):
    """What can be asked of any view of the page."""
    tree = page.tree()
    unnamed = [node for node in tree if node[0] in CONTROLS and not node[1].strip()]
    assert unnamed == []
    dialogs = [name for role, name, *_ in tree if role == "dialog"]
    assert all(dialogs)
    roles = [role for role, *_ in tree]
    if not dialogs:
        assert roles.count("main") + roles.count("navigation") >= 1
        assert roles.count("main") <= 1
    # Nothing is wider than the screen, nothing is too small to be touched, nothing moves. A link
    # within a sentence is as high as its line.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.evaluate("""
        [...document.querySelectorAll('button, input, select, textarea, a')].filter((each) => {
            const { width, height } = each.getBoundingClientRect();
            if (each.matches('.markdown a')) return false;
            return width > 0 && height > 0 && (width < 20 || height < 20);
        }).map((each) => each.outerHTML)""")
    assert small == []
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate(FAINT_TEXTS) == []
    # Chromium's own look at forms; what it finds arrives as a complaint.
    page.call("Audits.checkFormsIssues")
    # Every stop of the focus can be seen.
    for _ in range(12):
        page.press("Tab")
        assert page.evaluate("""
            document.activeElement === document.body ||
            getComputedStyle(document.activeElement).outlineStyle !== 'none'""")
    assert not re.search(r"undefined|\[object|NaN|null", page.text())


def test_the_page_keeps_to_plain_text_and_to_its_own_files():
    for path in (CHECKOUT / "web").iterdir():
        source = path.read_text()
        assert not re.search(r"(inner|outer|Adjacent)HTML|document\.write|eval\(", source)
        addresses = re.findall(r"https?://[^\"'\s>)]*", source)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


# The picture


@SKIP
def test_the_picture_of_the_readme_can_be_made(tmp_path):
    picture(tmp_path / "page.png")
    shown, kept = ((path / "page.png").read_bytes() for path in (tmp_path, CHECKOUT / "docs"))
    # A PNG's width and height.
    assert shown[:4] == b"\x89PNG" and shown[16:24] == kept[16:24]
    assert len(shown) > 20_000
