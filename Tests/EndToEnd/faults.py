"""What clients see when PostgreSQL or Redis fails under load, as a table: `make faults`.

Each fault meets a stack of its own under calls, prompts and subscribers; what was answered is then
looked for in the database. `python3 Tests/EndToEnd/faults.py NAME…` makes some of them.
"""

import contextlib
import dataclasses
import itertools
import statistics
import sys
import threading
import time

import cluster
from client import call
from person import Person
from redis_server import Redis
from relay import CAN_CUT, Behind, Network, Relay
from sse import Stream
from stack import Stack, wait_for

CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}
SPOKEN = "mock?chunks=20&chunk-delay-ms=40"
# Seconds that a server stays away, or cannot be reached, and that load goes on before and after.
AWAY, CUT, CALM = 5, 12, 2
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
    """Calls of /v1, plain prompts and streamed prompts, each thread one after the other."""

    THREADS = {"v1": 6, "prompt": 2, "streamed": 2}

    def __init__(self, stack):
        self.stack, self.answers, self.resets = stack, [], 0
        self.told = {}
        self.problems = []
        self._over = threading.Event()
        self._person = Person(stack)
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
            self.stack.url, "POST", path, token=self._person.token, timeout=PATIENCE, **options
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

    def _prompt(self, name):
        chat = self._person.chat(model="mock")
        while not self._over.is_set():
            answer = self._ask("prompt", "/chat/prompt", form={"id": chat, "prompt": name})
            if answer.status == 200:
                self.told[answer.json["message"]["id"]] = answer.json["message"]

    def _streamed(self, name):
        chat = self._person.chat(model=SPOKEN)
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
                    self.stack.url, chat, self._person.token,
                    headers=[("Last-Event-ID", place[0])] if place else (),
                )  # fmt: skip
            except (OSError, AssertionError):
                self._over.wait(0.2)
                continue
            with stream:
                stream.read(
                    lambda stream: stream.ended or any(m["id"] == id for m in stream.ends), PATIENCE
                )
                self.resets += [event for event, _, _ in stream.events].count("reset")
                place[:] = [stream.last_id] if stream.last_id else place
                for message in stream.ends:
                    if message["id"] == id:
                        self.told[id] = message
                        return
        raise AssertionError(f"the end of {id} was never told")

    def lost(self):
        """What was told to a client and is not in the database as it was told."""
        server, name = self.stack.server, self.stack.database_name
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
        return calls + messages


@dataclasses.dataclass
class Report:
    """What a fault did to clients."""

    answers: list
    begun: float
    mended: float
    resets: int
    lost: list

    def __post_init__(self):
        self.during = [answer for answer in self.answers if answer.ended >= self.begun]

    def count(self, *statuses):
        return sum(answer.status in statuses for answer in self.during)

    @property
    def refused(self):
        return [answer.seconds for answer in self.during if answer.status == 503]

    @property
    def slowest(self):
        return max(answer.seconds for answer in self.during)

    @property
    def recovery(self):
        """From the moment the fault was mended to the last answer that was not a success."""
        late = [answer.ended - self.mended for answer in self.during if answer.status != 200]
        return max([0, *late])


@contextlib.contextmanager
def surroundings(network=None, is_behind=False):
    """A server, a Redis, and a stack that reaches them, perhaps by a relay."""
    with contextlib.ExitStack() as open_things:
        server = cluster.Cluster("fsync=on")
        open_things.callback(server.close)
        redis = open_things.enter_context(Redis())
        address, reached, relays = redis.address, server, []
        if network or is_behind:
            targets = (server.directory + "/.s.PGSQL.5432", redis.socket)
            relays = [open_things.enter_context(Relay(target, network)) for target in targets]
            reached = Behind(server, relays[0])
            address = f"redis://{relays[1].host}:{relays[1].port}"
        place = (reached, server.database("faults"))
        stack = Stack(database=place, settings={"REDIS_ADDRESS": address, "LOG_LEVEL": "info"})
        yield open_things.enter_context(stack), server, redis, relays


def measure(fault, network=None, is_behind=False):
    """Makes a fault under load; `fault` returns when it is over."""
    with surroundings(network, is_behind) as (stack, server, redis, relays):
        load = Load(stack)
        with load:
            _await_calls(load, CALM)
            begun = time.monotonic()
            fault(server, redis, relays)
            mended = time.monotonic()
            _await_calls(load, CALM)
        return Report(load.answers, begun, mended, load.resets, load.lost())


def _await_calls(load, seconds):
    """Until calls of each kind have succeeded for so long."""
    begun = time.monotonic()

    def goes_on():
        if load.problems:
            raise load.problems[0]
        now = time.monotonic()
        fine = {answer.what for answer in load.answers if answer.status == 200 and answer.ended > begun}
        return now - begun > seconds and fine == set(Load.THREADS)

    wait_for(goes_on, "calls to succeed again", PATIENCE)


def _away(stop, start, seconds=AWAY):
    stop()
    over = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > over, "the server's time away")
    start()


def _slow(relay):
    _away(lambda: relay.delay(2), lambda: relay.delay(0))


FAULTS = {
    "PostgreSQL restarted in good order": lambda s, r, _: s.command("restart fast"),
    "PostgreSQL crashed and restarted": lambda s, r, _: s.command("restart"),
    "PostgreSQL away for 5 s": lambda s, r, _: _away(
        lambda: s.command("stop"), lambda: s.command("start")
    ),
    "Redis killed, back after 5 s": lambda s, r, _: _away(r.kill, r.start),
    "Redis restarted empty": lambda s, r, _: (r.kill(), r.start()),
    "Redis wiped (FLUSHALL)": lambda s, r, _: r.ask("FLUSHALL"),
    "Redis slow, 2 s a command, for 5 s": lambda s, r, relays: _slow(relays[1]),
    f"network cut for {CUT} s": None,
}


def run(name):
    """One fault by its name; None where it is not permitted."""
    if FAULTS[name]:
        return measure(FAULTS[name], is_behind="slow" in name)
    if not CAN_CUT:
        return None
    with Network() as network:
        return measure(lambda *_: _away(network.cut, network.mend, CUT), network)


def main(names):
    heads = ("200", "503", "other", "slowest", "503 in", "fails after", "resets", "lost")
    print(f"{'fault':36}" + "".join(f"{head:>12}" for head in heads), flush=True)
    failed = False
    for name in names or FAULTS:
        report = run(name)
        if report is None:
            print(f"{name:36}  skipped: network namespaces are not permitted here")
            continue
        refused = statistics.median(report.refused) if report.refused else None
        failed = failed or bool(report.lost)
        columns = (
            report.count(200), report.count(503),
            sum(answer.status not in (200, 503) for answer in report.during),
            f"{report.slowest:.2f} s", f"{refused * 1000:.0f} ms" if refused else "",
            f"{report.recovery:.2f} s", report.resets, len(report.lost),
        )  # fmt: skip
        print(f"{name:36}" + "".join(f"{column:>12}" for column in columns), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
