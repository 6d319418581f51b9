"""The JavaScript client beside a server that cuts, resets, repeats, refuses and keeps silent.

What it does with the product itself is in the scenario of all clients; here is what a good server does seldom.
"""

import datetime
import email.utils
import json
import re
import threading
import time

import pytest
from hostile_server import RESET, Chat, HostileServer, event
from javascript import CLIENT, SKIP, run
from stack import CHECKOUT

pytestmark = SKIP

# Letters of two, three and four bytes, a joined character, and a line end.
DELTAS = ["Grüße", ",\n", "世界", " 👋🏽", " e\u0301", " end"]
REPLY = "".join(DELTAS)


def streams(chats):
    """A handler for many chats; the paths of a chat name it in the body."""
    by_id = {chat.id: chat for chat in chats}
    return lambda exchange: by_id[exchange.fields["id"]].handle(exchange)


STREAM = """
const deltas = [];
let error = null;
try {
  for await (const delta of gpt.chats.stream("c", "Hello")) deltas.push(delta);
} catch (thrown) { error = { ...thrown, name: thrown.name, message: thrown.message }; }
print({ deltas, error, text: deltas.map((delta) => delta.text).join("") });
"""


# Streams that are cut


@pytest.mark.parametrize("resumption", ["log", "reset while it runs", "reset after its end"])
@pytest.mark.parametrize("ending", ["end", "close", "reset"])
def test_a_stream_that_is_cut_at_any_byte_has_every_word_once(ending, resumption):
    whole = b"".join([b"retry: 1\n\n", event(None, "e-1"), *(frame for _, frame in Chat("0", DELTAS).log())])
    # Every byte once; the other ways at one in thirteen.
    places = list(range(0, len(whole), 1 if (ending, resumption) == ("close", "log") else 13))
    chats = []
    for at in places:
        # The first connection is cut there, and every third time the second one as well.
        cut = 2 if at % 3 == 0 else 1
        chats.append(
            Chat(str(at), DELTAS, lambda number, at=at, cut=cut: (at, ending) if number < cut else None, resumption)
        )
    code = """
    const places = PLACES;
    const read = async () => {
      for (let place = places.pop(); place !== undefined; place = places.pop()) {
        const deltas = await collect(gpt.chats.stream(String(place), "Hello"));
        const texts = deltas.map((delta) => delta.text);
        const last = deltas.pop();
        print({
          place, text: texts.join(""), empty: texts.slice(0, -1).includes(""),
          early: deltas.some((delta) => delta.done), done: last.done, state: last.message.state,
          soFar: deltas.every((delta, at) => delta.message.reply === texts.slice(0, at + 1).join("")),
        });
      }
    };
    await Promise.all(Array.from({ length: 24 }, read));
    """
    with HostileServer(streams(chats)) as server:
        results = run(server.url, code.replace("PLACES", str(places)))
    assert len(results) == len(places) > 100
    wanted = {"text": REPLY, "empty": False, "early": False, "done": True, "state": "done", "soFar": True}
    wrong = [result for result in results if result | wanted != result]
    assert wrong == []
    for chat in chats:
        assert len(chat.prompts) == 1 and chat.stops == []
        assert len(chat.subscriptions) >= 2
        # The first id is awaited before the prompt is sent: every connection after that names one.
        assert all(chat.subscriptions[1:]) or int(chat.id) < whole.index(b"e-1") + len("e-1\n\n")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_frames_and_a_reset_arrive_byte_by_byte_with_any_line_end(line_end):
    cut = lambda number: (700, "close") if number == 0 else None  # noqa: E731
    chat = Chat("c", DELTAS, cut, "reset while it runs")
    frames = chat.frames_after

    chat.frames_after = lambda id: (frame.replace(b"\n", line_end.encode()) for frame in frames(id))
    # Node.js joins what has arrived, however it was sent.
    slicing = """
    const transform = (chunk, output) => chunk.forEach((byte) => output.enqueue(Uint8Array.of(byte)));
    const sliced = async (...request) => {
      const response = await fetch(...request);
      return new Response(response.body.pipeThrough(new TransformStream({ transform })), response);
    };
    """
    code = slicing + STREAM.replace("gpt.chats", "new ProxyGPT(url, { fetch: sliced }).chats")
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, code)
    assert result["text"] == REPLY and result["error"] is None
    assert [delta["text"] for delta in result["deltas"]][:2] == DELTAS[:2]
    assert len(chat.subscriptions) == 2 and chat.stops == []


