"""Replies: what is stored before and after the upstream's call, and what of it others learn."""

import json
import threading

import database
import pytest
from client import check_error
from crowd import crowd
from person import Person, at_once
from sse import Stream
from stack import CANARY_KEY, Stack, wait_for
from upstream import Upstream, hold

MESSAGE = {
    "id", "chat_id", "user_id", "username", "group_id", "prompt", "reply", "model", "otr", "state", "error",
    "usage", "created_at", "updated_at",
}  # fmt: skip


def refuse(status, message, code=None, headers=()):
    def script(asked):
        asked.begin(status, "application/json", headers)
        asked.send(json.dumps({"error": {"message": message, "type": "x", "code": code}}))

    return script


def tell_in_mid_stream(asked):
    asked.begin()
    asked.say("half of ")
    asked.event({"error": {"message": f"out of memory, key {CANARY_KEY}"}})


def cut(asked):
    asked.begin()
    asked.say("half of it")


def speak_wrongly(asked):
    """Whatever stands between the words, and no label that fits."""
    asked.begin(kind="application/json")
    asked.send(": wait\n\n")
    asked.say("well ")
    for noise in ("{no json", "null", "", "[1]", '{"choices": []}'):
        asked.event(noise)
    asked.say("\ud83e")
    asked.send('{"choices": [{"delta": {"content": [{"type": "text", "text": "\\udd80"}]}}]}\n')
    asked.end(prompt_tokens=2)


def leave_open(asked):
    asked.begin()
    asked.say("that is all")
    asked.send("data: [DONE]")
    asked.wait()


def speak_as_ollama(asked):
    asked.begin(kind="application/x-ndjson")
    for words in ("as ", "lines"):
        asked.send(json.dumps({"message": {"content": words}, "done": False}) + "\n")
    asked.send(json.dumps({"done": True, "prompt_eval_count": 3, "eval_count": 4}) + "\n")


def say_much(asked):
    """One event of 5 MiB with two words in it."""
    asked.begin()
    filler = {"index": 1, "delta": {"content": "x" * 5 * 1024 * 1024}}
    asked.event({"choices": [filler, {"index": 0, "delta": {"content": "two words"}}]})
    asked.end()


def say_too_much(asked):
    asked.begin()
    for _ in range(5):
        asked.say("x" * 1024 * 1024)
    asked.end()


def say_nothing(asked):
    asked.begin()
    asked.say("", "content_filter")
    asked.event("[DONE]")


def call_tools(asked):
    asked.begin()
    calls = [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]
    asked.event({"choices": [{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]})
    asked.event("[DONE]")


def quote(asked):
    asked.begin(400, "application/json")
    asked.send(json.dumps({"error": {"message": f"no such model: {asked.body['model']}"}}))


def answer_whole(asked):
    asked.begin(200, "application/json")
    choice = {"message": {"role": "assistant", "content": "as one text"}}
    asked.send(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 2}}))


def answer_other(asked):
    asked.begin(200, "text/html")
    asked.send("<html>Log in here</html>")


def say_null(asked):
    asked.begin()
    asked.say("a\0b\0")
    asked.end()


def is_silent(asked):
    asked.wait()


DATABASES = ("sqlite", "postgresql+redis")

SCRIPTS = {
    "hold": hold, "refuse": refuse(500, f"boom of {CANARY_KEY}"), 
    "busy": refuse(429, "slow down, org-abc123", "too_fast", [("Retry-After", "17")]),
    "key": refuse(401, f"Incorrect API key provided: {CANARY_KEY}"), "mid": tell_in_mid_stream,
    "cut": cut, "wrong": speak_wrongly, "whole": answer_whole, "html": answer_other,
    "null": say_null, "silent": is_silent, "quote": quote, "open": leave_open,
    "ollama": speak_as_ollama, "much": say_much, "toomuch": say_too_much, "nothing": say_nothing,
    "tools": call_tools,
}  # fmt: skip


@pytest.fixture(scope="module")
def upstream(database_kind):
    # One for each database: what was asked is counted.
    with Upstream(tls=True, **SCRIPTS) as running:
        yield running


@pytest.fixture(scope="module")
def stack(make_stack, upstream):
    settings = upstream.settings | {"FIRST_BYTE_TIMEOUT": "4", "LOG_LEVEL": "debug"}
    with make_stack(mock=False, settings=settings) as running, crowd(running, 200, upstream):
        yield running


@pytest.fixture(scope="module")
def owner(stack):
    return Person(stack)


@pytest.fixture
def chat(owner):
    return owner.chat()


