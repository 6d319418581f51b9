"""Fixtures: people at the page, each in a browser profile of their own.

A visitor's page is watched: whatever it asks of another origin, and whatever the browser
complains about (errors, the Content-Security-Policy, forms), fails the test.
"""

import uuid

import pytest
from browser import Browser, chromium_binary
from client import call

SKIP = pytest.mark.skipif(
    not chromium_binary(), reason="Chromium is not installed: the page is not tested"
)

# The first question of a page is whether its visitor is logged in; 401 says no.
EXPECTED = "status of 401 (Unauthorized)"


class Visitor:
    """A user at the page, and calls of the API with that user's session."""

    def __init__(self, stack, page, name=None):
        self.stack, self.page = stack, page
        self.name = name or "user-" + uuid.uuid4().hex[:8]
        self.expected = [EXPECTED]

    def sign_up(self):
        self.page.fill("User name", self.name)
        self.page.fill("Password", "password-1")
        self.page.click("button", "Sign up")
        self.page.until_found("button", "New chat")
        return self

    @property
    def token(self):
        """The session's token, which the page itself cannot read."""
        cookies = self.page.call("Network.getCookies")["cookies"]
        return next(each["value"] for each in cookies if each["name"] == "sess")

    def api(self, path, **fields):
        answer = call(self.stack.url, "POST", path, token=self.token, json=fields)
        assert answer.status == 200, answer
        return answer.json

    def new_chat(self, name, model=None, group=None):
        """A chat made through the page; its id."""
        self.page.click("button", "New chat")
        self.page.fill("Name (optional)", name)
        if model:
            self.page.fill("Model (optional)", model, role="combobox")
        if group:
            node = self.page.until_found("combobox", "Group")
            self.page.call("DOM.focus", backendNodeId=node)
            self.page.type(group)
        self.page.click("button", "Create")
        self.page.until_found("heading", name)
        return self.page.evaluate("location.hash").split("/")[-1]

    def open(self, kind, key):
        """Opens a chat or a group by its address."""
        self.page.evaluate(f"location.hash = '#/{kind}/{key}'")
        self.page.until(f"!document.getElementById('{kind}').hidden")

    def write(self, text):
        self.page.fill("Message", text)
        self.page.press("Enter")

    def messages(self):
        """What is shown of each message: author, prompt, reply and state."""
        return self.page.evaluate("""
            [...document.querySelectorAll('.message')].map((shown) => ({
                author: shown.querySelector('h2 span').textContent,
                prompt: shown.querySelector('.prompt .text').textContent,
                reply: shown.querySelector('.reply .text').textContent,
                state: shown.dataset.state,
                note: shown.querySelector('.state').textContent,
                off: !shown.querySelector('.badge').hidden,
            }))""")

    def check(self):
        """Asserts that the page kept to its origin and that the browser had no complaints."""
        self.page.evaluate("0")
        foreign = [url for url in self.page.requested if not url.startswith(self.stack.url + "/")]
        assert [url for url in foreign if url != "about:blank"] == []
        complaints = self.page.complaints
        left = [each for each in complaints if not any(known in each for known in self.expected)]
        assert not left, left


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture
def visit(stack, browser):
    """Opens the page for a new visitor, who signs up unless told otherwise."""
    visitors = []

    def opened(signs_up=True, **size):
        visitor = Visitor(stack, browser.page(stack.url + "/", **size))
        visitors.append(visitor)
        visitor.page.until("!document.getElementById('welcome').hidden")
        return visitor.sign_up() if signs_up else visitor

    yield opened
    for visitor in visitors:
        visitor.check()
        visitor.page.close()
