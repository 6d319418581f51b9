"""The faults of `faults.py`: each is a function that returns when it is over."""

import contextlib
import dataclasses
import subprocess
import threading
import time
from typing import Callable

from client import call
from false_clock import FalseClock
from sse import Stream
from stack import Stack, wait_for

# Seconds that something stays away or locked, that the network is cut, that VACUUM FULL takes.
AWAY, CUT, LONG = 5, 12, 30
# As PostgresSchema.swift has it.
LOCK_OF_MIGRATIONS = 0x5047_5054_4D49_4752


@dataclasses.dataclass
class Fault:
    name: str
    make: Callable
    needs_network: bool = False
    is_behind: bool = False
    has_standby: bool = False
    is_synchronous: bool = False
    may_lose: bool = False
    settings: dict = dataclasses.field(default_factory=dict)


def for_a_while(stop, start, seconds=AWAY):
    stop()
    wait(seconds)
    start()


def wait(seconds):
    over = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > over, "the fault's time")


@contextlib.contextmanager
def beside(*work):
    """Does something in a thread of its own meanwhile, and waits for its end."""
    thread = threading.Thread(target=work[0], args=work[1:])
    thread.start()
    try:
        yield
    finally:
        thread.join(120)


# Locks


def hold(scene, statement, seconds=AWAY):
    """A stranger at a prompt begins a transaction and forgets it for a while."""
    scene.server.run(
        f"BEGIN; {statement}; SELECT pg_sleep({seconds}); COMMIT", scene.stack.database_name
    )


def lock_a_chat(scene):
    chat = scene.load.prompted["prompt"][0]
    hold(scene, f"SELECT id FROM chats WHERE id = '{chat}' FOR UPDATE")


def lock_a_counter(scene):
    hold(scene, "SELECT name FROM counters WHERE name = 'chats' FOR UPDATE")


def lock_a_table(scene):
    hold(scene, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")


def vacuum_in_full(scene):
    """The command itself: while somebody reads the table's TOAST, it keeps its lock and waits."""
    server, name = scene.server, scene.stack.database_name
    toast = server.run("SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'events'", name)
    with beside(hold, scene, f"SELECT count(*) FROM {toast}", LONG):
        held = f"SELECT 1 FROM pg_locks WHERE granted AND relation = to_regclass('{toast}')"
        wait_for(lambda: server.run(held, name), "somebody to read it")
        begun = time.monotonic()
        server.run("VACUUM FULL events", name)
        scene.notes.append(f"VACUUM FULL took {time.monotonic() - begun:.1f} s")


# Starts while a stranger holds the lock of migrations


@contextlib.contextmanager
def advisory_lock(scene, name):
    """Held for a while; given back when the block ends, if that is later."""
    server = scene.server
    lock = f"SELECT pg_advisory_lock({LOCK_OF_MIGRATIONS}); SELECT pg_sleep({AWAY})"
    with beside(server.run, lock, name):
        held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
        wait_for(lambda: server.run(held, name), "the lock")
        yield


def start_a_worker(scene):
    with advisory_lock(scene, scene.stack.database_name):
        begun = time.monotonic()
        worker = scene.stack.start_worker()
        scene.notes.append(f"a worker started in {time.monotonic() - begun:.2f} s")
        scene.stack.stop_worker(worker)


def start_a_migration(scene):
    name = scene.server.database("empty")
    with advisory_lock(scene, name):
        begun = time.monotonic()
        with Stack(workers=1, streamer=False, database=(scene.server, name)) as other:
            took = time.monotonic() - begun
            said = "migration waits for a lock" in other.worker_log(0)
            status = call(other.url, "GET", "/ready").status
    scene.notes.append(
        f"a new installation started in {took:.2f} s, "
        f"{'naming' if said else 'WITHOUT naming'} whom it waited for; /ready then: {status}"
    )


# A standby


def promote_fenced(scene):
    scene.server.command("stop")
    scene.survivor.run("SELECT pg_promote()")


def promote_unfenced(scene):
    """Both are primaries for a while, until the connections to the old one break."""
    scene.survivor.run("SELECT pg_promote()")
    wait(AWAY)
    scene.server.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'gptio'"
    )


# Redis


def spoil_keys(scene):
    redis = scene.redis
    keys = [word.decode() for word in redis.ask("KEYS", "proxy-gpt:*").split(b"\r\n") if b":" in word]
    for key in keys:
        is_text = redis.ask("TYPE", key) == b"+string\r\n"
        redis.ask("DEL", key)
        redis.ask(*(("RPUSH", key, "x") if is_text else ("SET", key, "x")))
    scene.notes.append(f"{len(keys)} keys")