def ended(owner, chat, message):
    """The message once its reply has come to an end."""

    def look():
        found = owner.message(chat, message["id"])
        return found if found["state"] not in ("pending", "streaming") else None

    return wait_for(look, "the end of a reply")


def test_a_reply_is_answered_as_it_is_stored(owner, chat, upstream):
    message = owner.prompt(chat, "tell me about spain")
    assert set(message) == MESSAGE
    assert message["reply"] == "echo: tell me about spain"
    assert (message["chat_id"], message["user_id"]) == (chat, owner.id)
    assert (message["state"], message["otr"], message["error"]) == ("done", False, None)
    assert message["usage"] == {"prompt_tokens": 7, "completion_tokens": 5}
    assert owner.messages(chat) == [message]
    [asked] = upstream.of("tell me about spain")
    assert asked.key == CANARY_KEY
    assert asked.body["model"] == message["model"] == "gpt-3.5-turbo"
    assert asked.body["stream"] is True


def test_models_that_are_no_alias_pass_as_they_are(owner, upstream):
    chat = owner.chat(model="any/model:1")
    assert owner.prompt(chat, "which model")["model"] == "any/model:1"
    assert upstream.of("which model")[0].body["model"] == "any/model:1"


@pytest.mark.parametrize("streamed", [False, True])
def test_the_prompt_is_stored_before_the_upstream_is_called(owner, chat, upstream, streamed):
    prompt = f"hold on, streamed {streamed}"
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            owner.do("/chat/prompt", id=chat, prompt=prompt, stream=streamed)
        )
    )
    waiting.start()
    asked = upstream.arrived(prompt)
    [running] = owner.messages(chat)
    assert running["state"] == ("streaming" if streamed else "pending")
    assert (running["prompt"], running["reply"], running["usage"]) == (prompt, "", None)
    if streamed:
        # Answered although the reply is still to come.
        waiting.join(15)
        assert answers == [{"message": running, "reply": ""}]
    asked.go_on.set()
    done = ended(owner, chat, running)
    assert (done["state"], done["reply"]) == ("done", "first words and the rest")
    assert done["usage"] == {"prompt_tokens": 3, "completion_tokens": 4}
    waiting.join(15)
    if not streamed:
        assert answers == [{"message": done, "reply": done["reply"]}]


@pytest.mark.parametrize(
    "prompt, status, code, kept, words",
    [
        ("refuse", 502, "upstream_error", "", "boom of "),
        ("busy", 429, "too_fast", "", "slow down, org-***"),
        ("key", 502, "upstream_auth", "", None),
        ("mid", 502, "upstream_error", "half of ", "out of memory, key "),
        ("cut", 502, "upstream_error", "half of it", None),
        ("html", 502, "upstream_error", "", None),
        ("silent", 504, "upstream_timeout", "", None),
        ("nothing", 502, "upstream_error", "", "finish_reason: content_filter"),
        ("toomuch", 502, "upstream_error", "x" * 4 * 1024 * 1024, None),
    ],
)
def test_a_failure_keeps_the_prompt_and_says_what_went_wrong(
    owner, chat, prompt, status, code, kept, words
):
    answer = owner.post("/chat/prompt", id=chat, prompt=prompt)
    error = check_error(answer, status, code)
    assert answer.header("Retry-After") == ("17" if prompt == "busy" else None)
    said = error.get("upstream_message")
    assert said is None if words is None else said.startswith(words)
    [message] = owner.messages(chat)
    assert (message["prompt"], message["state"]) == (prompt, "failed")
    assert message["reply"] == kept
    told = {name: error[name] for name in ("code", "message", "upstream_message") if name in error}
    assert message["error"] == told
    streamed = owner.do("/chat/prompt", id=chat, prompt=prompt, stream=True)["message"]
    again = ended(owner, chat, streamed)
    assert (again["state"], again["error"]) == ("failed", message["error"])
    assert again["reply"] == kept


def test_the_last_frame_says_what_the_upstream_refused(stack, owner, chat):
    with Stream(stack.url, chat, owner.token).begin() as stream:
        owner.do("/chat/prompt", id=chat, prompt="busy", stream=True)
        [last] = stream.finished()
    assert last["state"] == "failed" and last["error"]["code"] == "too_fast"
    assert last["error"]["upstream_message"] == "slow down, org-***"


