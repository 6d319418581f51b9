"""Measures the product beside nginx's own proxy_pass to the same upstream, in one run.

The machines this runs on are noisy, so rounds of both alternate and the ratio of their medians is
what counts. Everything stays on the loopback interface and is bounded in count and time.

`make bench` runs all parts; `python3 Benchmarks/bench.py PART…` runs some of them.
"""

import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Tests/EndToEnd/harness"))

import paths  # noqa: E402, F401

import chats  # noqa: E402
import databases  # noqa: E402
import growth  # noqa: E402
import hosts  # noqa: E402
import logins  # noqa: E402
import retention  # noqa: E402
import rows  # noqa: E402
import strangers  # noqa: E402
import streams  # noqa: E402
import turns  # noqa: E402
from front import nginx_binary  # noqa: E402
from processes import Processes, free_port  # noqa: E402
from stack import Stack, binary, wait_for  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = 3
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "Tell me about Spain."}]}


class Baseline:
    """nginx with proxy_pass and kept connections to the same upstream, and nothing else."""

    def __init__(self, upstream):
        self.directory = tempfile.TemporaryDirectory(prefix="proxy-gpt-baseline-")
        self.processes = Processes(self.directory.name)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        root = pathlib.Path(self.directory.name)
        user = "user root root;" if os.geteuid() == 0 else ""
        root.joinpath("nginx.conf").write_text(f"""\
{user}
daemon off;
worker_processes auto;
pid {root}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    upstream mock {{
        server {urllib.parse.urlsplit(upstream).netloc};
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
""")
        arguments = ["-p", str(root), "-c", f"{root}/nginx.conf", "-e", f"{root}/error.log"]
        self.nginx = self.processes.start([nginx_binary(), *arguments], "baseline nginx")

        def accepts():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                return False

        wait_for(accepts, "the baseline's nginx")

    def close(self):
        self.processes.end(self.nginx)
        self.processes.close()
        self.directory.cleanup()


def load(url, token, body=CHAT, connections=16, seconds=None, requests=None, stream=False, more=()):
    """One run of the load generator: its JSON."""
    command = [binary("load-generator"), "--url", url, "--method", "POST"]
    command += ["--connections", str(connections), "--body", json.dumps(body)]
    command += ["--header", "Content-Type: application/json"]
    command += ["--header", f"Authorization: Bearer {token}"]
    command += ["--seconds", str(seconds)] if seconds else ["--requests", str(requests)]
    command += ["--stream"] if stream else []
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=180)
    if done.returncode != 0:
        raise SystemExit(f"load-generator: {done.stderr}{done.stdout}")
    result = json.loads(done.stdout)
    if any(result["errors"].values()):
        raise SystemExit(f"the load met errors: {result['errors']} at {url}")
    return result


def alternate(sides, run, rounds=ROUNDS):
    """Runs each side in turn, `rounds` times: the results by side."""
    results = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(run(side))
    return results


def median(results, *path):
    def value(result):
        for key in path:
            result = result[key]
        return result

    return statistics.median(value(result) for result in results)


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def proportional_set_size(process):
    """PSS in KiB, from smaps_rollup."""
    for line in open(f"/proc/{process.pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise SystemExit("no Pss in smaps_rollup")


def threads(process):
    return len(os.listdir(f"/proc/{process.pid}/task"))


def disk_sync():
    """What one durable write costs here: fdatasync of 4 KiB over an existing file, in µs."""
    with tempfile.NamedTemporaryFile(dir=os.environ.get("TMPDIR")) as file:
        os.posix_fallocate(file.fileno(), 0, 4096 * 400)
        os.fsync(file.fileno())
        times = []
        for index in range(400):
            os.pwrite(file.fileno(), bytes(4096), 4096 * index)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - start) * 1e6)
    times.sort()
    print(f"the disk's own fdatasync of 4 KiB: p50 {times[200]:.0f} µs, p99 {times[395]:.0f} µs")


# The parts