def test_words_after_a_reset_that_are_not_the_beginning_wait_for_the_final_frame():
    chat = Chat("c", DELTAS, lambda number: (700, "close") if number == 0 else None)
    frames = chat.frames_after

    def lost(id):
        if id in ("", "e-1"):
            yield from frames(id)
            return
        # The log has lost the beginning: what follows the reset is the middle of the reply.
        yield RESET
        yield event(chat.partial("x" * 100), "e-90")
        yield event(chat.partial(DELTAS[-1]), "e-91")
        yield event(chat.last(), "e-92")

    chat.frames_after = lost
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, STREAM)
    assert len(chat.subscriptions) == 2 and result["deltas"][0]["text"] == DELTAS[0]
    assert result["text"] == REPLY


def test_a_reply_that_is_not_among_the_messages_after_a_reset_is_read():
    chat = Chat("c", DELTAS, lambda number: (700, "close") if number == 0 else None)
    newer = [chat.end | {"id": f"message-of-d{number}"} for number in range(3)]
    pages = {None: newer[2:], newer[2]["id"]: newer[:2], newer[0]["id"]: [chat.end]}

    def handle(exchange):
        if exchange.path == "/chat/read":
            page = pages[exchange.fields.get("before")]
            exchange.answer(200, {"messages": page, "has_more": page != [chat.end]})
        elif exchange.path == "/chat/stream" and chat.subscriptions:
            exchange.begin_stream()
            exchange.chunk(RESET + event({"message": newer[2], "partial": False}, "e-90"))
            exchange.await_close()
        else:
            chat.handle(exchange)

    with HostileServer(handle) as server:
        (result,) = run(server.url, STREAM)
    assert result["text"] == REPLY and result["error"] is None and result["deltas"][-1]["done"]


def test_a_stream_ends_after_ten_tries_without_progress():
    # The connections after the first one have nothing but `retry:`.
    chat = Chat("c", DELTAS, lambda number: (700 if number == 0 else 10, "close"))
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, STREAM)
    assert (result["error"]["status"], result["error"]["code"]) == (0, "connection")
    assert len(chat.subscriptions) == 11
    assert REPLY.startswith(result["text"]) and result["text"]
    # The reply goes on: it is the connection that is lost.
    assert chat.stops == []


