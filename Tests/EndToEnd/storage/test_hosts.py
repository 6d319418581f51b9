"""Two hosts, each with nginx, workers, streamer and state directory of its own, over one PostgreSQL and
one Redis: what is done on one acts on the other."""

import time

import cluster
import database
import pytest
from client import call, check_error, rate_limited
from person import Person
from redis_server import Redis
from relay import Relay
from sockets import receive, revoked_within_a_second, websocket
from sse import Stream
from stack import Stack, wait_for
from upstream import Upstream, hold


@pytest.fixture(scope="module")
def upstream():
    with Upstream(hold=hold) as running:
        yield running


@pytest.fixture(scope="module")
def redis():
    with Redis() as running:
        yield running


@pytest.fixture(scope="module")
def place():
    """The database that the hosts share."""
    server = cluster.shared()
    return server, server.database("hosts")


@pytest.fixture(scope="module")
def host(upstream, redis, place):
    """What makes another host."""

    def make(**settings):
        settings = {"API_URL": upstream.url, "REDIS_ADDRESS": redis.address, **settings}
        return Stack(mock=False, settings=settings, database=place)

    return make


@pytest.fixture(scope="module")
def one(host):
    with host() as stack:
        yield stack


@pytest.fixture(scope="module")
def other(host, one):
    with host() as stack:
        yield stack


@pytest.fixture
def here(one):
    return Person(one)


@pytest.fixture
def there(here, other):
    """The same user at the other host."""
    return here.at(other)


def said(*prompts):
    return [text for prompt in prompts for text in (prompt, f"echo: {prompt}")]


def kill(stack):
    """The host is gone, without a word."""
    for worker in list(stack.workers):
        stack.kill_worker(worker)
    stack.kill_streamer()
    stack.stop_nginx()


# Streams


def test_a_prompt_on_one_is_streamed_on_the_other(one, other, here, there, upstream):
    for asker, watched in ((here, other), (there, one)):
        chat = here.chat()
        prompt = f"hold {chat}"
        # The stream's beginning comes after that of the WebSocket, which came first.
        with (
            websocket(watched, chat, here.token) as socket,
            Stream(watched.url, chat, here.token).begin() as stream,
        ):
            sent = asker.prompt(chat, prompt, stream=True)
            asked = upstream.arrived(prompt)
            stream.read(lambda stream: stream.words(sent["id"]) == "first words")
            asked.go_on.set()
            (last,) = stream.finished()
            assert last == asker.message(chat, sent["id"])
            assert last["reply"] == "first words and the rest" == stream.words(sent["id"])
            frames = receive(socket, lambda frame: frame.get("partial") is False)
            assert [frame.pop("event_id") for frame in frames] == stream.ids
            assert frames == stream.frames


def test_a_stop_on_one_ends_a_reply_that_runs_on_the_other(one, here, there, upstream):
    for runner, stopper in ((here, there), (there, here)):
        chat = here.chat()
        sent = runner.prompt(chat, f"hold {chat}", stream=True)
        asked = upstream.arrived(f"hold {chat}")
        with Stream(one.url, chat, here.token) as stream:
            stream.read(lambda stream: stream.words(sent["id"]))
        stopped = stopper.do("/chat/stop", id=chat, message_id=sent["id"])["message"]
        assert (stopped["state"], stopped["reply"]) == ("stopped", "first words")
        wait_for(lambda asked=asked: asked.has_left, "the upstream to be left")


# Rights


def watching(stack, person, chat):
    """Both kinds of a stream, open."""
    return Stream(stack.url, chat, person.token).begin(), websocket(stack, chat, person.token)


def assert_ends(streams, change):
    stream, socket = streams
    with stream, socket:
        revoked_within_a_second([stream], [socket], change)