@pytest.mark.parametrize(
    "prompt, reply, tokens",
    [
        ("wrong", "well 🦀", (2, None)), ("open", "that is all", None), ("tools", "", None),
        ("ollama", "as lines", (3, 4)), ("much", "two words", None),
    ],
)  # fmt: skip
def test_a_reply_is_read_whatever_its_shape(owner, chat, upstream, prompt, reply, tokens):
    message = owner.prompt(chat, prompt)
    assert (message["state"], message["reply"], message["error"]) == ("done", reply, None)
    used = message["usage"] and tuple(message["usage"].values())
    assert used == tokens
    if prompt == "open":
        # The connection is not held for long either, though its upstream would.
        wait_for(lambda: upstream.of(prompt)[-1].has_left, "the end of the call")


def test_an_answer_as_one_text_is_a_reply_too(owner, chat):
    message = owner.prompt(chat, "whole")
    assert (message["reply"], message["state"]) == ("as one text", "done")
    assert message["usage"] == {"prompt_tokens": 2, "completion_tokens": None}
    assert owner.prompt(chat, "null")["reply"] == "ab"


def test_an_old_server_is_asked_without_what_it_does_not_know(tmp_path):
    def is_old(asked):
        if "stream_options" in asked.body:
            asked.begin(400, "application/json")
            asked.send('{"error":{"message":"Unrecognized request argument: stream_options"}}')
        else:
            asked.echo()

    with Upstream(tls=True, old=is_old) as upstream:
        settings = upstream.settings
        with Stack(workers=1, mock=False, settings=settings, state_directory=tmp_path) as stack:
            owner = Person(stack)
            chat = owner.chat()
            assert owner.prompt(chat, "old one")["reply"] == "echo: old one"
            owner.prompt(chat, "old two")
            asks = ["stream_options" in asked.body for asked in upstream.asked]
            assert asks == [True, False, False]


def test_a_quoted_word_does_not_turn_off_the_counting_of_tokens(stack, owner, upstream):
    """Else every user who names a model could."""
    chat = owner.chat(model="stream_options")
    for _ in stack.workers * 3:
        check_error(owner.post("/chat/prompt", id=chat, prompt="quote"), 400, "upstream_error")
    owner.do("/chat/update", id=chat, model="gpt-4")
    for number in range(6):
        owner.prompt(chat, f"counted {number}")
        assert "stream_options" in upstream.of(f"counted {number}")[0].body


def test_off_the_record_is_for_the_chats_users_alone(stack, owner, chat, upstream):
    member = Person(stack)
    owner.do("/chat/user/add", id=chat, user_id=member.id)
    secret = owner.prompt(chat, "the-otr-canary", otr=True)
    assert (secret["state"], secret["reply"], secret["otr"]) == ("done", "", True)
    streamed = owner.prompt(chat, "the-otr-canary", otr="1", stream="1")
    assert streamed["state"] == "done"
    assert member.messages(chat) == [secret, streamed]
    owner.prompt(chat, "what was that", context=1000)
    [asked] = upstream.of("what was that")
    assert asked.turns == [("user", "what was that")]
    assert not [asked for asked in upstream.asked if "the-otr-canary" in json.dumps(asked.body)]


def test_an_idempotency_key_is_one_message_and_one_call(owner, chat, upstream):
    key = {"Idempotency-Key": "key-1"}

    def post(prompt="hold the key", **fields):
        return owner.post("/chat/prompt", headers=key, id=chat, prompt=prompt, **fields)

    answers = []
    posting = threading.Thread(target=lambda: answers.extend(at_once([post] * 6)))
    posting.start()
    asked = upstream.arrived("hold the key")
    streamed = post(stream=True).json["message"]
    assert streamed["state"] == "pending" and streamed["reply"] == ""
    asked.go_on.set()
    posting.join(30)
    assert [answer.status for answer in answers] == [200] * 6
    assert len({answer.body for answer in answers}) == 1
    assert post().body == answers[0].body
    assert len(upstream.of("hold the key")) == 1 and len(owner.messages(chat)) == 1
    check_error(post("another"), 409, "conflict")
    check_error(post(otr=True), 409, "conflict")
    other = owner.chat()
    answer = owner.post("/chat/prompt", headers=key, id=other, prompt="hold the key")
    check_error(answer, 409, "conflict")
    assert owner.messages(other) == []


def test_an_idempotency_key_is_its_users_own(stack, owner, chat):
    member = Person(stack)
    owner.do("/chat/user/add", id=chat, user_id=member.id)
    key = {"Idempotency-Key": "shared"}
    ids = set()
    for who in (owner, member):
        answer = who.post("/chat/prompt", headers=key, id=chat, prompt="mine")
        ids.add(answer.json["message"]["id"])
    assert len(ids) == 2
    # A user who was removed from the chat does not get the old answer either.
    owner.do("/chat/user/remove", id=chat, user_id=member.id)
    check_error(member.post("/chat/prompt", headers=key, id=chat, prompt="mine"), 404)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
