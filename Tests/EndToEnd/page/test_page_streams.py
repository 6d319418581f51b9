"""The page while replies stream: several people, stopping, lost connections, lost rights."""

import base64
import json

import pytest
from client import call
from processes import wait_for
from visitors import SKIP, browser, visit  # noqa: F401  fixtures

pytestmark = SKIP

# A reply of 80 pieces in four seconds.
SLOW = "mock?chunks=80&chunk-delay-ms=50"
# One that somebody has to stop.
ENDLESS = "mock?chunks=2000&chunk-delay-ms=50"

# Keeps every text that a reply had on its way.
RECORD = """
    window.grown = [];
    new MutationObserver(() => {
        for (const text of document.querySelectorAll('.reply .text')) {
            window.grown.push(text.textContent);
        }
    }).observe(document.getElementById('messages'),
        { subtree: true, childList: true, characterData: true });
    window.heard = [];
    new MutationObserver((changes) => {
        for (const change of changes) {
            for (const node of change.addedNodes) window.heard.push(node.textContent);
        }
    }).observe(document.getElementById('announcements'), { childList: true });
"""


def together(visit, model=SLOW):
    """Two people in one chat, both with it open, and its id."""
    ada, bob = visit(), visit()
    chat = ada.new_chat("Together", model)
    ada.api("/chat/user/add", id=chat, username=bob.name)
    bob.open("chat", chat)
    bob.page.until_found("heading", "Together")
    for each in (ada, bob):
        each.page.evaluate(RECORD)
    return ada, bob, chat


def until_all(visitor, state, count=1):
    """Waits until this many messages are shown, each in the state; what is shown."""
    return wait_for(
        lambda: (
            [each["state"] for each in visitor.messages()] == [state] * count
            and visitor.messages()
        ),
        f"{count} messages that are {state}",
        30,
    )


def check_grown(visitor, reply):
    """Asserts that the reply grew from its first word to its last and was never anything else."""
    grown = [text for text in visitor.page.evaluate("window.grown") if text]
    assert [text for text in grown if not reply.startswith(text)] == []
    assert len(set(grown)) > 3
    return grown


# Several people


def test_two_people_see_one_conversation_grow(visit, stack):
    ada, bob, chat = together(visit)
    stack.mock_delete("/mock/calls")
    ada.write("Tell <b>us</b> about Spain.")
    shown = [until_all(each, "done") for each in (ada, bob)]
    assert shown[0] == shown[1]
    stored = ada.api("/chat/read", id=chat)["messages"]
    assert shown[0][0]["prompt"] == stored[0]["prompt"] == "Tell <b>us</b> about Spain."
    assert shown[0][0]["reply"] == stored[0]["reply"] != ""
    assert shown[0][0]["author"] == ada.name
    for each in (ada, bob):
        check_grown(each, stored[0]["reply"])

    bob.write("And about Portugal?")
    assert until_all(ada, "done", 2)[1]["author"] == bob.name
    bob.page.click("checkbox", "Off the record")
    bob.write("Between us alone")
    assert until_all(ada, "done", 3)[2]["off"]
    assert len(stack.mock("/mock/calls")) == 2


def test_a_reader_says_each_word_once(visit):
    ada, bob, chat = together(visit, "mock?chunks=12&chunk-delay-ms=50")
    ada.write("One sentence. Another one! A third, without an end")
    reply = until_all(bob, "done")[0]["reply"]
    heard = bob.page.evaluate("window.heard")
    assert heard[0] == f"{ada.name}: One sentence. Another one! A third, without an end"
    said = " ".join(heard[1:])
    assert said.split() == ["Reply:", *reply.split()]
    # The prompt's own author has no need to hear it.
    assert not any(ada.name in text for text in ada.page.evaluate("window.heard"))
    assert ada.page.evaluate("messages.closest('[aria-live], [role=log], [role=status]')") is None


def test_a_later_visitor_sees_a_running_reply_from_its_beginning(visit):
    ada = visit()
    chat = ada.new_chat("Later", "mock?chunks=200&chunk-delay-ms=100")
    ada.page.evaluate(RECORD)
    ada.write("Tell me about Spain.")
    wait_for(lambda: len(set(ada.page.evaluate("window.grown"))) > 4, "some words")
    ada.page.call("Page.reload")
    ada.page.until_found("heading", "Later")
    ada.page.evaluate(RECORD)
    reply = until_all(ada, "done")[0]["reply"]
    assert reply == ada.api("/chat/read", id=chat)["messages"][0]["reply"]
    check_grown(ada, reply)