def unary(stack, baseline, token):
    heading("Unary /v1/chat/completions: session check and durable event row on")
    disk_sync()
    sides = {"proxy_pass": baseline.url, "product": stack.url}
    for connections in (16, 64):
        results = alternate(
            sides,
            lambda url: load(
                url + "/v1/chat/completions", token, connections=connections, seconds=SECONDS
            ),
        )
        for name, runs in results.items():
            print(
                f"{connections:3} connections, {name:10}: {median(runs, 'rps'):8.0f}/s"
                f"   p50 {median(runs, 'last_byte_us', 'p50'):6.0f} µs"
                f"   p99 {median(runs, 'last_byte_us', 'p99'):6.0f} µs"
            )
        ours, theirs = results["product"], results["proxy_pass"]
        ratio = median(ours, "rps") / median(theirs, "rps")
        p50 = median(ours, "last_byte_us", "p50") - median(theirs, "last_byte_us", "p50")
        p99 = median(ours, "last_byte_us", "p99") - median(theirs, "last_byte_us", "p99")
        print(f"    ratio {ratio:.2f}, added p50 {p50:.0f} µs, p99 {p99:.0f} µs")


def stream(stack, baseline, token):
    heading("Streamed chat: 32 calls at once, 20 pieces 10 ms apart")
    body = dict(CHAT, model="mock?chunks=20&chunk-delay-ms=10", stream=True)
    sides = {"proxy_pass": baseline.url, "product": stack.url}
    results = alternate(
        sides,
        lambda url: load(
            url + "/v1/chat/completions", token, body, connections=32, requests=320, stream=True
        ),
        rounds=3,
    )
    for name, runs in results.items():
        print(
            f"{name:10}: first byte p50 {median(runs, 'first_byte_us', 'p50'):6.0f} µs"
            f"   p99 {median(runs, 'first_byte_us', 'p99'):6.0f} µs"
            f"   gap between pieces p50 {median(runs, 'gap_us', 'p50'):6.0f} µs"
            f"   p99 {median(runs, 'gap_us', 'p99'):6.0f} µs"
        )
    ours, theirs = results["product"], results["proxy_pass"]
    for what, key in (("to the first byte", "first_byte_us"), ("per piece", "gap_us")):
        p50 = median(ours, key, "p50") - median(theirs, key, "p50")
        p99 = median(ours, key, "p99") - median(theirs, key, "p99")
        print(f"    added {what}: p50 {p50:.0f} µs, p99 {p99:.0f} µs")


def held():
    heading("1,000 streamed calls at once in one worker, 2 KiB of request each")
    filler = {"role": "system", "content": "x" * 1900}
    body = dict(CHAT, model="mock?chunks=60&chunk-delay-ms=200", stream=True)
    body["messages"] = [filler, *CHAT["messages"]]
    probe = dict(CHAT, stream=True)
    with Stack(workers=1, settings={"MAX_IN_FLIGHT": 1200}) as stack:
        token, _ = stack.signup()
        url = stack.url + "/v1/chat/completions"
        worker = stack.workers[0]

        def first_byte(in_flight):
            run = threading.Thread(
                target=lambda: results.append(
                    load(url, token, body, in_flight, requests=in_flight, stream=True)
                )
            )
            results = []
            run.start()
            stack.mock(f"/mock/wait?in-flight={in_flight}")
            seen = {"memory": proportional_set_size(worker), "threads": threads(worker)}
            probes = load(url, token, probe, 1, requests=30, stream=True)
            seen["first_byte"] = probes["first_byte_us"]["p50"]
            run.join()
            seen["complete"], seen["max"] = results[0]["complete"], results[0]["max_in_flight"]
            return seen

        load(url, token, probe, 4, requests=200, stream=True)
        idle = proportional_set_size(worker)
        few, many = first_byte(10), first_byte(1000)
    print(f"the load generator had {many['max']} calls open at once; {many['complete']} complete")
    print(
        f"memory (PSS): idle {idle / 1024:.1f} MiB, with 1,000 {many['memory'] / 1024:.1f} MiB:"
        f" {(many['memory'] - idle) / 1024:.1f} MiB more; threads: {many['threads']}"
    )
    print(
        f"first byte of a new call: {few['first_byte']:.0f} µs with 10 in flight,"
        f" {many['first_byte']:.0f} µs with 1,000: ratio {many['first_byte'] / few['first_byte']:.1f}"
    )


