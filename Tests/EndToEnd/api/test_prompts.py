"""Prompts and their replies over two workers: stops, deletions, kills, drains, load."""

import collections
import concurrent.futures
import contextlib
import json
import urllib.parse

import database
import fastcgi
import pytest
from client import FORM, call, check_error, raw_request, raw_socket, without
from sse import Stream
from stack import CANARY_KEY, Stack, wait_for

DATABASES = ("sqlite", "postgresql+redis")

# A worker that a test lets stand still for three seconds must not take its upstream for silent.
STACK = {"settings": {"FIRST_BYTE_TIMEOUT": "6", "IDLE_TIMEOUT": "8"}}


def post(stack, token, path, headers=(), timeout=60, **form):
    return call(
        stack.url, "POST", path, form=form, token=token, headers=headers, timeout=timeout
    )


def post_to(stack, worker, token, path, **form):
    """As `post`, answered by this worker: on a connection of its own, while the other stands still.

    Not through nginx, which may have an idle connection to the one that stands still.
    """
    with contextlib.ExitStack() as others:
        for process in stack.workers:
            if process is not worker:
                others.enter_context(without(stack, process))
        body = urllib.parse.urlencode(form).encode()
        return fastcgi.call(
            stack.fastcgi_socket, "POST", path, token, body, CONTENT_TYPE=FORM
        )


def new_chat(stack, token, model="gpt-4"):
    answer = post(stack, token, "/chat/create", model=model)
    assert answer.status == 200, answer
    return answer.json["id"]


def messages(stack, token, chat):
    answer = post(stack, token, "/chat/read", id=chat, limit=1000)
    assert answer.status == 200, answer
    return answer.json["messages"]


def ended(stack, token, chat):
    """The chat's messages, once none of them is running."""

    def all_ended():
        found = messages(stack, token, chat)
        return found if all(one["state"] not in ("pending", "streaming") for one in found) else None

    return wait_for(all_ended, "the replies to end", 40)


def running(stack, count):
    return stack.mock(f"/mock/wait?in-flight={count}")


SLOW = "mock?chunks=5000&chunk-delay-ms=20"


def test_a_stop_reaches_the_other_worker_and_keeps_what_came(stack, token):
    chat = new_chat(stack, token, SLOW)
    prompt = post_to(
        stack, stack.workers[0], token, "/chat/prompt", id=chat, prompt="x", stream="true"
    )
    message = prompt.json["message"]["id"]
    # What has reached a subscriber the runner has read.
    with Stream(stack.url, chat, token) as stream:
        stream.read(lambda it: it.words(message))
    # The other one sets the mark, which the runner sees when it goes on.
    post_to(stack, stack.workers[1], token, "/chat/stop", id=chat, message_id=message)
    running(stack, 0)
    for _ in range(2):
        answer = post(stack, token, "/chat/stop", id=chat, message_id=message)
        assert answer.status == 200
        assert answer.json["message"]["state"] == "stopped", answer
        assert answer.json["reply"].startswith("echo:")
    running(stack, 0)
    assert stack.mock("/mock/calls")[-1]["end"] == "peer_closed"


def test_a_plain_prompt_that_is_stopped_answers_what_came(stack, token):
    chat = new_chat(stack, token, SLOW)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        plain = pool.submit(post, stack, token, "/chat/prompt", id=chat, prompt="x")
        running(stack, 1)
        message = messages(stack, token, chat)[0]
        assert message["state"] == "pending"
        post(stack, token, "/chat/stop", id=chat, message_id=message["id"])
        answer = plain.result()
    assert answer.status == 200 and answer.json["message"]["state"] == "stopped"


@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_deleted_chat_stops_its_reply_and_stays_deleted(stack, token, stream):
    chat = new_chat(stack, token, SLOW)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        prompt = pool.submit(post, stack, token, "/chat/prompt", id=chat, prompt="x", stream=stream)
        running(stack, 1)
        assert post(stack, token, "/chat/delete", id=chat).json == {}
        running(stack, 0)
        answer = prompt.result()
    if stream == "false":
        check_error(answer, 404, "not_found")
    check_error(post(stack, token, "/chat/read", id=chat), 404, "not_found")


def test_a_client_that_leaves_does_not_end_its_prompt(stack, token):
    chat = new_chat(stack, token, "mock?chunks=20&chunk-delay-ms=150")
    body = json.dumps({"id": chat, "prompt": "x"}).encode()
    with raw_socket(stack.url) as connection:
        connection.sendall(raw_request("POST", "/chat/prompt", token, body))
        running(stack, 1)
    message = ended(stack, token, chat)[0]
    assert message["state"] == "done" and len(message["reply"].split()) == 20


def test_the_same_key_makes_one_call_whichever_workers_get_it(stack, token):
    chat = new_chat(stack, token, "mock?head-delay-ms=300")
    stack.mock_delete("/mock/calls")
    key = [("Idempotency-Key", "key-of-this-test")]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: post(stack, token, "/chat/prompt", key, id=chat, prompt="once"), range(8)
            )
        )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(stack.mock("/mock/calls")) == 1 and len(messages(stack, token, chat)) == 1
    check_error(post(stack, token, "/chat/prompt", key, id=chat, prompt="other"), 409, "conflict")


def test_a_user_has_eight_replies_at_once(stack):
    token, _ = stack.signup()
    chat = new_chat(stack, token, SLOW)
    for _ in range(8):
        assert post(stack, token, "/chat/prompt", id=chat, prompt="x", stream="true").status == 200
    refused = post(stack, token, "/chat/prompt", id=chat, prompt="x", stream="true")
    check_error(refused, 429, "rate_limited")
    assert refused.header("Retry-After") == "1"
    post(stack, token, "/chat/delete", id=chat)
    running(stack, 0)