@pytest.mark.alone
def test_a_user_removed_on_one_host_is_out_on_the_other(one, other, here):
    chat, guest = here.chat(), Person(one)
    for name in ("add", "remove"):
        if name == "remove":
            assert_ends(
                watching(other, guest, chat),
                lambda: here.do("/chat/user/remove", chat_id=chat, user_id=guest.id),
            )
        else:
            here.do("/chat/user/add", chat_id=chat, user_id=guest.id)
            assert guest.at(other).do("/chat/read", id=chat)
    check_error(guest.at(other).post("/chat/read", id=chat), 404, "not_found")


@pytest.mark.alone
def test_a_user_who_leaves_a_group_on_one_host_is_out_of_its_chats_on_the_other(one, other, here):
    guest = Person(one)
    group = here.group(guest)
    chat = here.chat(group_id=group)
    assert_ends(
        watching(other, guest, chat),
        lambda: here.do("/group/members/remove", id=group, user_ids=guest.id),
    )
    check_error(guest.at(other).post("/chat/prompt", id=chat, prompt="p"), 404, "not_found")


@pytest.mark.alone
def test_a_logout_on_one_is_one_on_the_other(other, here, there):
    chat = here.chat()
    assert_ends(watching(other, here, chat), lambda: here.do("/user/logout"))
    check_error(there.post("/user/session"), 401, "unauthorized")


@pytest.mark.alone
def test_a_new_password_on_one_ends_the_sessions_on_the_other(other, here, there):
    chat = here.chat()
    form = {"username": here.name, "password": "password-1"}
    second = here.at(other)
    second.token = call(other.url, "POST", "/user/login", form=form).json["token"]
    passwords = {"old_password": "password-1", "new_password": "password-2"}
    assert_ends(
        watching(other, second, chat), lambda: here.do("/user/password/update", **passwords)
    )
    check_error(second.post("/user/session"), 401, "unauthorized")
    assert there.do("/user/session")["user"]["id"] == here.id


@pytest.mark.alone
def test_an_operator_on_one_disables_on_the_other(one, other, here, there):
    chat = here.chat()

    def disable():
        code, out, err = one.admin("disable", here.name)
        assert code == 0, out + err

    assert_ends(watching(other, here, chat), disable)
    assert there.post("/user/session").status in (401, 403)


# Context


def told(upstream, person, chat, prompt):
    """The context with which a prompt reached the upstream."""
    person.prompt(chat, prompt)
    return upstream.of(prompt)[-1].context


def test_no_prompt_misses_what_the_other_host_stored(here, there, upstream):
    chat, prompts = here.chat(), []
    for number in range(20):
        # Sometimes twice in a row on the same host, so that windows are of all ages.
        who = (here, there, there, here, there)[number % 5]
        prompt = f"{here.name} round {number}"
        assert told(upstream, who, chat, prompt) == said(*prompts[-10:]), f"round {number}"
        prompts.append(prompt)


def test_a_cold_cache_is_filled_from_the_database(other, redis, here, there, upstream):
    chat = here.chat()
    first, second, third = (f"{here.name} {word}" for word in ("first", "second", "third"))
    here.prompt(chat, first)
    redis.ask("FLUSHALL")
    assert told(upstream, there, chat, second) == said(first)
    for index in range(2):
        assert other.restart_worker(index) == 0
    assert told(upstream, there, chat, third) == said(first, second)


# Limits


def test_failed_logins_count_on_all_hosts(one, other, here):
    def fail(stack):
        form = {"username": here.name, "password": "wrong-password"}
        return call(stack.url, "POST", "/user/login", form=form, source="127.77.1.2")

    for stack in (one, other, one, other, one):
        begun = time.monotonic()
        check_error(fail(stack), 401, "unauthorized")
    rate_limited(lambda: fail(other), begun)


def test_replies_to_a_user_count_on_all_hosts(here, there, upstream):
    chats = [here.chat() for _ in range(8)]
    sent = [
        (here, there)[number % 2].prompt(chat, f"hold {chat}", stream=True)
        for number, chat in enumerate(chats)
    ]
    for person in (here, there):
        answer = person.post("/chat/prompt", id=chats[0], prompt="one more")
        check_error(answer, 429, "rate_limited")
    for chat, message in zip(chats, sent, strict=True):
        here.do("/chat/stop", id=chat, message_id=message["id"])
    assert there.prompt(chats[0], "one more")["state"] == "done"