def cancellation(tries=200):
    heading(f"From the client's disconnect to the upstream's: {tries} tries in each phase")
    phases = {
        "before the head": ("head-delay-ms=60000", 0),
        "before the first piece": ("chunk-delay-ms=60000", 1),
        "in mid-stream": ("chunk-delay-ms=10&chunks=100000", 3),
    }
    with Stack(workers=1) as stack:
        token, _ = stack.signup()
        address = urllib.parse.urlsplit(stack.url)
        for phase, (behaviour, pieces) in phases.items():
            delays = []
            for _ in range(tries):
                stack.mock_delete("/mock/calls")
                body = json.dumps(dict(CHAT, model="mock?" + behaviour, stream=True))
                client = socket.create_connection((address.hostname, address.port))
                client.sendall(
                    f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
                    f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                stack.mock("/mock/wait?in-flight=1")
                for _ in range(pieces):
                    client.recv(65536)
                left = time.time() * 1000
                client.close()
                stack.mock("/mock/wait?in-flight=0")
                call = stack.mock("/mock/calls")[-1]
                if call["end"] != "peer_closed":
                    raise SystemExit(f"{phase}: the upstream saw {call['end']}")
                delays.append(call["ended_ms"] - left)
            delays.sort()
            print(
                f"{phase:23}: p50 {delays[tries // 2]:5.1f} ms"
                f"   p99 {delays[tries * 99 // 100]:5.1f} ms   most {delays[-1]:5.1f} ms"
            )


def restarts(count=30, least=300_000):
    heading(f"{count} workers restarted one after another under load")
    with Stack(workers=2) as stack:
        token, _ = stack.signup()
        url = stack.url + "/v1/chat/completions"
        totals = {"requests": 0}
        done = threading.Event()

        def run():
            while not done.is_set() or totals["requests"] < least:
                result = load(url, token, connections=32, seconds=5)
                totals["requests"] += result["requests"]

        failures = []

        def guarded():
            try:
                run()
            except SystemExit as error:
                failures.append(str(error))

        thread = threading.Thread(target=guarded)
        thread.start()
        for index in range(count):
            stack.restart_worker(index % 2)
        done.set()
        thread.join()
    print(f"{totals['requests']} requests, failed: {len(failures)} {failures or ''}")


PARTS = (
    "unary", "stream", "held", "cancellation", "restarts", "chats", "history",
    "delivery", "bus", "idle", "fanout", "stalled", "databases", "hosts",
    "disk", "logins", "retention", "turns", "rows",
)
# Of hours and gigabytes: only where it is named.
LARGE_PARTS = ("growth",)


def main(names):
    all_parts = PARTS + LARGE_PARTS
    unknown = set(names) - set(all_parts)
    if unknown:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(all_parts)}")
    names = names or PARTS
    if {"unary", "stream"} & set(names):
        # Without a key the upstream serves both sides alike.
        with Stack(workers=2, key=None, mock_args=["--no-record"]) as stack:
            token, _ = stack.signup()
            baseline = Baseline(stack.mock_url)
            try:
                if "unary" in names:
                    unary(stack, baseline, token)
                if "stream" in names:
                    stream(stack, baseline, token)
            finally:
                baseline.close()
    if "held" in names:
        held()
    if "cancellation" in names:
        cancellation()
    if "restarts" in names:
        restarts()
    if "chats" in names:
        chats.rates(load, heading)
    if "history" in names:
        chats.history(heading)
    if "databases" in names:
        databases.beside(load, heading)
    if "hosts" in names:
        hosts.beside(load, heading)
    parts = {"disk": strangers, "logins": logins, "retention": retention, "rows": rows, "growth": growth}
    for name, part in parts.items():
        if name in names:
            getattr(part, name)(heading)
    if "turns" in names:
        turns.measure(heading)
    for name in ("delivery", "bus", "idle", "fanout", "stalled"):
        if name in names:
            getattr(streams, name)(heading)


if __name__ == "__main__":
    main(sys.argv[1:])