@pytest.mark.parametrize(
    "model, status, code",
    [
        ("mock?status=500", 502, "upstream_error"),
        ("mock?status=429&retry-after=3", 429, "rate_limit_exceeded"),
        ("mock?garbage", 502, "upstream_error"),
        ("mock?garbage-json", 502, "upstream_error"),
        ("mock?chunks=0", 502, "upstream_error"),
        ("mock?cut-after=3", 502, "upstream_error"),
        ("mock?hang", 504, "upstream_timeout"),
        ("mock?chunks=9&chunk-delay-ms=20000", 504, "upstream_timeout"),
        ("mock?status=401&quote-key", 502, "upstream_auth"),
        ("mock?status=400&quote-key", 400, "upstream_error"),
    ],
)
def test_an_upstreams_failure_keeps_the_prompt(stack, token, model, status, code):
    chat = new_chat(stack, token, model)
    answer = post(stack, token, "/chat/prompt", id=chat, prompt="keep this")
    error = check_error(answer, status, code)
    (message,) = messages(stack, token, chat)
    assert (message["prompt"], message["state"]) == ("keep this", "failed")
    told = {name: error[name] for name in ("code", "message", "upstream_message") if name in error}
    assert message["error"] == told
    assert answer.header("Retry-After") == ("3" if status == 429 else None)
    assert CANARY_KEY[-8:] not in answer.body.decode() + json.dumps(message)


def test_three_hundred_prompts_at_once_lose_none(stack):
    """Forty clients on two workers and one SQLite file."""
    people = [stack.signup()[0] for _ in range(40)]
    chats = [new_chat(stack, people[0]) for _ in range(3)]
    for chat in chats:
        for token in people[1:]:
            user = call(stack.url, "GET", "/user/read", token=token).json["id"]
            assert post(stack, people[0], "/chat/user/add", id=chat, user_id=user).status == 200

    def prompt(number):
        return post(
            stack, people[number % 40], "/chat/prompt", id=chats[number % 3], prompt=f"p{number}"
        )

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(prompt, range(300)))
    assert collections.Counter(answer.status for answer in answers) == {200: 300}
    stored = {}
    for chat in chats:
        for message in messages(stack, people[0], chat):
            stored[message["prompt"]] = message
    assert len(stored) == 300
    for number, answer in enumerate(answers):
        message = stored[f"p{number}"]
        assert message == answer.json["message"]
        assert message["state"] == "done" and message["reply"].startswith(f"echo: p{number} ")


def test_a_killed_workers_replies_are_closed_by_the_other():
    with Stack(workers=2) as stack:
        token, _ = stack.signup()
        chat = new_chat(stack, token, SLOW)
        victim = stack.workers[1]
        post_to(stack, victim, token, "/chat/prompt", id=chat, prompt="x", stream="true")
        running(stack, 1)
        stack.kill_worker(victim)
        (message,) = ended(stack, token, chat)
        assert message["state"] == "failed" and message["error"]["code"] == "unavailable"
        assert post(stack, token, "/chat/update", id=chat, model="gpt-4").status == 200
        assert post(stack, token, "/chat/prompt", id=chat, prompt="y").status == 200


def test_a_drain_waits_for_replies_and_events_tell_of_them():
    with Stack(workers=1) as stack:
        token, user = stack.signup()
        chat = new_chat(stack, token, "mock?chunks=30&chunk-delay-ms=20")
        name = [("X-Request-Id", "streamed")]
        post(stack, token, "/chat/prompt", name, id=chat, prompt="x y", stream="true")
        post(
            stack, token, "/chat/prompt", [("X-Request-Id", "secret")], id=chat, prompt="hush",
            otr="true",
        )  # fmt: skip
        assert stack.stop_worker(stack.workers[0], timeout=30) == 0
        (stored, secret) = database.rows(stack, "SELECT * FROM messages ORDER BY seq")
        assert stored["state"] == "done" and len(stored["reply"].split()) == 30
        assert (secret["prompt"], secret["reply"], secret["otr"]) == ("hush", "", 1)
        rows = database.rows(stack, "SELECT * FROM events WHERE request_id = 'streamed'")
        by_type = {row["type"]: row for row in rows}
        assert set(by_type) == {"request", "reply"}
        for row in rows:
            assert (row["user_id"], row["chat_id"]) == (user["id"], chat)
            assert (row["path"], row["end"]) == ("/chat/prompt", "done")
        reply = by_type["reply"]
        assert reply["upstream_status"] == 200 and reply["completion_tokens"] == 30
        # The reply goes on when its request is answered: 29 pauses lie between 30 words.
        assert reply["duration_us"] >= 29 * 20_000
        everything = database.rows(stack, "SELECT * FROM events")
        everything += database.rows(stack, "SELECT request, response FROM event_bodies")
        assert "hush" not in str(everything)


def test_the_longest_prompt_passes_and_a_longer_one_is_refused(stack, token):
    chat = new_chat(stack, token)
    calls = len(stack.mock("/mock/calls"))
    answer = post(stack, token, "/chat/prompt", id=chat, prompt="x" * (128 * 1024 + 1))
    check_error(answer, 413, "too_large", "prompt")
    assert len(stack.mock("/mock/calls")) == calls and messages(stack, token, chat) == []
    assert post(stack, token, "/chat/prompt", id=chat, prompt="x" * 128 * 1024).status == 200