def test_a_new_frame_makes_ten_more_tries():
    deltas = [f"word{number} " for number in range(8)]
    chat = Chat("c", deltas)
    sizes = [len(frame) for _, frame in chat.log()]
    begin = len(b"retry: 1\n\n" + event(None, "e-1"))

    def connection(number):
        # Nine connections have nothing but `retry:`, then one has one frame more.
        if number == 0:
            return begin + sizes[0] + sizes[1], "close"
        return 10 + (sizes[1 + number // 10] if number % 10 == 0 else 0), "close"

    chat.connection = connection
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, STREAM)
    assert result["error"] is None and result["text"] == "".join(deltas)
    assert len(chat.subscriptions) == 10 * (len(deltas) + 1) + 1


def test_refusals_while_a_server_restarts_are_waited_out_and_others_are_thrown():
    def refused(refusals, final=None):
        chat = Chat("c", DELTAS, lambda number: (700, "close") if number == 0 else None)

        def handle(exchange):
            if exchange.path == "/chat/stream" and chat.subscriptions and (refusals or final):
                status, code = refusals.pop(0) if refusals else final
                exchange.answer(status, "<html>") if code is None else exchange.refuse(status, code)
            else:
                chat.handle(exchange)

        with HostileServer(handle) as server:
            (result,) = run(server.url, STREAM)
        return result

    passing = [(502, None), (502, "upstream_error"), (503, "unavailable"), (504, "upstream_timeout"), (429, "x")]
    assert refused(list(passing))["text"] == REPLY
    for final in ((401, "unauthorized"), (404, "not_found"), (403, "forbidden"), (500, "internal")):
        result = refused(passing[:1], final)
        assert (result["error"]["status"], result["error"]["code"]) == final
        assert result["error"]["requestId"] == "request-1"


def test_a_silent_connection_is_replaced():
    chat = Chat("c", DELTAS)

    def handle(exchange):
        if exchange.path != "/chat/stream" or chat.subscriptions:
            chat.handle(exchange)
            return
        chat.subscriptions.append("")
        exchange.begin_stream()
        exchange.chunk(b"retry: 1\n\n" + event(None, "e-1"))
        chat.is_prompted.wait(15)
        for _, frame in chat.log()[:4]:
            exchange.chunk(frame)
        exchange.await_close()

    code = STREAM.replace("gpt.chats", "new ProxyGPT(url, { silenceTimeout: 0.5 }).chats")
    with HostileServer(handle) as server:
        (result,) = run(server.url, code)
    assert result["text"] == REPLY and len(chat.subscriptions) >= 2


def test_an_answer_that_is_no_stream_and_a_frame_that_is_no_message_are_errors():
    def page(exchange):
        exchange.answer(200, "<html>")

    def garbage(exchange):
        exchange.begin_stream()
        exchange.chunk(b"retry: 1\n\nid: e-1\ndata: {\n\n")
        exchange.await_close()

    for handler in (page, garbage):
        with HostileServer(handler) as server:
            (error,) = run(server.url, 'print(await errorOf(collect(gpt.chats.watch("c"))));')
            assert (error["status"], error["code"]) == (200, "unexpected_answer")
            assert len(server.requests) == 1


# How replies end


def test_a_failed_reply_is_an_error_after_its_text():
    error = {"code": "upstream_error", "message": "The model failed.", "upstream_message": "overloaded"}
    chat = Chat("c", DELTAS, state="failed", error=error)
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, STREAM)
    assert result["text"] == REPLY and not any(delta["done"] for delta in result["deltas"])
    thrown = result["error"]
    assert (thrown["name"], thrown["status"], thrown["code"]) == ("ProxyGPTError", 502, "upstream_error")
    assert (thrown["message"], thrown["upstreamMessage"]) == ("The model failed.", "overloaded")
    assert chat.stops == []


def test_a_reply_that_another_device_stops_ends_without_an_error():
    chat = Chat("c", DELTAS, state="stopped")
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, STREAM)
    assert result["error"] is None and result["text"] == REPLY
    assert result["deltas"][-1]["done"] and result["deltas"][-1]["message"]["state"] == "stopped"
    assert chat.stops == []


def test_a_key_whose_reply_has_ended_brings_it_at_once():
    chat = Chat("c", DELTAS)
    chat.message = chat.end
    code = STREAM.replace('"Hello")', '"Hello", { idempotencyKey: "used" })')
    with HostileServer(chat.handle) as server:
        (result,) = run(server.url, code)
    assert result["text"] == REPLY and len(result["deltas"]) == 1 and result["deltas"][0]["done"]
    assert chat.prompts[0].headers["idempotency-key"] == "used"


ABORTS = {
    "a signal in the loop": "if (texts.length === 2) controller.abort();",
    "a signal from elsewhere": "if (texts.length === 2) setTimeout(() => controller.abort(), 10);",
    "leaving the loop": "if (texts.length === 2) break;",
    "an error in the loop": "if (texts.length === 2) throw new RangeError();",
}


@pytest.mark.parametrize("way", ABORTS)
def test_an_abort_stops_the_reply_and_ends_the_stream(way):
    # The stream stays open after the second delta.
    chat = Chat("c", DELTAS[:2])
    chat.last = lambda: chat.partial("")
    code = """
    const controller = new AbortController();
    const texts = [];
    try {
      for await (const { text } of gpt.chats.stream("c", "Hello", { signal: controller.signal })) {
        texts.push(text);
        WAY
      }
    } catch (error) { if (!(error instanceof RangeError)) throw error; }
    print(texts);
    """.replace("WAY", ABORTS[way])
    with HostileServer(chat.handle) as server:
        assert run(server.url, code) == [DELTAS[:2]]
        (subscription,) = server.asked("/chat/stream")
        subscription.await_close()
    assert chat.stops == [{"id": "c", "message_id": "message-of-c"}]