def test_earlier_messages_come_on_demand(visit):
    ada = visit()
    chat = ada.api("/chat/create", name="Long")["id"]
    for number in range(120):
        ada.api("/chat/prompt", id=chat, prompt=f"note {number}", otr=True)
    ada.open("chat", chat)
    wait_for(lambda: len(ada.messages()) == 100, "the newest hundred")
    ada.page.click("button", "Show earlier messages")
    wait_for(lambda: len(ada.messages()) == 120, "all of them")
    assert [each["prompt"] for each in ada.messages()] == [f"note {n}" for n in range(120)]
    assert not ada.page.find("button", "Show earlier messages")


# Stopping


def test_a_reply_is_stopped_by_its_author_or_by_the_chats_owner(visit):
    ada, bob, chat = together(visit, ENDLESS)
    for asks, stops in ((bob, ada), (bob, bob)):
        asks.write("Never end.")
        name = f"Stop the reply to {asks.name}"
        stops.page.until_found("button", name)
        wait_for(lambda: stops.messages()[-1]["reply"].count(" ") > 4, "some words")
        stops.page.tab_to("button", name, shift=True)
        stops.page.press("Enter")
        count = len(ada.messages())
        shown = [until_all(each, "stopped", count)[-1] for each in (ada, bob)]
        stored = ada.api("/chat/read", id=chat)["messages"][-1]
        assert stored["state"] == "stopped"
        assert shown[0]["reply"] == shown[1]["reply"] == stored["reply"] != ""
        assert shown[0]["note"] == "Stopped."
        wait_for(lambda: stops.page.focused() == ("textbox", "Message"), "the focus in the field")

    ada.write("Never end.")
    wait_for(lambda: len(bob.messages()) == 3 and bob.messages()[-1]["reply"], "some words")
    assert not bob.page.find("button", f"Stop the reply to {ada.name}")
    ada.page.click("button", f"Stop the reply to {ada.name}")
    until_all(bob, "stopped", 3)


def test_a_reply_that_fails_says_why(visit):
    ada = visit()
    ada.new_chat("Fails", "mock?status=500")
    ada.write("Try.")
    assert until_all(ada, "failed")[0]["note"].startswith("The reply failed. ")


# Lost connections


@pytest.mark.parametrize("lost", ["nginx", "streamer"])
def test_a_reply_goes_on_where_a_lost_connection_left_it(visit, stack, lost):
    ada, bob, chat = together(visit, "mock?chunks=200&chunk-delay-ms=100")
    for each in (ada, bob):
        each.expected += ["ERR_", "status of 502"]
    ada.write("Go on and on.")
    wait_for(lambda: len(set(ada.page.evaluate("window.grown"))) > 4, "some words")
    stack.stop_nginx() if lost == "nginx" else stack.kill_streamer()
    for each in (ada, bob):
        each.page.until_shown("The connection is lost. Trying again…")
    before = [len(each.messages()[0]["reply"]) for each in (ada, bob)]
    assert min(before) > 0
    stack.start_nginx() if lost == "nginx" else stack.start_streamer()
    for each in (ada, bob):
        wait_for(lambda: "connection is lost" not in each.page.text(), "a connection", 30)
    replies = [until_all(each, "done")[0]["reply"] for each in (ada, bob)]
    assert replies == [ada.api("/chat/read", id=chat)["messages"][0]["reply"]] * 2
    for each in (ada, bob):
        check_grown(each, replies[0])


def test_a_prompt_that_could_not_be_sent_stays_in_its_field(visit, stack):
    ada = visit()
    ada.expected += ["ERR_", "status of 502"]
    ada.new_chat("Offline")
    stack.stop_nginx()
    ada.write("Keep this.")
    ada.page.until_shown("The server cannot be reached.")
    stack.start_nginx()
    assert ada.page.evaluate("document.getElementById('prompt').value") == "Keep this."
    ada.page.click("button", "Send")
    assert until_all(ada, "done")[0]["prompt"] == "Keep this."


def event(identifier, message, partial, chat, name=None):
    """One event of a stream."""
    data = {"message": {"chat_id": chat, **message}, "partial": partial} if message else {}
    kind = f"event: {name}\n" if name else ""
    return f"{kind}id: {identifier}\ndata: {json.dumps(data)}\n\n"


