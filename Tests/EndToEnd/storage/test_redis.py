"""Bus and context in Redis: the same streams, and what is left of them while Redis is away."""

import contextlib
import os

import pytest
from admin import ok
from client import call
from person import Person
from redis_server import Redis
from sse import Stream
from stack import Stack, wait_for

SLOW = "mock?chunks=80&chunk-delay-ms=60"


@pytest.fixture(scope="module")
def redis():
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def stack(redis):
    with Stack(settings={"REDIS_ADDRESS": redis.address}) as stack:
        yield stack


@pytest.fixture
def person(stack):
    return Person(stack)


def is_used_by_all(redis):
    """Whether two workers and the streamer, which listens beside, have their connections."""
    return redis.ask("CLIENT", "LIST").count(b" fd=") >= 5


def stream_once(stack, person):
    """Whether a reply that is streamed comes in words; a quick one, since a slow one would still run at the
    next try."""
    chat = person.chat(model="mock")
    with Stream(stack.url, chat, person.token).begin() as stream:
        sent = person.do("/chat/prompt", id=chat, prompt="p", stream=True)["message"]["id"]
        stream.finished()
        return stream.words(sent) != ""


def test_words_come_through_redis_and_a_client_resumes_from_its_id(stack, redis, person):
    chat = person.chat(model=SLOW)
    with Stream(stack.url, chat, person.token).begin() as stream:
        sent = person.do("/chat/prompt", id=chat, prompt="p", stream=True)["message"]["id"]
        stream.read(lambda it: len(it.frames) >= 5)
        before, seen = stream.words(sent), stream.last_id
    assert b":1\r\n" == redis.ask("EXISTS", redis.key("bus"))
    with Stream(
        stack.url, chat, person.token, headers=[("Last-Event-ID", seen)]
    ) as stream:
        (last,) = stream.finished()
        assert before + stream.words(sent) == last["reply"]
        assert "reset" not in [event for event, _, _ in stream.events]
    assert not os.path.exists(os.path.join(stack.state_directory, "bus.db"))


def test_what_a_model_is_told_is_in_redis(stack, redis, person):
    chat = person.chat(model="mock")
    person.prompt(chat, "first")
    key = redis.key(f"context:8000:{chat}")
    wait_for(lambda: redis.ask("EXISTS", key) == b":1\r\n", "a window")
    # Values of other programs count as absent, and end no worker.
    forged = r'"9223372036854775807 0\n\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f\xc0\x3e\x00\x00"'
    redis.ask("HSET", "other", "a", "b")
    for command in (f"SET {key} {forged}", f"RENAME other {key}"):
        assert redis.ask(command) == b"+OK\r\n"
        assert person.prompt(chat, "meanwhile")["state"] == "done"
    person.prompt(chat, "second")
    # What it says of a call that was answered in whole comes a moment later.
    stack.mock("/mock/wait?in-flight=0")
    sent = stack.mock("/mock/calls")[-1]
    assert sent["end"] == "done"


def test_keys_of_another_type_are_a_reset_and_never_silence(stack, redis, person):
    bus = redis.key("bus")
    for command in (f"HSET {bus} seq 0x10", f"SET {bus}:recent x"):
        chat = person.chat(model=SLOW)
        with Stream(stack.url, chat, person.token).begin() as stream:
            sent = person.do("/chat/prompt", id=chat, prompt="p", stream=True)["message"]["id"]
            redis.ask(command)
            (last,) = stream.finished()
            assert last == person.message(chat, sent) and last["state"] == "done"
    assert call(stack.url, "GET", "/ready").status == 200
    wait_for(lambda: stream_once(stack, person), "words again")


def test_a_right_that_redis_takes_back_makes_it_away(stack, redis, person):
    chat = person.chat(model="mock")
    redis.ask("ACL SETUSER default -xadd")
    try:
        with Stream(stack.url, chat, person.token).begin() as stream:
            for number in range(3):
                assert person.prompt(chat, f"prompt {number}")["state"] == "done"
            stream.finished(3)
        wait_for(lambda: call(stack.url, "GET", "/ready").status == 503, "that to be told")
    finally:
        redis.ask("ACL SETUSER default +xadd")
    wait_for(lambda: call(stack.url, "GET", "/ready").status == 200, "Redis")
    wait_for(lambda: stream_once(stack, person), "words again")


