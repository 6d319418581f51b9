"""What calls and commands cost in a large installation beside one of its thousandth part.

    make growth       (SCALE=1, DATABASE=sqlite or postgresql or both, ROUNDS=5, ONLY=words, EXPLAIN=milliseconds,
                       QUANTILE=0.5)

Two stacks stand side by side and are asked in turns, call by call. The whole size is 100,000 users, 5 M messages,
3 M events, and people with 20,000 and with 100,000 chats; SCALE=0.05 is a twentieth. Commands that read everything by
their nature are marked and show their time and the most memory they took instead of a ratio. PostgreSQL runs without
fsync, which would only hide differences. With EXPLAIN=10 it leaves the plans of what took over 10 ms in a file.
Ends with 1 where an endpoint's ratio of medians is over 2; on a busy machine QUANTILE=0.1 compares the quicker calls,
and the processor time, which stands beside (of the worker and of PostgreSQL for it), tells more.
"""

import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse

import database
import growth_data
from client import connect, send
from cluster import Cluster
from growth_calls import COMMANDS, DELETIONS, PEOPLE, backup_of, calls
from stack import Stack

SCALE = float(os.environ.get("SCALE", "1"))
SMALL = 0.001
ROUNDS = int(os.environ.get("ROUNDS", "5"))
ONLY = os.environ.get("ONLY", "").split(",")
WARM_UP = 8
QUANTILE = float(os.environ.get("QUANTILE", "0.5"))
EXPLAIN = os.environ.get("EXPLAIN", "")
DATABASES = os.environ.get("DATABASE", "sqlite,postgresql").split(",")
LIMIT = 2
FORM = "application/x-www-form-urlencoded"


def growth(heading):
    # What was made is removed when this is interrupted, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    heading(f"an installation of {describe(SCALE)} beside one of {describe(SMALL)}")
    # Where state directories are, and the servers of Tests/postgres-cluster.
    for directory in {tempfile.gettempdir()} | ({"/tmp"} if "postgresql" in DATABASES else set()):
        growth_data.demand_room(directory, SCALE + SMALL)
    over = [f"{name}, {line}" for name in DATABASES for line in measure_database(name, heading)]
    if over:
        raise SystemExit("ratios over 2:\n  " + "\n  ".join(over))


def describe(scale):
    count = growth_data.sizes(scale)
    return (
        f"{count['users']:,} users, {count['messages']:,} messages, {count['events']:,} events,"
        f" {count['some']:,} and {count['many']:,} chats of one user"
    )


def measure_database(name, heading):
    """Fills, measures and removes; the lines of those that grew."""
    with contextlib.ExitStack() as held:
        server = None
        if name == "postgresql":
            server = Cluster(*settings_of_server())
            held.callback(server.close)
        made = [prepare(scale, server, held) for scale in (SMALL, SCALE)]
        sides = [Side(held.enter_context(Stack(workers=1, **place)), world, found) for place, world, found in made]
        over = compare_calls(name, sides, heading)
        compare_commands(name, sides, heading)
        watch_deletions(name, sides, heading)
        if server and EXPLAIN:
            kept = os.path.join(tempfile.gettempdir(), "growth-plans.log")
            shutil.copy(server.directory + "/server.log", kept)
            print(f"\nplans of what took over {EXPLAIN} ms: {kept}")
        return over


def settings_of_server():
    settings = ["shared_buffers=256MB", "max_wal_size=1GB", "wal_level=minimal", "max_wal_senders=0"]
    settings += ["maintenance_work_mem=256MB"]
    if EXPLAIN:
        settings += ["session_preload_libraries=auto_explain", "auto_explain.log_analyze=on"]
        settings += [f"auto_explain.log_min_duration={EXPLAIN}"]
    return settings