@pytest.mark.parametrize("end", ["controller.abort()", "break"])
def test_a_garbage_collection_keeps_no_connection_from_closing(end):
    chat = Chat("c", DELTAS[:2])
    chat.last = lambda: chat.partial("")
    code = """
    const { setFlagsFromString } = await import("node:v8");
    setFlagsFromString("--expose-gc");
    const gc = (await import("node:vm")).runInNewContext("gc");
    const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
    const controller = new AbortController();
    let deltas = 0;
    for await (const _ of gpt.chats.stream("c", "Hello", { signal: controller.signal })) {
      deltas += 1;
      if (deltas < 2) continue;
      for (let time = 0; time < 3; time += 1) { gc(); await pause(); }
      END;
    }
    const open = () => process.getActiveResourcesInfo().includes("TCPSocketWrap");
    for (let time = 0; time < 500 && open(); time += 1) await pause();
    print([deltas, open()]);
    process.exit(0);
    """
    with HostileServer(chat.handle) as server:
        assert run(server.url, code.replace("END", end)) == [[2, False]]


def test_an_abort_before_the_prompt_is_answered_stops_its_reply():
    chat = Chat("c", DELTAS)
    is_asked = threading.Event()

    def handle(exchange):
        if exchange.path == "/chat/prompt":
            is_asked.set()
            # Answered once the client has closed its stream, as it does when its signal aborts.
            server.asked("/chat/stream")[0].await_close()
        if exchange.path == "/asked":
            is_asked.wait(15)
            exchange.answer(200, {})
            return
        chat.handle(exchange)

    code = """
    const controller = new AbortController();
    const read = collect(gpt.chats.stream("c", "Hello", { signal: controller.signal }));
    await fetch(url + "/asked");
    controller.abort();
    print(await read);
    """
    with HostileServer(handle) as server:
        assert run(server.url, code) == [[]]
    assert chat.stops == [{"id": "c", "message_id": "message-of-c"}]


def test_a_signal_that_has_aborted_sends_nothing():
    code = """
    const signal = AbortSignal.abort();
    print(await collect(gpt.chats.stream("c", "Hello", { signal })));
    print(await collect(gpt.chats.watch("c", { signal })));
    print(await gpt.chats.prompt("c", "Hello", { signal }).catch((error) => error.name));
    """
    with HostileServer(lambda exchange: exchange.answer(200, {})) as server:
        assert run(server.url, code) == [[], [], "AbortError"]
        assert server.requests == []


def test_an_abort_waits_for_a_server_that_does_not_answer_only_for_a_while():
    chat = Chat("c", DELTAS[:2])
    chat.last = lambda: chat.partial("")

    def handle(exchange):
        if exchange.path == "/chat/stop":
            chat.stops.append(exchange.fields)
            exchange.await_close()
        else:
            chat.handle(exchange)

    code = 'for await (const delta of gpt.chats.stream("c", "Hello")) break; print("over"); process.exit(0);'
    with HostileServer(handle) as server:
        assert run(server.url, code) == ["over"]
    assert len(chat.stops) == 1


# Watching


def test_a_watch_has_resets_and_each_final_frame_once():
    chat = Chat("c", DELTAS)
    again = chat.end | {"updated_at": "2026-01-01T00:00:01.000Z"}

    def handle(exchange):
        exchange.begin_stream()
        if len(server.requests) == 1:
            exchange.chunk(b"retry: 1\n\n" + event(chat.partial("a"), "e-8"))
            # The store's final frame repeats the id of the one before.
            exchange.chunk(event(chat.last(), "e-8") + event(chat.last(), "e-8"))
            return
        exchange.chunk(event(chat.last(), "e-9"))
        exchange.chunk(event({"message": again, "partial": False}, "e-10"))
        exchange.chunk(RESET + event(chat.last(), "e-11"))
        exchange.await_close()

    code = """
    const options = { after: "e-7", onOpen: () => print("open"), onClose: () => print("close") };
    for await (const frame of gpt.chats.watch("c", options)) {
      print([frame.kind, frame.id, frame.partial ?? null, frame.message?.updated_at ?? null]);
      if (frame.id === "e-11") break;
    }
    """
    first, second = chat.end["updated_at"], again["updated_at"]
    with HostileServer(handle) as server:
        assert run(server.url, code) == [
            "open",
            ["message", "e-8", True, None],
            ["message", "e-8", False, first],
            "close",
            "open",
            ["message", "e-10", False, second],
            ["reset", "reset-0", None, None],
            ["message", "e-11", False, first],
        ]
        assert [request.fields["last_event_id"] for request in server.requests] == ["e-7", "e-8"]