class Script:
    """Answers a page's streams in the server's place, one after the other."""

    def __init__(self, page):
        self._page, self._paused = page, []
        page.on["Fetch.requestPaused"] = self._paused.append
        page.call("Fetch.enable", patterns=[{"urlPattern": "*/chat/stream*"}])
        page.call("Page.reload")

    def answer(self, events=(), status=200, retry=3_600_000):
        """Waits for the next stream and answers it; the fields that asked for it."""
        wait_for(lambda: self._page.evaluate("1") and self._paused, "a stream")
        asked = self._paused.pop(0)
        body = f"retry: {retry}\n\n" + "".join(events)
        self._page.call(
            "Fetch.fulfillRequest",
            requestId=asked["requestId"],
            responseCode=status,
            responseHeaders=[{"name": "Content-Type", "value": "text/event-stream"}],
            body=base64.b64encode(body.encode()).decode(),
        )
        return json.loads(asked["request"]["postData"])


def test_a_stream_that_is_refused_is_opened_again_where_it_was(visit):
    ada = visit()
    ada.expected += ["status of 502"]
    chat = ada.new_chat("Refused")
    script = Script(ada.page)
    words = [
        event(f"e-{n}", {"id": "m-1", "reply": f"{n} ", "state": "streaming"}, True, chat)
        for n in (1, 2, 3)
    ]
    assert script.answer(words[:2], retry=10) == {"id": chat}
    assert script.answer(status=502) == {"id": chat, "last_event_id": "e-2"}
    assert script.answer(words[2:]) == {"id": chat, "last_event_id": "e-2"}
    wait_for(lambda: [each["reply"] for each in ada.messages()] == ["1 2 3 "], "all words, once")


def test_a_reset_forgets_what_is_shown_and_takes_what_follows(visit):
    ada = visit()
    chat = ada.new_chat("Reset")
    user = ada.api("/user/read")["id"]
    old = {"id": "m-1", "user_id": user, "prompt": "as it stands", "reply": "", "otr": False}
    running = {"id": "m-2", "user_id": user, "prompt": "running", "state": "streaming"}
    query = Script(ada.page).answer([
        event("e-1", running | {"reply": "before "}, True, chat),
        event("e-2", None, False, chat, "reset"),
        event("e-3", old | {"reply": "whole", "state": "done"}, False, chat),
        event("e-4", running | {"reply": "two "}, True, chat),
        # Words of a reply that stands already: late ones, after the chat was read anew.
        event("e-5", old | {"reply": "late", "state": "streaming"}, True, chat),
        event("e-6", {"id": "m-2", "reply": "words", "state": "streaming"}, True, chat),
        event("e-7", {"id": "m-3", "reply": "no prompt yet", "state": "streaming"}, True, chat),
    ])  # fmt: skip
    assert query == {"id": chat}
    wait_for(lambda: "no prompt yet" in ada.page.text(), "the last event")
    shown = [(each["prompt"], each["reply"]) for each in ada.messages()]
    expected = [("as it stands", "whole"), ("running", "two words"), ("", "no prompt yet")]
    assert shown[-3:] == expected
    assert "before" not in json.dumps(shown)


# Lost rights


def test_a_removed_user_sees_no_more_and_is_told(visit):
    ada, bob, chat = together(visit)
    bob.expected += ["status of 404"]
    ada.page.click("button", "People")
    ada.page.click("button", f"Remove {bob.name}")
    bob.page.until_shown("This chat is not there, or not yours to see any more.")
    assert bob.messages() == [] and not bob.page.find("link", "Together")


def test_a_session_that_ends_elsewhere_ends_on_the_page(visit, stack):
    ada = visit()
    ada.new_chat("Ends")
    assert call(stack.url, "POST", "/user/logout", token=ada.token).status == 200
    ada.page.until_shown("You have been logged out.")
    assert "Ends" not in ada.page.evaluate("document.body.innerHTML")


@pytest.mark.parametrize("is_group", [False, True])
def test_a_chat_that_is_deleted_closes_for_all(visit, is_group):
    ada, bob = visit(), visit()
    bob.expected += ["status of 404"]
    group = ada.api("/group/create", name="All of us")["id"] if is_group else None
    of_group = {"group_id": group} if is_group else {}
    chat = ada.api("/chat/create", name="Shared", **of_group)["id"]
    if is_group:
        ada.api("/group/members/add", id=group, user_ids=[bob.name])
    else:
        ada.api("/chat/user/add", id=chat, username=bob.name)
    bob.open("chat", chat)
    bob.page.until_found("heading", "Shared")
    if is_group:
        ada.api("/group/delete", id=group)
    else:
        ada.api("/chat/delete", id=chat)
    bob.page.until_shown("This chat is not there, or not yours to see any more.")