def prepare(scale, server, held):
    """A state directory with a database that is filled, and what the API has made in it."""
    directory = held.enter_context(tempfile.TemporaryDirectory(prefix="proxy-gpt-growth-"))
    place = {"state_directory": directory, "database": "sqlite"}
    if server:
        place["database"] = (server, server.database(directory))
    with Stack(workers=1, **place) as stack:
        accounts = {name: stack.signup(name) for name in PEOPLE}
        found = {"tokens": {name: token for name, (token, _) in accounts.items()}}
        found["ids"] = {name: user["id"] for name, (_, user) in accounts.items()}
        side = Side(stack, None, found)
        found["groups"] = {
            "many": side.post("lead", "/group/create", name="many")["id"],
            "some": side.post("lead20", "/group/create", name="some")["id"],
        }
        for group, owner, member in (("many", "lead", "member"), ("some", "lead20", "member20")):
            side.post(owner, "/group/members/add", id=found["groups"][group], user_ids=member)
        found["long"] = side.post("writer", "/chat/create", name="long")["id"]
        found["short"] = side.post("writer", "/chat/create", name="short")["id"]
        for _ in range(5):
            side.post("writer", "/chat/prompt", id=found["short"], prompt="Tell me about Spain.")
        found["few"] = [side.post("stranger", "/chat/create")["id"] for _ in range(20)]
        database.stop_workers(stack)
        stack.stop_streamer()
        world = growth_data.World(scale, found["ids"], found["groups"], server is not None)
        began = time.monotonic()
        took = growth_data.fill(world, stack, found["long"])
        parts = ", ".join(f"{label} {seconds:.0f} s" for label, seconds in took.items() if seconds >= 1)
        print(f"filled in {time.monotonic() - began:.0f} s, {size(stack) / 1e9:.2f} GB ({parts})", flush=True)
    return place, world, found


def size(stack):
    """Bytes of the database."""
    if stack.server:
        return int(stack.server.run(f"SELECT pg_database_size('{stack.database_name}')"))
    return os.path.getsize(stack.database)


class Side:
    """One of the two stacks, with its people on kept connections."""

    def __init__(self, stack, world, found):
        self.stack, self.world, self.url = stack, world, stack.url
        self.ids, self.groups = found["ids"], found.get("groups")
        self.long, self.short, self.few = found.get("long"), found.get("short"), found.get("few")
        self.tokens, self.count = found["tokens"], 0
        self._connections = {}

    def number(self):
        self.count += 1
        return self.count

    def send(self, person, path, body=None, headers=(), method="POST", token=None, expected=200):
        """One request; the answer's body. `person` may be None."""
        connection, used = self._connections.get(person, (None, 0))
        # nginx closes what is idle for a minute.
        if connection is None or time.monotonic() - used > 20:
            connection = connect(self.url, timeout=120)
        self._connections[person] = connection, time.monotonic()
        token = token or self.tokens.get(person)
        try:
            send(connection, method, path, body, headers, token)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            del self._connections[person]
            raise
        if response.status != expected:
            raise SystemExit(f"{path} of {person}: {response.status} {text[:300]!r}")
        return text

    def post(self, person, path, expected=200, headers=(), token=None, **form):
        """One request with a form; the answer."""
        body = urllib.parse.urlencode(form, doseq=True).encode()
        text = self.send(person, path, body, [("Content-Type", FORM), *headers], token=token, expected=expected)
        return json.loads(text)

    def get(self, person, path, expected=200):
        return self.send(person, path, method="GET", expected=expected)

    def command(self, *arguments):
        return run_command(self.stack, arguments)


# What is measured


def is_wanted(label):
    return any(word in label for word in ONLY)


def compare_calls(name, sides, heading):
    heading(f"{name}: endpoints, milliseconds")
    part = f"p{QUANTILE * 100:g}"
    print(
        f"{'':62} {'small ' + part:>9} {'p99':>7} {'large ' + part:>9} {'p99':>7}  ratio   processor time"
    )
    over = []
    for call in calls():
        if not is_wanted(call.name):
            continue
        times, spent = compare(call, sides)
        small, large = (share(one, QUANTILE) for one in times)
        ratio = large / small
        texts = (f"{share(one, QUANTILE):9.2f} {share(one, 0.99):7.1f}" for one in times)
        used = [max(0.01, share(one, QUANTILE)) for one in spent]
        print(
            f"{call.name:62} {' '.join(texts)}  {ratio:5.2f}   {used[0]:6.2f} {used[1]:6.2f} {used[1] / used[0]:5.2f}"
            + ("  walks" if call.walks else "  over" if ratio > LIMIT else ""),
            flush=True,
        )
        over += [f"{call.name}: {ratio:.2f}"] if ratio > LIMIT and not call.walks else []
    return over


def compare(call, sides):
    """Milliseconds of each call on both sides, and of processor time for it."""
    times, spent = [[], []], [[], []]
    # Statements are planned anew a few times before a plan is kept. Where a password is hashed nobody sees it.
    warm_up = WARM_UP if call.count > WARM_UP else 0
    for index in range(warm_up + ROUNDS * call.count):
        for which in (0, 1) if index % 2 else (1, 0):
            side = sides[which]
            given = call.prepare(side) if call.prepare else None
            used, began = processor_time(side.stack), time.perf_counter()
            call.act(side, given)
            took = (time.perf_counter() - began) * 1000
            used = processor_time(side.stack) - used
            if call.finish:
                call.finish(side, given)
            if index >= warm_up:
                times[which].append(took)
                spent[which].append(used)
    return times, spent


