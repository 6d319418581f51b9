"""What clients see when PostgreSQL, Redis or a clock fails under load, as a table: `make faults`.

Each fault meets a stack of its own under calls, prompts and subscribers; what was answered is then
looked for in the database. `make faults ONLY=word` makes those with the word in the name.
"""

import contextlib
import dataclasses
import json
import statistics
import sys
import threading
import time

import paths  # noqa: F401  the folders beside this file

import cluster
from client import call
from fault_kinds import FAULTS
from fault_load import Load
from redis_server import Redis
from relay import CAN_CUT, Behind, Network, Relay
from stack import Stack

# Seconds that load goes on before and after.
CALM = 2


@dataclasses.dataclass
class Scene:
    """What a fault is made of. `survivor` is the server whose rows count afterwards."""

    stack: Stack
    server: cluster.Cluster
    redis: Redis
    relays: list
    network: Network
    load: Load
    survivor: cluster.Cluster
    watch: "Watch" = None
    # What else is lost, and what else is worth a line.
    lost: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)


class Watch:
    """Asks a stack for `/ready` all the time, and its `doctor` once, while a fault lasts."""

    def __init__(self, stack):
        self._over = threading.Event()
        self._stack, self._settings = stack, {}
        self.ready, self.doctor = [], []
        self._usual = self._findings()
        self._threads = []

    def begin(self):
        for work in (self._ask_ready, self._ask_doctor):
            self._threads.append(threading.Thread(target=work))
            self._threads[-1].start()

    def end(self):
        self._over.set()
        for thread in self._threads:
            thread.join(90)

    def move(self, stack, settings):
        """From now on it is this stack that is asked."""
        self._settings = settings
        self._stack, self.ready = stack, []
        self._note_doctor()

    def _ask_ready(self):
        while not self._over.wait(0.1):
            with contextlib.suppress(OSError):
                answer = call(self._stack.url, "GET", "/ready", timeout=30)
                said = "ready" if answer.status == 200 else answer.json["error"]["message"]
                self._note(f"{answer.status} {said}")

    def _note(self, said):
        if said not in self.ready:
            self.ready.append(said)

    def _ask_doctor(self):
        # A lock is there once those that were before it have gone.
        self._over.wait(0.5)
        self._note_doctor()

    def _note_doctor(self):
        found = self._findings().items()
        self.doctor += [said for check, said in found if check not in self._usual]

    def _findings(self):
        """What `doctor` finds wrong, by check."""
        settings = {"REDIS_ADDRESS": self._stack.redis_address, **self._settings}
        _, out, err = self._stack.admin("doctor", "--json", settings=settings, timeout=90)
        checks = json.loads(out)["checks"] if out else [{"check": "doctor", "result": "", "text": err}]
        return {
            f"{one['check']} {one['result']}": f"{one['check']}: {one['text'].strip()}"
            for one in checks
            if one["result"] != "ok"
        }


@dataclasses.dataclass
class Report:
    """What a fault did to clients."""

    answers: list
    begun: float
    mended: float
    resets: int
    lost: list
    ready: list
    doctor: list
    notes: list

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
def surroundings(fault):
    """A server, a Redis, and a stack that reaches them, perhaps by a relay."""
    with contextlib.ExitStack() as open_things:
        server = cluster.Cluster("fsync=on")
        open_things.callback(server.close)
        redis = open_things.enter_context(Redis())
        network = open_things.enter_context(Network()) if fault.needs_network else None
        address, reached, relays = redis.address, server, []
        if network or fault.is_behind:
            targets = (server.directory + "/.s.PGSQL.5432", redis.socket)
            relays = [open_things.enter_context(Relay(target, network)) for target in targets]
            reached = Behind(server, relays[0])
            address = f"redis://{relays[1].host}:{relays[1].port}"
        name, survivor = server.database("faults"), server
        if fault.has_standby:
            reached = cluster.Pair(server, is_synchronous=fault.is_synchronous)
            open_things.callback(reached.standby.close)
            survivor = reached.standby
        settings = {"REDIS_ADDRESS": address, "LOG_LEVEL": "info", **fault.settings}
        stack = Stack(database=(reached, name), settings=settings)
        stack.redis_address = address
        open_things.enter_context(stack)
        yield Scene(stack, server, redis, relays, network, Load(stack), survivor)


def measure(fault):
    """Makes a fault under load; it is over when its function returns."""
    with surroundings(fault) as scene:
        with scene.load, contextlib.ExitStack() as open_things:
            scene.watch = Watch(scene.stack)
            open_things.callback(scene.watch.end)
            scene.load.await_calls(CALM)
            begun = time.monotonic()
            scene.watch.begin()
            fault.make(scene)
            mended = time.monotonic()
            scene.watch.end()
            scene.load.await_calls(CALM)
        load = scene.load
        return Report(
            load.answers, begun, mended, load.resets, load.lost(scene.survivor) + scene.lost,
            scene.watch.ready, scene.watch.doctor, scene.notes,
        )  # fmt: skip


def main(words):
    heads = ("200", "503", "other", "slowest", "503 in", "fails after", "resets", "lost")
    print(f"{'fault':52}" + "".join(f"{head:>12}" for head in heads), flush=True)
    failed = False
    for fault in FAULTS:
        if words and not any(word in fault.name for word in words):
            continue
        if fault.needs_network and not CAN_CUT:
            print(f"{fault.name:52}  skipped: network namespaces are not permitted here")
            continue
        report = measure(fault)
        refused = statistics.median(report.refused) if report.refused else None
        failed = failed or bool(report.lost) and not fault.may_lose
        columns = (
            report.count(200), report.count(503),
            sum(answer.status not in (200, 503) for answer in report.during),
            f"{report.slowest:.2f} s", f"{refused * 1000:.0f} ms" if refused else "",
            f"{report.recovery:.2f} s", report.resets, len(report.lost),
        )  # fmt: skip
        print(f"{fault.name:52}" + "".join(f"{column:>12}" for column in columns))
        for name, lines in (("/ready", report.ready), ("doctor", report.doctor or ["nothing"])):
            print(f"    {name}: " + ("; ".join(lines) or "not asked in that time"))
        for note in report.notes:
            print(f"    {note}")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