def test_a_key_that_breaks_the_rules_is_refused(owner, chat, key):
    headers = [("Idempotency-Key", key.encode())]
    answer = owner.post("/chat/prompt", headers=headers, id=chat, prompt="x")
    check_error(answer, 400, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("prompt, status, calls", [("refuse", 502, 1), ("busy", 429, 2)])
def test_a_failed_prompt_with_a_key_runs_again_where_the_upstream_did_not_take_it(
    owner, chat, upstream, prompt, status, calls
):
    key = {"Idempotency-Key": f"fails-{prompt}"}
    before = len(upstream.of(prompt))
    answers = [owner.post("/chat/prompt", headers=key, id=chat, prompt=prompt) for _ in "12"]
    assert [answer.status for answer in answers] == [status, status]
    assert answers[0].error == answers[1].error
    assert answers[0].header("Retry-After") == answers[1].header("Retry-After")
    assert len(upstream.of(prompt)) == before + calls and len(owner.messages(chat)) == calls


def test_the_events_tell_of_every_reply_and_not_what_was_said(upstream):
    with Stack(mock=False, settings=upstream.settings | {"LOG_LEVEL": "debug"}) as stack:
        owner = Person(stack)
        group = owner.group()
        chat = owner.chat(group_id=group)

        def prompt(name, prompt, **fields):
            headers = {"X-Request-Id": name}
            return owner.post("/chat/prompt", headers=headers, id=chat, prompt=prompt, **fields)

        prompt("plain", "canary of plain")
        streamed = prompt("streamed", "canary of streamed", stream=True).json["message"]
        ended(owner, chat, streamed)
        prompt("secret", "canary of otr", otr=True)
        for name in ("refuse", "key", "mid", "cut"):
            prompt(name, name)
        failed = prompt("late", "cut", stream=True).json["message"]
        ended(owner, chat, failed)
        logs = "".join(stack.logs().values())
        database.stop_workers(stack)
        rows = database.rows(stack, "SELECT * FROM events ORDER BY id")
        bodies = database.rows(stack, "SELECT * FROM event_bodies")
    everything = logs + json.dumps([rows, [str(body) for body in bodies]])
    assert CANARY_KEY not in everything and "canary of" not in everything

    def row(name, type="request"):
        [found] = [row for row in rows if (row["request_id"], row["type"]) == (name, type)]
        assert (found["user_id"], found["chat_id"], found["group_id"]) == (owner.id, chat, group)
        assert found["end"] and found["path"] == "/chat/prompt"
        return found

    tokens = ("prompt_tokens", "completion_tokens")
    plain, late = row("plain"), row("late", "reply")
    assert (plain["status"], plain["end"], plain["upstream_status"]) == (200, "done", 200)
    assert [plain[name] for name in tokens] == [7, 5] and plain["model"] == "gpt-3.5-turbo"
    assert 0 < plain["upstream_us"] <= plain["duration_us"]
    reply, request = row("streamed", "reply"), row("streamed")
    assert (request["status"], request["end"]) == (200, "done")
    assert [request[name] for name in tokens] == [None, None]
    assert [reply[name] for name in tokens] == [7, 5] and reply["model"] == "gpt-3.5-turbo"
    assert reply["end"] == "done" and reply["bytes_out"] > 0
    assert (row("secret")["model"], row("secret")["upstream_status"]) == (None, None)
    assert (row("refuse")["status"], row("refuse")["end"]) == (502, "error")
    assert (row("key")["upstream_status"], row("key")["end"]) == (401, "error")
    assert (row("mid")["upstream_status"], row("mid")["end"]) == (200, "error")
    assert (row("cut")["status"], row("cut")["end"]) == (502, "upstream_cut")
    assert (late["end"], row("late")["end"]) == ("upstream_cut", "done")


def test_the_key_is_shown_nowhere(stack, owner):
    """Last: the upstream has quoted it in all ways by now."""
    shown = json.dumps([owner.messages(chat["id"]) for chat in owner.do("/chat/index")["chats"]])
    assert "out of memory" in shown and "boom of" in shown
    everything = shown + "".join(stack.logs().values())
    assert CANARY_KEY not in everything
    # Eight of its letters in a row would be too many as well.
    assert not [CANARY_KEY[i : i + 8] for i in range(3, 18) if CANARY_KEY[i : i + 8] in everything]