def share_with_a_copy(scene):
    """A copy of the database, as docs/operate.md has it made, prompts in the same chats."""
    server, stack, person = scene.server, scene.stack, scene.load.person
    name, chat = server.database("copy"), scene.load.prompted["streamed"][0]
    server.run(f"ALTER DATABASE {name} OWNER TO gptio")
    dump = ["pg_dump", "-h", server.directory, "-U", "postgres", "-d", stack.database_name]
    server.run(subprocess.run(dump, capture_output=True, text=True, check=True).stdout, name)
    server.run("DELETE FROM installation; DELETE FROM processes", name)
    settings = {"REDIS_ADDRESS": stack.redis_address}
    with Stack(workers=1, database=(server, name), settings=settings) as copy:
        twin, here = person.at(copy), set()
        with Stream(stack.url, chat, person.token).begin() as seen:
            sent = [twin.prompt(chat, "in the copy", stream=True)["id"] for _ in range(3)]
            wait(AWAY)
            seen.read(lambda stream: len({one["message"]["id"] for one in stream.frames}) > 2, 10)
            here.update(frame["message"]["id"] for frame in seen.frames)
    crossed = here.intersection(sent)
    scene.lost += [f"the copy's {id}" for id in crossed]
    scene.notes.append(f"{len(here)} messages seen here, {len(crossed)} of them the copy's")


# Clocks


def off_by(seconds):
    """A second host, whose clock is off, over the same database."""

    def make(scene):
        count = "SELECT (SELECT COUNT(*) FROM sessions) AS s, (SELECT COUNT(*) FROM event_bodies) AS b"
        server, name = scene.server, scene.stack.database_name
        (before,) = server.rows(name, count)
        with FalseClock() as clock:
            clock.set(seconds)
            settings = {"REDIS_ADDRESS": scene.stack.redis_address, **clock.settings}
            with Stack(workers=1, database=(server, name), settings=settings) as other:
                other.redis_address = scene.stack.redis_address
                scene.watch.move(other, settings)
                wait(AWAY + 3)
        (after,) = server.rows(name, count)
        if after["s"] < before["s"] or after["b"] < before["b"]:
            scene.lost.append(f"sessions and bodies: {before} before, {after} after")

    return make


FAULTS = [
    Fault("PostgreSQL restarted in good order", lambda scene: scene.server.command("restart fast")),
    Fault("PostgreSQL crashed and restarted", lambda scene: scene.server.command("restart")),
    Fault(
        "PostgreSQL away for 5 s",
        lambda scene: for_a_while(
            lambda: scene.server.command("stop"), lambda: scene.server.command("start")
        ),
    ),
    Fault("A row of `chats` locked for 5 s", lock_a_chat),
    Fault("A row of `counters` locked for 5 s", lock_a_counter),
    Fault("The table `messages` locked for 5 s", lock_a_table),
    Fault("VACUUM FULL of `events`, 30 s", vacuum_in_full),
    Fault("Advisory lock of a stranger, nothing to migrate", start_a_worker),
    Fault("Advisory lock of a stranger, all to migrate", start_a_migration),
    Fault("Standby promoted, primary stopped before", promote_fenced, has_standby=True, may_lose=True),
    Fault("The same, synchronous", promote_fenced, has_standby=True, is_synchronous=True),
    Fault("Standby promoted, primary goes on", promote_unfenced, has_standby=True, may_lose=True),
    Fault("Redis killed, back after 5 s", lambda scene: for_a_while(scene.redis.kill, scene.redis.start)),
    Fault("Redis restarted empty", lambda scene: (scene.redis.kill(), scene.redis.start())),
    Fault("Redis wiped (FLUSHALL)", lambda scene: scene.redis.ask("FLUSHALL")),
    Fault(
        "Redis slow, 2 s a command, for 5 s",
        lambda scene: for_a_while(
            lambda: scene.relays[1].delay(2), lambda: scene.relays[1].delay(0)
        ),
        is_behind=True,
    ),
    Fault("Redis with keys of wrong types", spoil_keys),
    Fault("Redis shared with a copy of the database", share_with_a_copy),
    Fault("A second host's clock 40 days ahead", off_by(40 * 86_400)),
    Fault("A second host's clock 2 hours behind", off_by(-7200)),
    Fault(
        f"network cut for {CUT} s",
        lambda scene: for_a_while(scene.network.cut, scene.network.mend, CUT),
        needs_network=True,
    ),
]
