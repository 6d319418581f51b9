"""The Python client, both faces of it, against a server that cuts, repeats, keeps silent and refuses."""

import asyncio
import contextlib
import inspect
import signal
import sys
import threading

import pytest
from front import CHECKOUT
from cutting_server import CHAT, MESSAGE, RESET, CuttingServer, Reply, event, message
from processes import free_port
from stack import wait_for

# Last: the folder has a scenario.py, and so has the harness.
sys.path.append(str(CHECKOUT / "clients/python"))

import proxy_gpt  # noqa: E402
from proxy_gpt import AsyncClient, Client, ProxyGPTError, aio, client, http, plans  # noqa: E402

WORDS = ["Spain ", "is ", "größer ", "als ", "🇵🇹 ", "Portugal."]
TOKEN = "pgpt_secret"


class Blocking:
    """An AsyncClient, or a part of it, whose methods block: so one test tries both clients."""

    def __init__(self, wrapped, loop):
        self._wrapped, self._loop = wrapped, loop

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        if name in ("users", "chats", "groups"):
            return Blocking(value, self._loop)
        return (lambda *given, **named: self._block(value(*given, **named))) if callable(value) else value

    def _block(self, value):
        if inspect.isasyncgen(value):
            return BlockingGenerator(value, self._loop)
        return self._loop.run_until_complete(value)


class BlockingGenerator:
    def __init__(self, wrapped, loop):
        self._wrapped, self._loop = wrapped, loop

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._loop.run_until_complete(self._wrapped.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self):
        self._loop.run_until_complete(self._wrapped.aclose())


@pytest.fixture
def pauses(monkeypatch):
    """The seconds of all pauses, which take no time."""
    seconds = []

    async def pause(_, delay):
        seconds.append(delay)
        await asyncio.sleep(0)

    monkeypatch.setattr(client._SocketDriver, "pause", lambda _, delay: seconds.append(delay))
    monkeypatch.setattr(aio._AsyncDriver, "pause", pause)
    return seconds


@pytest.fixture(params=["threads", "asyncio"])
def connect(request, pauses):
    """Makes a client of either kind, which is closed in the end."""
    with contextlib.ExitStack() as opened:
        if request.param == "threads":
            yield lambda url, **options: opened.enter_context(Client(url, token=TOKEN, **options))
            return
        loop = opened.enter_context(contextlib.closing(asyncio.new_event_loop()))

        def make(url, **options):
            made = Blocking(AsyncClient(url, token=TOKEN, **options), loop)
            opened.callback(made.close)
            return made

        yield make


@pytest.fixture
def server():
    with CuttingServer() as running:
        yield running


def refusal(call):
    """The error of a call that has to fail."""
    with pytest.raises(ProxyGPTError) as raised:
        call()
    return raised.value


# Bytes


def in_halves(data):
    return [(data[:place], data[place:]) for place in range(1, len(data))]


def test_an_answer_is_read_alike_wherever_it_is_split():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = {
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello": b"hello",
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 0\n\n": b"",
        chunked + b"3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nEnd: x\r\n\r\n": b"hello",
    }
    for data, body in answers.items():
        for first, second in in_halves(data):
            reader = http.ResponseReader()
            assert reader.receive(first) + reader.receive(second) == body
            assert reader.is_complete and reader.can_reuse and reader.status == 200
            cut = http.ResponseReader()
            with pytest.raises(http.ProtocolError):
                cut.receive(first)
                cut.receive(b"")


def test_events_are_read_alike_wherever_they_are_split():
    text = ": hi\nretry: 250\nid: 1\ndata: grün\r\n\r\nid: 2\n\nevent: reset\rdata\rdata:b\r\ndata:  c\n\ndata: cut"
    expected = [("message", "1", "grün"), ("message", "2", None), ("reset", None, "\nb\n c")]
    for first, second in in_halves(text.encode()):
        reader = http.EventReader()
        assert reader.receive(first)[0] + reader.receive(second)[0] == expected
        assert reader.retry == 0.25