# A host that is gone


def test_a_host_that_dies_loses_its_clients_nothing(host, one, other, here, there, upstream):
    living, dying = here.chat(), here.chat()
    with host() as third:
        lost = here.at(third)
        streams = {
            chat: Stream(third.url, chat, here.token).begin() for chat in (living, dying)
        }
        runs = there.prompt(living, f"hold {living}", stream=True)
        dies = lost.prompt(dying, f"hold {dying}", stream=True)
        for chat, sent in ((living, runs), (dying, dies)):
            stream = streams[chat]
            stream.read(lambda stream, sent=sent: stream.words(sent["id"]) == "first words")
        kill(third)
        for stream in streams.values():
            stream.end()
            stream.close()
        places = {chat: stream.last_id for chat, stream in streams.items()}
        back = {
            chat: Stream(one.url, chat, here.token, headers=[("Last-Event-ID", places[chat])])
            for chat in places
        }
        upstream.of(f"hold {living}")[-1].go_on.set()
        for chat, sent, words, state in (
            (living, runs, " and the rest", "done"),
            (dying, dies, "", "failed"),
        ):
            with back[chat] as stream:
                stream.read(lambda stream: stream.ends, cap=25)
                assert stream.words(sent["id"]) == words
                assert [event for event, _, _ in stream.events if event == "reset"] == []
                assert stream.ends == [here.message(chat, sent["id"])]
                assert stream.ends[0]["state"] == state

        def processes():
            return database.rows_of_copy(one, "SELECT COUNT(*) AS n FROM processes")[0]["n"]

        # Each of its processes beat last at a moment of its own.
        wait_for(lambda: processes() == 6, "all of the dead to be taken off", 25)


def test_an_end_on_a_host_that_lost_redis_alone_is_told_on_the_others(host, one, redis, here):
    chat = here.chat()
    with Relay(redis.socket) as relay:
        with host(REDIS_ADDRESS=f"redis://127.0.0.1:{relay.port}") as cut_off:
            there = here.at(cut_off)
            there.prompt(chat, "before")
            with (
                Stream(one.url, chat, here.token).begin() as stream,
                websocket(one, chat, here.token) as socket,
            ):
                old = stream.last_id
                relay.__exit__()
                # At once: the host does not know yet that its Redis is gone. And once more when it does.
                for prompt in ("first", "second"):
                    sent = there.prompt(chat, prompt)
                    answered = time.monotonic()
                    stream.read(lambda stream, sent=sent: sent in stream.ends, cap=15)
                    print(f"{prompt}: told after {time.monotonic() - answered:.2f} s")
                    receive(socket, lambda frame, sent=sent: frame.get("message") == sent)
                    assert call(one.url, "GET", "/ready").status == 200
                check_error(call(cut_off.url, "GET", "/ready"), 503, "unavailable")
                assert [message["prompt"] for message in stream.ends] == ["first", "second"]
            # Subscribers that were away find them in their places, and nothing starts over.
            back = [("Last-Event-ID", old)]
            with Stream(one.url, chat, here.token, headers=back) as stream:
                prompts = [message["prompt"] for message in stream.finished(2)]
                assert prompts == ["first", "second"]
                assert "reset" not in [event for event, _, _ in stream.events]


# Hosts that cannot meet


def test_hosts_without_redis_are_a_fault_that_doctor_finds(one, other, host):
    def doctor(stack, **settings):
        code, out, _ = stack.admin("doctor", settings={"SIGNUP": "closed", **settings})
        [line] = [line for line in out.splitlines() if line.startswith("processes")]
        return code, line

    code, line = doctor(one)
    assert code == 1 and "REDIS_ADDRESS" in line, line
    code, line = doctor(one, REDIS_ADDRESS="redis://localhost")
    assert code == 0 and "alive" in line, line
