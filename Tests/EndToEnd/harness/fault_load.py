"""What clients do while a fault is made, and what became of it: for `faults.py`."""

import contextlib
import dataclasses
import itertools
import threading
import time

from client import call
from person import Person
from sse import Stream
from stack import wait_for

CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}
SPOKEN = "mock?chunks=20&chunk-delay-ms=40"
# What takes longer than this hangs.
PATIENCE = 30


@dataclasses.dataclass
class Answer:
    what: str
    begun: float
    ended: float
    status: int
    id: str

    @property
    def seconds(self):
        return self.ended - self.begun


class Load:
    """Calls of /v1, new chats, plain prompts and streamed prompts, each thread one after the other."""

    THREADS = {"v1": 6, "create": 1, "prompt": 2, "streamed": 2}

    def __init__(self, stack):
        self.stack, self.answers, self.resets = stack, [], 0
        self.told, self.chats, self.gone = {}, [], []
        self.problems = []
        self._over = threading.Event()
        self.person = Person(stack)
        # Those that are prompted in, by the kind of prompt.
        self.prompted = {"prompt": [], "streamed": []}
        self._threads = []

    def __enter__(self):
        for kind, count in self.THREADS.items():
            for number in range(count):
                work = getattr(self, "_" + kind)
                self._threads.append(
                    threading.Thread(target=self._guarded, args=(work, f"{kind}-{number}"))
                )
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
        if self.problems:
            raise self.problems[0]

    def _guarded(self, work, name):
        try:
            work(name)
        except Exception as problem:
            self.problems.append(problem)

    def _ask(self, kind, path, id="", **options):
        begun = time.monotonic()
        answer = call(
            self.stack.url, "POST", path, token=self.person.token, timeout=PATIENCE, **options
        )
        self.answers.append(Answer(kind, begun, time.monotonic(), answer.status, id))
        if answer.status != 200:
            # As a client does that was told to come back.
            self._over.wait(0.05)
        return answer

    def _v1(self, name):
        for number in itertools.count():
            if self._over.is_set():
                return
            id = f"{name}-{number}"
            self._ask("v1", "/v1/chat/completions", id, json=CHAT, headers={"X-Request-Id": id})

    def _create(self, name):
        while not self._over.is_set():
            answer = self._ask("create", "/chat/create", form={"name": name})
            if answer.status == 200:
                self.chats.append(answer.json["id"])
                self._over.wait(0.02)

    def _prompt(self, name):
        chat = self.person.chat(model="mock")
        self.prompted["prompt"].append(chat)
        while not self._over.is_set():
            answer = self._ask("prompt", "/chat/prompt", form={"id": chat, "prompt": name})
            if answer.status == 200:
                self.told[answer.json["message"]["id"]] = answer.json["message"]

    def _streamed(self, name):
        chat = self.person.chat(model=SPOKEN)
        self.prompted["streamed"].append(chat)
        place = []
        while not self._over.is_set():
            form = {"id": chat, "prompt": name, "stream": "true"}
            answer = self._ask("streamed", "/chat/prompt", form=form)
            if answer.status != 200:
                continue
            id = answer.json["message"]["id"]
            self._follow(chat, id, place)

    def _follow(self, chat, id, place):
        """Watches a message to its end, coming back as often as the stream ends."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                stream = Stream(
                    self.stack.url, chat, self.person.token,
                    headers=[("Last-Event-ID", place[0])] if place else (),
                )  # fmt: skip
            except (OSError, AssertionError):
                self._over.wait(0.2)
                continue
            with stream:
                with contextlib.suppress(AssertionError):
                    stream.read(
                        lambda stream: stream.ended or any(m["id"] == id for m in stream.ends), 10
                    )
                self.resets += [event for event, _, _ in stream.events].count("reset")
                place[:] = [stream.last_id] if stream.last_id else place
                for message in stream.ends:
                    if message["id"] == id:
                        self.told[id] = message
                        return
            if self._is_gone(chat, id):
                self.gone.append(id)
                return
        raise AssertionError(f"the end of {id} was never told")

    def lost(self, server):
        """What was told to a client and is not in the server's database as it was told."""
        name = self.stack.database_name
        ends = {
            row["request_id"]: row["end"]
            for row in server.rows(name, "SELECT request_id, \"end\" FROM events WHERE type = 'forward'")
        }
        stored = {
            row["id"]: (row["state"], row["reply"])
            for row in server.rows(name, "SELECT id, state, reply FROM messages")
        }
        calls = [
            answer.id
            for answer in self.answers
            if answer.what == "v1" and answer.status == 200 and ends.get(answer.id) != "done"
        ]
        messages = [
            id
            for id, message in self.told.items()
            if stored.get(id) != (message["state"], message["reply"])
        ]
        there = {row["id"] for row in server.rows(name, "SELECT id FROM chats")}
        return calls + messages + self.gone + [id for id in self.chats if id not in there]

    def _is_gone(self, chat, id):
        """Whether the chat is read, and does not have the message."""
        with contextlib.suppress(OSError):
            answer = call(self.stack.url, "GET", f"/chat/read?id={chat}", token=self.person.token)
            return answer.status == 200 and id not in str(answer.json["messages"])
        return False

    def await_calls(self, seconds):
        """Until calls of each kind have succeeded for so long."""
        begun = time.monotonic()

        def goes_on():
            if self.problems:
                raise self.problems[0]
            now = time.monotonic()
            fine = {
                answer.what
                for answer in self.answers
                if answer.status == 200 and answer.ended > begun
            }
            return now - begun > seconds and fine == set(self.THREADS)

        wait_for(goes_on, "calls to succeed again", PATIENCE)
