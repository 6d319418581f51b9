"""The shortest way through the whole product, which `make check` takes: everything once, through nginx."""

import pytest
from admin import ok
from client import JSON, call, chat
from person import Person
from sockets import receive, websocket
from sse import Stream

STACK = {"upstream_tls": True, "settings": {"PASSWORD_COST": None}}


@pytest.fixture(scope="module")
def owner(stack):
    """A user who has signed up through nginx."""
    return Person(stack)


@pytest.fixture(scope="module")
def chat_id(owner):
    return owner.chat(name="smoke")


def test_a_prompt_is_answered_and_stored(owner, chat_id):
    message = owner.prompt(chat_id, "hello")
    assert message["state"] == "done" and message["reply"].startswith("echo: hello")
    assert owner.messages(chat_id)[-1] == message


def test_a_reply_streams_to_both_kinds_of_subscriber(stack, owner, chat_id):
    with Stream(stack.url, chat_id, owner.token).begin() as events:
        with websocket(stack, chat_id, owner.token) as socket:
            sent = owner.do("/chat/prompt", id=chat_id, prompt="streamed", stream=True)["message"]
            [last] = events.finished()
            frames = receive(socket, lambda frame: frame.get("partial") is False)
    assert last["id"] == sent["id"] and last["state"] == "done"
    assert last["reply"].startswith("echo: streamed")
    assert frames[-1]["message"] == last
    assert any(frame["partial"] for frame in events.frames)


def test_a_call_is_passed_on_to_the_upstream(stack, owner):
    answer = call(
        stack.url, "POST", "/v1/chat/completions", chat(), [("Content-Type", JSON)], owner.token
    )
    assert answer.status == 200, answer
    assert answer.json["choices"][0]["message"]["content"].startswith("echo: ")


def test_the_operator_sees_the_user(stack, owner):
    assert owner.name in [user["username"] for user in ok(stack, "list")["users"]]