def test_a_watch_ends_with_its_signal_and_throws_when_the_session_has_ended():
    def handle(exchange):
        if exchange.fields["id"] == "gone":
            exchange.refuse(401, "unauthorized")
            return
        exchange.begin_stream()
        exchange.chunk(b"retry: 1\n\nid: e-1\n\n")
        exchange.await_close()

    code = """
    const controller = new AbortController();
    const onOpen = () => setTimeout(() => controller.abort(), 10);
    print(await collect(gpt.chats.watch("c", { signal: controller.signal, onOpen })));
    print((await errorOf(collect(gpt.chats.watch("gone")))).code);
    """
    with HostileServer(handle) as server:
        assert run(server.url, code) == [[], "unauthorized"]


# Calls that are repeated


def reset(exchange):
    exchange.reset()


def cut_body(exchange):
    exchange.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"user"')


def good(exchange):
    exchange.answer(200, {"message": {"state": "done"}, "reply": "Hi", "chats": [], "user": {}, "token": "pgpt_new"})


def refuse(status, code, **headers):
    return lambda exchange: exchange.refuse(status, code, **headers)


def html(status, **headers):
    return lambda exchange: exchange.answer(status, "<html>", **headers)


READ = "print(await gpt.users.session().then(() => true, (error) => error.code));"
PROMPT = 'print(await gpt.chats.prompt("c", "Hi").then(() => true, (error) => error.code));'
CREATE = "print(await gpt.chats.create({}).then(() => true, (error) => error.code));"


@pytest.mark.parametrize(
    "step",
    [
        reset,
        cut_body,
        html(502),
        html(503),
        html(504),
        refuse(503, "unavailable"),
        refuse(502, "upstream_error", Retry_After="0"),
        refuse(429, "rate_limited", Retry_After="0"),
    ],
)
def test_reads_and_prompts_are_repeated_twice(step):
    def handle(exchange):
        is_good = "/recovers/" in exchange.path and len(server.asked(exchange.path)) == 3
        (good if is_good else step)(exchange)

    code = """
    const outcome = (call) => call.then(() => true, (error) => error instanceof ProxyGPTError && "error");
    const calls = (path, options) => {
      const gpt = new ProxyGPT(url + path, options);
      return [gpt.users.session(), gpt.chats.prompt("c", "Hi")].map(outcome);
    };
    print(await Promise.all([...calls("/recovers"), ...calls("/fails"), ...calls("/once", { maxRetries: 0 })]));
    """
    with HostileServer(handle) as server:
        assert run(server.url, code) == [[True, True, "error", "error", "error", "error"]]
        for path, count in (("/recovers", 3), ("/fails", 3), ("/once", 1)):
            assert len(server.asked(path + "/user/session")) == count
            prompts = server.asked(path + "/chat/prompt")
            assert len(prompts) == count
            assert len({request.headers["idempotency-key"] for request in prompts}) == 1


@pytest.mark.parametrize(
    "step",
    [
        refuse(400, "invalid_request"),
        refuse(401, "unauthorized"),
        refuse(409, "conflict"),
        refuse(429, "rate_limited"),
        refuse(500, "internal"),
        html(500),
        refuse(502, "upstream_error"),
        refuse(504, "upstream_timeout"),
        refuse(503, "unavailable", Retry_After="61"),
    ],
)
def test_other_failures_are_not_repeated(step):
    with HostileServer(step) as server:
        (result,) = run(server.url, PROMPT)
        assert result is not True and len(server.requests) == 1


@pytest.mark.parametrize("step", [reset, html(503), refuse(429, "rate_limited", Retry_After="0")])
def test_calls_that_change_something_are_not_repeated(step):
    with HostileServer(step) as server:
        (result,) = run(server.url, CREATE)
        assert result is not True and len(server.requests) == 1


def test_each_prompt_has_a_key_of_its_own():
    code = 'await gpt.chats.prompt("c", "1"); await gpt.chats.prompt("c", "2");'
    with HostileServer(good) as server:
        run(server.url, code + 'await gpt.chats.prompt("c", "3", { idempotencyKey: "mine" });')
        keys = [request.headers["idempotency-key"] for request in server.requests]
        assert len(set(keys)) == 3 and keys[2] == "mine"


