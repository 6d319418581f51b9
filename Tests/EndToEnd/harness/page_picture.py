"""The picture of the page in the README, made by the tests' browser.

    .build/venv/bin/python Tests/EndToEnd/harness/page_picture.py [FILE]     writes docs/page.png

Two people share a chat. A scripted upstream answers, and the last reply is still running.
"""

import sys
import urllib.parse

import paths  # noqa: F401  the folders beside this file

from browser import Browser, chromium_binary
from client import call
from processes import wait_for
from stack import CHECKOUT, Stack
from upstream import Upstream

SIZE = (1100, 840)
CHATS = ("Release notes", "Question about invoices", "Onboarding", "A week in Spain")
ROUTE = """Three days by train:

1. **Madrid**: the Prado in the morning, Retiro park in the afternoon.
2. **Córdoba**, under two hours away: the Mezquita and the old town.
3. **Sevilla**: the Alcázar, and an evening in Triana.

Book the fast trains early; they are cheaper then."""
DISTANCE = """From Madrid to Córdoba it takes 1 h 45 min. To compute a whole route:

```python
legs = {"Madrid–Córdoba": 105, "Córdoba–Sevilla": 45}
print(sum(legs.values()), "minutes")
```

"""


def says(text, ends=True):
    """A script that says a text and ends, or waits for the end of the picture."""

    def script(asked):
        asked.begin()
        asked.say(text)
        if ends:
            asked.end(prompt_tokens=20, completion_tokens=80)
        else:
            asked.go_on.wait()

    return script


def picture(path):
    scripts = {"Plan": says(ROUTE), "How": says(DISTANCE, ends=False)}
    with Upstream(**scripts) as upstream, Stack(mock=False, settings=upstream.settings) as stack, Browser() as browser:
        token, _ = stack.signup("asim")
        friend, _ = stack.signup("maria")

        def done(path, by=token, **fields):
            answer = call(stack.url, "POST", path, token=by, json=fields)
            assert answer.status == 200, answer
            return answer.json

        for name in CHATS:
            chat = done("/chat/create", name=name, model="gpt-4")["id"]
        group = done("/group/create", name="Travel")["id"]
        done("/group/members/add", id=group, user_ids=["maria"])
        done("/chat/user/add", id=chat, username="maria")
        done("/chat/prompt", id=chat, prompt="Plan three days in Spain by train.")
        done("/chat/prompt", by=friend, id=chat, prompt="How long does each leg take?", stream=True)
        wait_for(lambda: len(upstream.asked) == 2, "the last reply to run")

        page = browser.page("about:blank", *SIZE)
        page.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        host = urllib.parse.urlsplit(stack.url).hostname
        page.call("Network.setCookie", name="sess", value=token, domain=host, path="/", httpOnly=True)
        page.go(f"{stack.url}/#/chat/{chat}")
        page.until_shown("1 h 45 min")
        page.screenshot(path)


def main(arguments):
    if not chromium_binary():
        print("page_picture: Chromium is not installed", file=sys.stderr)
        return 1
    path = arguments[0] if arguments else CHECKOUT / "docs/page.png"
    picture(path)
    print(f"{path} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