def processor_time(stack):
    """Milliseconds that the worker's threads have run, and the server's processes for this database."""
    processes = [stack.workers[0].pid]
    if stack.server:
        with open(f"{stack.server.directory}/data/postmaster.pid") as file:
            server = file.readline().strip()
        with open(f"/proc/{server}/task/{server}/children") as file:
            processes += [child for child in file.read().split() if serves(child, stack.database_name)]
    total = 0
    for process in processes:
        for path in glob.glob(f"/proc/{process}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path) as file:
                total += int(file.read().split()[0])
    return total / 1e6


def serves(process, name):
    with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline") as file:
        return f" {name} " in file.read()
    return False


def share(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def compare_commands(name, sides, heading):
    heading(f"{name}: commands, milliseconds and the most memory of the process")
    print(f"{'':52} {'small':>8} {'large':>9}  ratio   memory, small and large")
    for label, words, walks in COMMANDS:
        if not is_wanted(label):
            continue
        times, memory = [[], []], [0, 0]
        for _ in range(1 if walks else min(ROUNDS, 3)):
            for which, side in enumerate(sides):
                arguments = words(side) if callable(words) else words
                if arguments is None:
                    continue
                took, most = run_command(side.stack, arguments)
                times[which].append(took)
                memory[which] = max(memory[which], most)
        if not times[0]:
            continue
        small, large = (statistics.median(one) for one in times)
        ratio = "walks all" if walks else f"{large / small:9.2f}"
        print(f"{label:52} {small:8.0f} {large:9.0f}  {ratio}   {memory[0]:.0f} and {memory[1]:.0f} MiB", flush=True)
    for side in sides:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(backup_of(side))


def run_command(stack, arguments):
    """Milliseconds, and MiB at most."""
    began = time.perf_counter()
    process = stack.start_admin(*arguments)
    errors, memory = [], [0]
    readers = [threading.Thread(target=lambda: errors.append(process.stderr.read()))]
    readers.append(threading.Thread(target=lambda: watch_memory(process, memory)))
    for reader in readers:
        reader.start()
    while process.stdout.read(1 << 20):
        pass
    code = process.wait()
    took = (time.perf_counter() - began) * 1000
    for reader in readers:
        reader.join()
    for pipe in (process.stdout, process.stderr):
        pipe.close()
    # A warning of doctor's is no failure of ours.
    if code != 0 and arguments[0] != "doctor":
        raise SystemExit(f"{' '.join(arguments)}: {code} {errors[0][:500]!r}")
    return took, memory[0]


def watch_memory(process, memory):
    """The most that the process has had, up to the last moments; what wait4(2) says is the parent's as well."""
    with contextlib.suppress(OSError, IndexError):
        while process.poll() is None:
            with open(f"/proc/{process.pid}/status") as file:
                memory[0] = int(file.read().split("VmHWM:")[1].split()[0]) / 1024
            time.sleep(0.005)


def watch_deletions(name, sides, heading, before=3, after=8):
    heading(f"{name}: what is deleted, once, and what somebody else's writes wait meanwhile, milliseconds")
    print(f"{'':62} {'small':>8} {'large':>8}   longest write before and beside it: small, large")
    for label, act in DELETIONS:
        if not is_wanted(label):
            continue
        results = [beside(side, act, before, after) for side in sides]
        own = " ".join(f"{took:8.1f}" for took, _, _ in results)
        others = ", ".join(f"{alone:.1f} and {busy:.1f}" for _, alone, busy in results)
        print(f"{label:62} {own}   {others}", flush=True)


def beside(side, act, before, after):
    """How long `act` took, and the longest write before and after its beginning."""
    times, stop = [], threading.Event()

    def write():
        while not stop.is_set():
            began = time.perf_counter()
            side.post("bystander", "/chat/create")
            times.append((began, (time.perf_counter() - began) * 1000))
            time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        time.sleep(before)
        began = time.perf_counter()
        act(side)
        took = (time.perf_counter() - began) * 1000
        time.sleep(after)
    finally:
        stop.set()
        thread.join()
    alone = max(wait for start, wait in times if start + wait / 1000 < began)
    busy = max(wait for start, wait in times if start + wait / 1000 >= began)
    return took, alone, busy