NO_HTTP = [b"220 smtp\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"x" * 300_000]


@pytest.mark.parametrize("head", NO_HTTP)
def test_what_is_no_http_is_a_connection_failure(server, connect, head):
    server.routes["/user/session"] = lambda asked: asked.send(head)
    error = refusal(connect(server.url).users.session)
    assert (error.status, error.code) == (0, "connection")
    assert len(server.of("/user/session")) == 3


# Streams


def test_a_stream_cut_at_every_byte_has_every_word_once(server, connect):
    gpt = connect(server.url)
    whole = Reply(server, WORDS)
    assert [delta.text for delta in gpt.chats.stream(CHAT, "p")] == [*WORDS, ""]
    count = whole.streams[0].sent
    assert count > 700
    for budget in range(count):
        # A cut that is clean, and one that takes back what the client has not read yet.
        server.resets = budget % 2 == 1
        reply = Reply(server, WORDS, budgets=[budget])
        deltas = list(gpt.chats.stream(CHAT, "p"))
        assert "".join(delta.text for delta in deltas) == reply.whole, f"cut after {budget} bytes"
        assert deltas[-1].done and deltas[-1].message.reply == reply.whole
        assert [delta.done for delta in deltas].count(True) == 1
        assert deltas[0].message.reply == deltas[0].text
        assert len(reply.streams) <= 2, f"cut after {budget} bytes"


def test_a_stream_that_is_cut_behind_each_frame_goes_on(server, connect):
    reply = Reply(server, WORDS * 4)
    # The head, and the longest frame.
    reply._budgets = [150 + max(len(text.encode()) for text in reply.log)] * 30
    assert "".join(delta.text for delta in connect(server.url).chats.stream(CHAT, "p")) == reply.whole
    assert len(reply.streams) > 6


@pytest.mark.parametrize("count", range(len(WORDS)))
@pytest.mark.parametrize("is_over", [False, True])
def test_after_a_reset_only_what_is_new_is_yielded(server, connect, count, is_over):
    """The server tells a running reply from its beginning in other pieces, and one that has ended as a whole."""
    whole = "".join(WORDS)
    end = event("e-9", whole, "done")
    told = [event("reset-0", whole[place : place + 4]) for place in range(0, len(whole), 4)]
    reply = Reply(server, WORDS, resumed=[RESET, *([] if is_over else told), end])
    first = 145 + sum(len(text.encode()) + 6 for text in reply.log[:count])
    reply._budgets = [first]
    stored = message(whole, "done") if is_over else message("", "streaming")
    chat = {"id": CHAT, "name": "n", "model": "m", "user_id": "u"}
    page = {"chat": chat, "users": [], "messages": [stored], "has_more": False}
    server.routes["/chat/read"] = lambda asked: asked.answer(page)
    deltas = list(connect(server.url).chats.stream(CHAT, "p"))
    assert "".join(delta.text for delta in deltas) == whole and deltas[-1].done


def test_a_reply_that_a_reset_does_not_repeat_is_read(server, connect, monkeypatch):
    """More than a hundred messages have come meanwhile: the server repeats the newest alone, and is silent then."""
    monkeypatch.setattr(plans, "SILENCE", 5)
    Reply(server, WORDS, budgets=[500], resumed=[RESET])
    later = [message("x", "done", id=f"message-{number}") for number in (6, 7, 8)]
    pages = {
        None: {"messages": later, "has_more": True},
        later[0]["id"]: {"messages": [message("".join(WORDS), "done")], "has_more": True},
    }
    chat = {"id": CHAT, "name": "n", "model": "m", "user_id": "u"}
    server.routes["/chat/read"] = lambda asked: asked.answer(
        {"chat": chat, "users": [], **pages[asked.fields.get("before")]}
    )
    assert "".join(delta.text for delta in connect(server.url).chats.stream(CHAT, "p")) == "".join(WORDS)


def test_a_repeated_final_frame_is_handed_out_once(server, connect):
    ends = [event("e-1", "one", "done"), event("e-1", "one", "done"), event("e-2", "two", "done", id="other")]
    # The same message may run again after a failure of the upstream, and then has another end.
    again = [event("e-3", "again"), event("e-4", "again", "done")]

    def stream(asked):
        asked.begin_stream()
        for text in ends if len(server.asked) == 1 else [ends[1], *again]:
            asked.text(text)
        asked.end_stream()

    server.routes["/chat/stream"] = stream
    frames = connect(server.url).chats.watch(CHAT, after="e-0")
    seen = [next(frames) for _ in range(4)]
    frames.close()
    assert [(frame.message.reply, frame.partial) for frame in seen] == [
        ("one", False), ("two", False), ("again", True), ("again", False),
    ]  # fmt: skip
    assert [asked.headers["last-event-id"] for asked in server.of("/chat/stream")][:2] == ["e-0", "e-2"]


def test_a_watch_tells_of_a_reset_and_of_all_that_comes_after_it(server, connect):
    def stream(asked):
        asked.begin_stream()
        for text in [event("e-1", "one", "done"), RESET, event("reset-0", "one", "done")]:
            asked.text(text)
        asked.wait_until_left()

    server.routes["/chat/stream"] = stream
    frames = connect(server.url).chats.watch(CHAT)
    assert [(frame.kind, frame.id) for frame in (next(frames), next(frames), next(frames))] == [
        ("message", "e-1"), ("reset", "reset-0"), ("message", "reset-0"),
    ]  # fmt: skip
    frames.close()


def test_a_silent_stream_is_opened_anew(server, connect, monkeypatch):
    monkeypatch.setattr(plans, "SILENCE", 0.5)
    reply = Reply(server, WORDS)
    everything, reply.log = reply.log, reply.log[:2]
    deltas = connect(server.url).chats.stream(CHAT, "p")
    text = next(deltas).text + next(deltas).text
    reply.log = everything
    assert text + "".join(delta.text for delta in deltas) == reply.whole
    assert reply.streams[1].headers["last-event-id"] == "e-2"


def test_a_stream_that_brings_nothing_ten_times_is_given_up(server, connect, pauses):
    reply = Reply(server, WORDS, budgets=[400] + [140] * 20)
    deltas = connect(server.url).chats.stream(CHAT, "p")
    error = refusal(lambda: list(deltas))
    assert (error.status, error.code) == (0, "connection")
    assert len(reply.streams) == 11
    # As the server says: after a millisecond.
    assert pauses == [0.001] * 10
    assert not server.of("/chat/stop"), "a reply that goes on may be read later"


def test_a_server_that_wants_more_patience_than_ten_seconds_is_asked_after_ten(server, connect, pauses):
    def stream(asked):
        asked.begin_stream("retry: 30000\n\n" if len(server.asked) == 1 else "retry: 4000\n\n")
        if len(server.asked) == 3:
            asked.text(event("e-1", "one", "done"))
            asked.wait_until_left()
        asked.end_stream()

    server.routes["/chat/stream"] = stream
    frames = connect(server.url).chats.watch(CHAT)
    assert next(frames).message.reply == "one"
    frames.close()
    assert pauses == [10, 4]


def test_a_stream_ends_with_the_right_to_read(server, connect):
    closed = []

    def stream(asked):
        if len(server.asked) > 1:
            return asked.refuse(401, "unauthorized")
        asked.begin_stream()
        asked.text("id: e-1\n\n")
        asked.end_stream()
        # The end of the answer is the end, although the connection stays.
        asked.connection.settimeout(30)
        closed.append(asked.connection.recv(1))

    server.routes["/chat/stream"] = stream
    error = refusal(lambda: next(connect(server.url).chats.watch(CHAT)))
    assert (error.status, error.code) == (401, "unauthorized")
    assert wait_for(lambda: closed, "the client to close") == [b""]


@pytest.mark.parametrize("budget", [None, 500])
def test_a_failed_reply_is_an_error_after_its_words(server, connect, budget):
    error = {"code": "upstream_timeout", "message": "Too late.", "upstream_message": "busy"}
    Reply(server, WORDS, "failed", budgets=[budget], error=error)
    deltas = connect(server.url).chats.stream(CHAT, "p")
    text = ""
    with pytest.raises(ProxyGPTError) as raised:
        for delta in deltas:
            assert not delta.done
            text += delta.text
    assert text == "".join(WORDS)
    assert (raised.value.status, raised.value.code, raised.value.upstream_message) == (504, "upstream_timeout", "busy")
    assert raised.value.message == "Too late."


def test_a_stopped_reply_ends_as_usual(server, connect):
    Reply(server, WORDS, "stopped")
    last = list(connect(server.url).chats.stream(CHAT, "p"))[-1]
    assert last.done and last.message.state == "stopped"
    assert not server.of("/chat/stop")


NO_FRAMES = ["{", "[]", '{"message": 1, "partial": true}', '{"message": {"id": "x"}, "partial": true}']


@pytest.mark.parametrize("data", NO_FRAMES)
def test_a_frame_that_means_nothing_is_an_error(server, connect, data):
    def stream(asked):
        asked.begin_stream()
        asked.text(f"id: e-1\ndata: {data}\n\n")

    server.routes["/chat/stream"] = stream
    assert refusal(lambda: next(connect(server.url).chats.watch(CHAT))).code == "unexpected_answer"


def test_an_answer_that_is_no_stream_is_an_error(server, connect):
    server.routes["/chat/stream"] = lambda asked: asked.answer(b"<html>", headers=["Content-Type: text/html"])
    assert refusal(lambda: next(connect(server.url).chats.watch(CHAT))).code == "unexpected_answer"


# Leaving


def test_leaving_the_loop_stops_the_reply(server, connect):
    reply = Reply(server, WORDS)
    reply.log = reply.log[:2]
    deltas = connect(server.url).chats.stream(CHAT, "p")
    next(deltas)
    deltas.close()
    [stop] = server.of("/chat/stop")
    assert stop.fields == {"id": CHAT, "message_id": MESSAGE}


def test_leaving_at_the_end_stops_nothing(server, connect):
    Reply(server, WORDS)
    deltas = connect(server.url).chats.stream(CHAT, "p")
    while not next(deltas).done:
        pass
    deltas.close()
    assert not server.of("/chat/stop")


def test_a_stop_that_fails_leaves_no_error(server, connect):
    Reply(server, WORDS)
    server.routes["/chat/stop"] = lambda asked: asked.refuse(500, "internal")
    deltas = connect(server.url).chats.stream(CHAT, "p")
    next(deltas)
    deltas.close()
    assert len(server.of("/chat/stop")) == 1


def withhold_first_prompt(server, reply, leave):
    """Has the first answer to the prompt not come, but `leave` be called; the next one comes."""

    def prompt(asked):
        if len(server.of("/chat/prompt")) > 1:
            return reply.prompt(asked)
        leave()
        asked.wait_until_left()

    server.routes["/chat/prompt"] = prompt


def check_stopped_by_its_key(server):
    first, second = server.of("/chat/prompt")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert [stop.fields["message_id"] for stop in server.of("/chat/stop")] == [MESSAGE]


def test_an_interrupt_stops_a_reply_whose_prompt_is_unanswered(server):
    main = threading.main_thread().ident

    def interrupt():
        wait_for(lambda: sys._current_frames()[main].f_code.co_name == "read", "the client to wait for its answer")
        signal.pthread_kill(main, signal.SIGINT)

    withhold_first_prompt(server, Reply(server, WORDS), interrupt)
    with Client(server.url) as gpt, pytest.raises(KeyboardInterrupt):
        next(gpt.chats.stream(CHAT, "p"))
    check_stopped_by_its_key(server)


@pytest.mark.parametrize("is_answered", [True, False])
def test_cancelling_a_task_stops_the_reply(server, is_answered):
    reply = Reply(server, WORDS)
    reply.log = reply.log[:2]

    async def run():
        loop, has_begun = asyncio.get_running_loop(), asyncio.Event()
        if not is_answered:
            withhold_first_prompt(server, reply, lambda: loop.call_soon_threadsafe(has_begun.set))

        async def read():
            async with AsyncClient(server.url) as gpt:
                async for _ in gpt.chats.stream(CHAT, "p"):
                    has_begun.set()

        task = asyncio.ensure_future(read())
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    if is_answered:
        assert [stop.fields["message_id"] for stop in server.of("/chat/stop")] == [MESSAGE]
    else:
        check_stopped_by_its_key(server)


# Errors and retries


def test_an_error_has_all_that_the_server_says(server, connect):
    server.routes["/chat/create"] = lambda asked: asked.refuse(
        429, "rate_limited", ["Retry-After: 7", "X-Request-Id: r-1"]
    )
    error = refusal(lambda: connect(server.url).chats.create(name="x"))
    assert (error.status, error.code, error.param, error.message) == (429, "rate_limited", None, "No.")
    assert (error.retry_after, error.request_id, str(error)) == (7, "r-1", "No.")
    assert len(server.asked) == 1, "a call that changes something is made once"


REFUSALS = [
    # status, code, Retry-After, whether the call is made again and after how long
    (429, "rate_limited", "2", 2),
    (429, "rate_limited", "61", None),
    (429, "rate_limited", None, None),
    (503, "unavailable", None, (0.375, 1.0)),
    (503, "unavailable", "5", 5),
    (502, "upstream_error", None, None),
    (502, "upstream_auth", None, None),
    (502, "upstream_error", "1", 1),
    (502, None, None, (0.375, 1.0)),
    (504, "upstream_timeout", None, None),
    (500, "internal", None, None),
    (404, "not_found", "1", None),
]


@pytest.mark.parametrize("status, code, retry_after, delay", REFUSALS)
def test_reads_and_prompts_are_repeated_where_that_may_help(server, connect, pauses, status, code, retry_after, delay):
    def refuse(asked):
        headers = [f"Retry-After: {retry_after}"] if retry_after else []
        if code is None:
            return asked.answer(b"<html>", status, headers)
        asked.refuse(status, code, headers)

    server.routes.update({"/user/session": refuse, "/chat/prompt": refuse, "/user/login": refuse})
    gpt = connect(server.url)
    for call in (gpt.users.session, lambda: gpt.chats.prompt(CHAT, "p")):
        error = refusal(call)
        assert (error.status, error.code) == (status, code or "unexpected_answer")
    tries = 1 if delay is None else 3
    assert len(server.of("/user/session")) == len(server.of("/chat/prompt")) == tries
    assert len({asked.headers["idempotency-key"] for asked in server.of("/chat/prompt")}) == 1
    least, most = delay if isinstance(delay, tuple) else (delay, delay)
    assert all(least <= seconds <= most for seconds in pauses), pauses
    refusal(lambda: gpt.users.log_in("asim", "password"))
    assert len(server.of("/user/login")) == 1
    server.asked.clear()
    refusal(connect(server.url, max_retries=0).users.session)
    assert len(server.asked) == 1


def test_a_prompt_whose_answer_is_cut_is_sent_again_with_its_key(server, connect):
    def prompt(asked):
        asked.budget = 60 if len(server.asked) == 1 else None
        asked.answer({"message": message("yes", "done"), "reply": "yes"})

    server.routes["/chat/prompt"] = prompt
    assert connect(server.url).chats.prompt(CHAT, "p", idempotency_key="mine").reply == "yes"
    assert [asked.headers["idempotency-key"] for asked in server.asked] == ["mine", "mine"]


def test_a_server_that_is_not_there_is_a_connection_failure(connect, pauses):
    gpt = connect(f"http://127.0.0.1:{free_port()}/base")
    for call in (gpt.users.session, lambda: next(gpt.chats.stream(CHAT, "p"))):
        error = refusal(call)
        assert (error.status, error.code, error.retry_after) == (0, "connection", None)
        assert "refused" in error.message and TOKEN not in repr(error) + str(error)
    assert len(pauses) == 4


def test_a_call_has_a_time(server, connect):
    server.routes["/chat/create"] = lambda asked: asked.wait_until_left()
    error = refusal(lambda: connect(server.url, timeout=0.2).chats.create())
    assert (error.status, error.code) == (0, "timeout")


# Addresses, credentials, connections


def test_a_base_address_may_have_a_path_and_no_credential():
    assert Client("http://h:81/ai/", token="t").openai.base_url == "http://h:81/ai/v1"
    for url in ("http://user:secret@h/", "h/x", "ftp://h/", "http://h/?token=x", "http://h/#x", "http://h/\r\nx"):
        with pytest.raises(ValueError) as raised:
            Client(url)
        assert "secret" not in str(raised.value)


def test_the_token_goes_into_one_header_and_nowhere_else(server, connect):
    Reply(server, WORDS)
    login = {"token": "pgpt_new", "user": {"id": "u", "username": "asim"}}
    server.routes = {f"/base{path}": route for path, route in server.routes.items()}
    server.routes["/base/user/login"] = lambda asked: asked.answer(login)
    server.routes["/base/user/logout"] = lambda asked: asked.answer({})
    gpt = connect(server.url + "/base")
    list(gpt.chats.stream(CHAT, "p"))
    assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {TOKEN}"] * 2
    answer = gpt.users.log_in("asim", "password")
    assert "authorization" not in server.asked[-1].headers
    assert gpt.token == gpt.openai.api_key == "pgpt_new" and "pgpt_new" not in f"{answer!r}{gpt.openai!r}"
    gpt.users.log_out()
    assert server.asked[-1].headers["authorization"] == "Bearer pgpt_new" and gpt.token is None
    assert not any("pgpt" in asked.line for asked in server.asked)


def test_a_token_cannot_end_its_header(server):
    with pytest.raises(ValueError) as raised:
        Client(server.url, token="pgpt_x\r\nHost: evil").users.session()
    assert "pgpt_x" not in str(raised.value)


def test_a_connection_serves_many_calls_until_the_server_ends_it(server, connect):
    chat = {"id": CHAT, "name": "n", "model": "m", "user_id": "u"}
    ended = threading.Event()

    def create(asked):
        asked.answer(chat)
        if asked.fields["name"] == "last":
            asked.connection.close()
            ended.set()

    server.routes["/chat/create"] = create
    gpt = connect(server.url)
    for name in ("first", "second", "last"):
        assert gpt.chats.create(name=name).name == "n"
    assert server.connections == 1
    assert ended.wait(30)
    # Not repeated, and it need not be.
    assert gpt.chats.create(name="on another connection").id == CHAT
    assert server.connections == 2


def test_a_list_may_be_deleted_while_it_is_read(server, connect):
    chats = [{"id": f"c{number}", "name": "n", "model": "m", "user_id": "u"} for number in range(10)]

    def index(asked):
        before = asked.fields.get("before")
        ids = [chat["id"] for chat in chats]
        if before is not None and before not in ids:
            return asked.refuse(400, "invalid_request")
        end = ids.index(before) if before else len(chats)
        start = max(0, end - asked.fields["limit"])
        asked.answer({"chats": chats[start:end], "has_more": start > 0})

    def delete(asked):
        chats[:] = [chat for chat in chats if chat["id"] != asked.fields["id"]]
        asked.answer({})

    server.routes.update({"/chat/index": index, "/chat/delete": delete})
    gpt = connect(server.url)
    seen = []
    for chat in gpt.chats.list_all(limit=3):
        seen.append(chat.id)
        gpt.chats.delete(chat.id)
    assert seen == [f"c{number}" for number in range(9, -1, -1)] and chats == []


def test_the_client_has_the_version_of_the_product():
    product = (CHECKOUT / "Sources/ProxyGPT/Domain/Product.swift").read_text()
    assert f'version = "{proxy_gpt.__version__}"' in product