@pytest.mark.parametrize("header", ["Retry_After", "retry_after_ms", "date"])
def test_a_repeated_call_waits_as_long_as_the_server_asks(header):
    asked = []

    def handle(exchange):
        asked.append(time.time())
        if len(asked) > 1:
            good(exchange)
            return
        later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        date = email.utils.format_datetime(later, usegmt=True)
        headers = {"Retry_After": "1"} if header == "Retry_After" else {"retry_after_ms": "1000"}
        exchange.refuse(429, "rate_limited", **({"Retry_After": date} if header == "date" else headers))

    with HostileServer(handle) as server:
        assert run(server.url, READ) == [True]
    # A date has whole seconds.
    assert asked[1] - asked[0] >= (0.99 if header != "date" else 0.9)


def test_an_aborted_call_ends_with_the_reason_of_its_signal():
    is_asked = threading.Event()

    def silent(exchange):
        exchange.await_close()

    code = """
    const controller = new AbortController();
    fetch(url + "/asked").then(() => controller.abort());
    print(await gpt.chats.prompt("c", "Hi", { signal: controller.signal }).catch((error) => error.name));
    """
    for step in (silent, refuse(503, "unavailable", Retry_After="50")):
        is_asked.clear()

        def handle(exchange, step=step):
            if exchange.path == "/asked":
                is_asked.wait(15)
                exchange.answer(200, {})
            else:
                is_asked.set()
                step(exchange)

        with HostileServer(handle) as server:
            assert run(server.url, code) == ["AbortError"]
            assert len(server.asked("/chat/prompt")) == 1


def test_a_call_without_an_answer_ends_in_time():
    code = """
    const quick = new ProxyGPT(url, { timeout: 0.3 });
    print(await errorOf(quick.users.session()));
    """
    for step in (lambda exchange: exchange.await_close(), lambda exchange: (cut_body(exchange), exchange.await_close())):
        with HostileServer(step) as server:
            (error,) = run(server.url, code)
            assert (error["status"], error["code"]) == (0, "timeout")
            assert len(server.requests) == 1


# Errors and credentials


def test_errors_have_what_the_server_says():
    def handle(exchange):
        error = {"message": "No.", "type": "t", "code": "invalid_request", "param": "name", "upstream_message": "u"}
        exchange.answer(400, {"error": error}, Retry_After="7")

    with HostileServer(handle) as server:
        (error,) = run(server.url, "print(await errorOf(gpt.users.session()));")
    assert error == {
        "name": "ProxyGPTError", "message": "No.", "status": 400, "code": "invalid_request", "param": "name",
        "requestId": "request-1", "retryAfter": 7, "upstreamMessage": "u",
    }  # fmt: skip


def test_an_answer_that_is_none_of_the_server_is_an_error():
    for step, status in ((html(200), 200), (html(404), 404), (html(302, Location="/elsewhere"), 0)):
        with HostileServer(step) as server:
            (error,) = run(server.url, "print(await errorOf(gpt.groups.create({ name: 'g' })));")
            assert error["status"] == status
            assert error["code"] == ("unexpected_answer" if status else "connection")
            assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_a_connection_error():
    with HostileServer(good) as server:
        pass
    (error,) = run(server.url, "print(await errorOf(gpt.chats.create({})));")
    assert (error["status"], error["code"], error["requestId"]) == (0, "connection", None)


def test_the_token_is_in_a_header_alone():
    code = """
    await gpt.users.logIn({ username: "ada", password: "correct horse battery" });
    const errors = [];
    for (const call of [() => gpt.users.session(), () => gpt.chats.create({}), () => collect(gpt.chats.watch("c"))]) {
      await call().catch((error) => errors.push(error));
    }
    print(inspect([gpt, gpt.users, gpt.chats, ...errors], { depth: 9, showHidden: true }) + JSON.stringify(gpt));
    print([gpt.token, gpt.openai]);
    await gpt.users.logOut().catch(() => {});
    print(gpt.token);
    """

    def handle(exchange):
        good(exchange) if exchange.path.startswith("/user/log") else exchange.refuse(404, "not_found")

    with HostileServer(handle) as server:
        shown, (token, openai), after = run(server.url, code)
        assert "pgpt" not in shown and "correct horse" not in shown
        assert token == "pgpt_new" and after is None
        assert openai == {"baseURL": server.url + "/v1", "apiKey": "pgpt_new"}
        assert {request.path for request in server.requests if "pgpt" in request.path} == set()
        by_path = {request.path: request.headers.get("authorization") for request in server.requests}
        assert by_path == {
            "/user/login": None,
            "/user/session": "Bearer pgpt_new",
            "/chat/create": "Bearer pgpt_new",
            "/chat/stream": "Bearer pgpt_new",
            "/user/logout": "Bearer pgpt_new",
        }