def test_a_redis_that_dies_leaves_streams_open_and_replies_whole(stack, redis, person):
    wait_for(lambda: is_used_by_all(redis), "everybody's connection")
    chat = person.chat(model=SLOW)
    with Stream(stack.url, chat, person.token).begin() as stream:
        sent = person.do("/chat/prompt", id=chat, prompt="p", stream=True)["message"]["id"]
        stream.read(lambda it: len(it.frames) >= 3)
        redis.kill()
        try:
            (last,) = stream.finished()
            assert last == person.message(chat, sent) and last["state"] == "done"
            assert "reset" in [event for event, _, _ in stream.events]
            quick = person.chat(model="mock")
            assert person.prompt(quick, "without Redis")["state"] == "done"
        finally:
            redis.start()
    wait_for(lambda: stream_once(stack, person), "words again")


def test_a_restored_copy_on_the_same_redis_shares_nothing(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    nobody = {"workers": 0, "nginx": False, "mock": False, "streamer": False}
    with contextlib.ExitStack() as opened:
        settings = {"REDIS_ADDRESS": opened.enter_context(Redis()).address}
        stack = opened.enter_context(Stack(workers=1, settings=settings))
        person = Person(stack)
        chat = person.chat(model="mock")
        ok(stack, "backup", tmp_path / "backup.db")
        with Stack(**nobody, state_directory=elsewhere) as copy:
            ok(copy, "restore", tmp_path / "backup.db", "--yes")
        with Stack(workers=1, state_directory=elsewhere, settings=settings) as copy:
            twin = person.at(copy)
            with Stream(copy.url, chat, person.token).begin() as stream:
                person.prompt(chat, "in the original")
                sent = twin.prompt(chat, "in the copy")
                (last,) = stream.finished()
                assert last["id"] == sent["id"]
                assert {frame["message"]["id"] for frame in stream.frames} == {sent["id"]}
            assert [message["prompt"] for message in twin.messages(chat)] == ["in the copy"]


def test_a_redis_that_was_never_reached_is_as_good_as_one_that_went_away():
    late = Redis()
    # Two addresses that nobody answers at: a socket, and a host whose name there is none of.
    for address in ("redis://redis.invalid:6379", late.address):
        with Stack(workers=1, settings={"REDIS_ADDRESS": address}) as stack:
            ready = call(stack.url, "GET", "/ready")
            assert ready.status == 503 and b"bus" in ready.body, ready
            person = Person(stack)
            for number in range(2):
                chat = person.chat(model="mock")
                with Stream(stack.url, chat, person.token).begin() as stream:
                    sent = person.prompt(chat, f"prompt {number}")
                    assert sent["state"] == "done"
                    (last,) = stream.finished()
                    assert last == person.message(chat, sent["id"])
            if address == late.address:
                with late:
                    wait_for(lambda: call(stack.url, "GET", "/ready").status == 200, "Redis")
                    wait_for(lambda: stream_once(stack, person), "words")


def test_a_redis_that_stands_still_holds_up_nobody(stack, redis, person):
    chat = person.chat(model="mock")
    redis.pause()
    try:
        with Stream(stack.url, chat, person.token).begin() as stream:
            for number in range(5):
                assert person.prompt(chat, f"prompt {number}")["state"] == "done"
            stream.finished(5)
    finally:
        redis.resume()
    wait_for(lambda: stream_once(stack, person), "words again")


def test_a_wiped_redis_is_a_reset_and_never_a_hole(stack, redis, person):
    wait_for(lambda: is_used_by_all(redis), "everybody's connection")
    chat = person.chat(model=SLOW)
    with Stream(stack.url, chat, person.token).begin() as stream:
        sent = person.do("/chat/prompt", id=chat, prompt="p", stream=True)["message"]["id"]
        stream.read(lambda it: len(it.frames) >= 3)
        redis.ask("FLUSHALL")
        (last,) = stream.finished()
        assert last == person.message(chat, sent)
        assert "reset" in [event for event, _, _ in stream.events]


def test_without_redis_and_with_the_file_away_nobody_misses_an_end():
    with Stack(workers=1) as stack:
        person = Person(stack)
        bus = os.path.join(stack.state_directory, "bus.db")
        before = person.chat(model="mock")
        with Stream(stack.url, before, person.token).begin() as early:
            os.rename(bus, bus + ".away")
            os.mkdir(bus)
            try:
                # From the first moment on, and once it is known.
                for number in range(3):
                    chat = person.chat(model="mock")
                    with Stream(stack.url, chat, person.token).begin() as stream:
                        sent = [person.prompt(c, "p")["id"] for c in (chat, before)]
                        (last,) = stream.finished()
                        assert last == person.message(chat, sent[0])
                        early.read(lambda it, id=sent[1]: id in [end["id"] for end in it.ends])
                ready = call(stack.url, "GET", "/ready")
                assert ready.status == 503 and b"bus" in ready.body, ready
            finally:
                os.rmdir(bus)
        wait_for(lambda: call(stack.url, "GET", "/ready").status == 200, "the file")
        wait_for(lambda: stream_once(stack, person), "words again")