def test_an_address_may_have_a_path_and_no_credential():
    code = """
    for (const end of ["/ai", "/ai/", "/ai//?a=b#c"]) await new ProxyGPT(url + end).users.session();
    await new ProxyGPT(new URL(url)).users.session();
    print(new ProxyGPT(url + "/ai").openai);
    for (const bad of ["http://ada:pgpt_x@host/", "host:8080", "no address", "file:///pgpt_x", undefined]) {
      try { new ProxyGPT(bad); print("taken"); } catch (error) { print([error.name, inspect(error)]); }
    }
    for (const token of ["pgpt_x\\n", "pgpt x", "", 5]) {
      try { new ProxyGPT(url, { token }); print(token); } catch (error) { print([error.name, inspect(error)]); }
    }
    """
    with HostileServer(good) as server:
        openai, *refused = run(server.url, code)
        assert [request.path for request in server.requests] == ["/ai/user/session"] * 3 + ["/user/session"]
        assert openai == {"baseURL": server.url + "/ai/v1", "apiKey": ""}
    assert refused.pop() == 5
    assert len(refused) == 8
    assert all(name == "TypeError" and "pgpt" not in text for name, text in refused)


def test_a_client_with_cookies_keeps_no_token():
    code = """
    const asked = [];
    const spy = (address, options) => (asked.push(options.credentials), fetch(address, options));
    const page = new ProxyGPT(url, { cookies: true, fetch: spy });
    await page.users.logIn({ username: "ada", password: "correct horse battery" });
    await page.users.session();
    await new ProxyGPT(url, { fetch: spy }).users.session();
    print([page.token, asked]);
    """
    with HostileServer(good) as server:
        assert run(server.url, code) == [[None, ["same-origin", "same-origin", "omit"]]]
        assert all("authorization" not in request.headers for request in server.requests)


def test_a_log_out_of_a_session_that_has_ended_is_one():
    code = """
    await gpt.users.logOut(); print(gpt.token);
    const other = new ProxyGPT(url + "/busy", { token: "pgpt_kept" });
    print([(await errorOf(other.users.logOut())).status, other.token]);
    """

    def handle(exchange):
        exchange.refuse(503, "unavailable") if "busy" in exchange.path else exchange.refuse(401, "unauthorized")

    with HostileServer(handle) as server:
        assert run(server.url, code) == [None, [503, "pgpt_kept"]]


# Calls and pages


def test_every_method_calls_its_endpoint_with_the_names_of_the_server():
    code = """
    const page = { limit: 5, before: "b" };
    await gpt.users.signUp({ username: "u", password: "p", firstName: "f", lastName: "l" });
    await gpt.users.read({ username: "u" }); await gpt.users.read();
    await gpt.users.update({ username: "u", firstName: "f", lastName: "l" });
    await gpt.users.changePassword({ oldPassword: "o", newPassword: "n" });
    await gpt.chats.create({ name: "n", model: "m", groupId: "g" });
    await gpt.chats.list({ groupId: "g", ...page }); await gpt.chats.read("c", { limit: 5, after: "a" });
    await gpt.chats.update("c", { name: "n", model: "m" }); await gpt.chats.delete("c");
    await gpt.chats.addUser("c", "u"); await gpt.chats.removeUser("c", "u");
    await gpt.chats.prompt("c", "t", { context: 0, otr: true, stream: true }); await gpt.chats.stop("c", "m");
    await gpt.groups.create({ name: "n", description: "d" }); await gpt.groups.list(page);
    await gpt.groups.read("g", page); await gpt.groups.update("g", { name: "n", description: "d", ownerId: "o" });
    await gpt.groups.delete("g"); await gpt.groups.members("g", page);
    await gpt.groups.addMembers("g", ["u"]); await gpt.groups.removeMembers("g", ["u"]);
    """
    page = {"limit": 5, "before": "b"}
    names = {"username": "u", "first_name": "f", "last_name": "l"}
    with HostileServer(good) as server:
        run(server.url, code)
        assert [(request.path, request.fields) for request in server.requests] == [
            ("/user/signup", {**names, "password": "p"}),
            ("/user/read", {"username": "u"}),
            ("/user/read", {}),
            ("/user/update", names),
            ("/user/password/update", {"old_password": "o", "new_password": "n"}),
            ("/chat/create", {"name": "n", "model": "m", "group_id": "g"}),
            ("/chat/index", {"group_id": "g", **page}),
            ("/chat/read", {"id": "c", "limit": 5, "after": "a"}),
            ("/chat/update", {"id": "c", "name": "n", "model": "m"}),
            ("/chat/delete", {"id": "c"}),
            ("/chat/user/add", {"id": "c", "user_id": "u"}),
            ("/chat/user/remove", {"id": "c", "user_id": "u"}),
            ("/chat/prompt", {"id": "c", "prompt": "t", "context": 0, "otr": True, "stream": True}),
            ("/chat/stop", {"id": "c", "message_id": "m"}),
            ("/group/create", {"name": "n", "description": "d"}),
            ("/group/index", page),
            ("/group/read", {"id": "g", **page}),
            ("/group/update", {"id": "g", "name": "n", "description": "d", "owner_id": "o"}),
            ("/group/delete", {"id": "g"}),
            ("/group/members", {"id": "g", **page}),
            ("/group/members/add", {"id": "g", "user_ids": ["u"]}),
            ("/group/members/remove", {"id": "g", "user_ids": ["u"]}),
        ]


@pytest.mark.parametrize(
    ("call", "path", "name"),
    [
        ("chats.listAll({ limit: 3 })", "/chat/index", "chats"),
        ('chats.messagesAll("i", { limit: 3 })', "/chat/read", "messages"),
        ("groups.listAll({ limit: 3 })", "/group/index", "groups"),
        ('groups.membersAll("i", { limit: 3 })', "/group/members", "users"),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_all_pages_are_read_while_the_caller_deletes_what_it_gets(call, path, name, count):
    there = [str(number) for number in range(count)]

    def handle(exchange):
        if exchange.path == "/chat/delete":
            there.remove(exchange.fields["id"])
            exchange.answer(200, {})
            return
        assert exchange.path == path
        before = exchange.fields.get("before")
        if before is not None and before not in there:
            exchange.refuse(400, "invalid_request")
            return
        left = there[: there.index(before)] if before is not None else there
        page = left[-exchange.fields["limit"] :]
        exchange.answer(200, {name: [{"id": id} for id in page], "has_more": len(left) > len(page)})

    code = f"""
    const ids = [];
    for await (const {{ id }} of gpt.{call}) {{ ids.push(id); await gpt.chats.delete(id); }}
    print(ids);
    """
    with HostileServer(handle) as server:
        assert run(server.url, code) == [[str(number) for number in reversed(range(count))]]
    assert there == []


# The package


def test_the_package_has_the_version_of_the_product_and_types_for_every_method():
    package = json.loads((CLIENT / "package.json").read_text())
    product = (CHECKOUT / "Sources/ProxyGPT/Domain/Product.swift").read_text()
    assert package["version"] == re.search(r'version = "(.*)"', product)[1]
    assert package["name"] == "proxy-gpt" and "dependencies" not in package
    for path in [*package["files"], *package["exports"]["."].values()]:
        assert (CLIENT / path).is_file()
    code = """
    const methods = (object) => Object.getOwnPropertyNames(Object.getPrototypeOf(object)).slice(1);
    print({ Users: methods(gpt.users), Chats: methods(gpt.chats), Groups: methods(gpt.groups) });
    """
    (methods,) = run("http://localhost", code)
    types = (CLIENT / "proxy-gpt.d.ts").read_text()
    readme = (CLIENT / "README.md").read_text()
    for interface, names in methods.items():
        body = re.search(rf"export interface {interface} {{\n(.*?)\n}}", types, re.S)[1]
        assert set(re.findall(r"^  (\w+)\(", body, re.M)) == set(names)
        assert not [name for name in names if not re.search(rf"\b{name}\b", readme)]
    assert len(readme.splitlines()) <= 40
