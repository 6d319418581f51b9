"""Measures streams: the time and the cost of frames on their way to subscribers.

Parts of `make bench`; run by bench.py. Latencies are from the moment that stands in a word, which
the mock writes as it sends it, to the reading by the subscriber: the worker's reading, the commit
to the bus, the bell and the streamer are all in it.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse

from client import call, connect
from front import nginx_binary
from processes import Processes, free_port
from stack import Stack, binary, wait_for

ROUNDS = int(os.environ.get("ROUNDS", "3"))
# All subscribers are one user's at one address.
SETTINGS = {"MAX_STREAMS": 20_000, "MAX_STREAMS_PER_USER": 10_000, "MAX_REPLIES_PER_USER": 100}
NCHAN_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


class Subscribers:
    """The load generator with so many open streams; leaving the block ends them."""

    def __init__(self, urls, token=None, count=1, over="events", unix=None, stalled=0):
        command = [binary("load-generator"), "--subscribe", over, "--connections", str(count)]
        command += ["--stalled", str(stalled), "--header", "Accept: text/event-stream"]
        command += ["--header", f"Authorization: Bearer {token}"] if token else []
        command += ["--unix", unix] if unix else []
        for url in urls:
            command += ["--url", url]
        self._command, self._count, self._stalled = [*command, "--seconds", "120"], count, stalled

    def __enter__(self):
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        opened = json.loads(self.process.stdout.readline() or "{}")
        if opened.get("open") != self._count:
            self.process.kill()
            raise SystemExit(f"of {self._count} streams these came: {opened}")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)

    def report(self):
        """Ends the streams when the last frame has reached all: what they received."""
        time.sleep(1)
        self.process.stdin.close()
        report = json.loads(self.process.stdout.readline())
        self.process.wait(30)
        # One that reads nothing is sent away in the end.
        if report["lost"] > self._stalled:
            raise SystemExit(f"streams were lost: {report}")
        return report


class Talk:
    """A chat of one user whose replies are words that say when they were sent."""

    def __init__(self, stack, chunks, delay_ms, word_bytes=17):
        self.stack, self.seconds = stack, chunks * delay_ms / 1000
        self.token, _ = stack.signup()
        more = chunks * (word_bytes - 17)
        model = f"mock?marks&chunks={chunks}&chunk-delay-ms={delay_ms}&bytes={more}"
        form = {"model": model}
        self.chat = call(stack.url, "POST", "/chat/create", token=self.token, form=form).json["id"]

    @property
    def url(self):
        return f"{self.stack.url}/chat/stream?id={self.chat}"

    def reply(self):
        """Starts a reply and waits for its end."""
        form = {"id": self.chat, "prompt": "go on", "stream": "true"}
        answer = call(self.stack.url, "POST", "/chat/prompt", token=self.token, form=form)
        if answer.status != 200:
            raise SystemExit(f"/chat/prompt: {answer}")
        time.sleep(self.seconds)
        path = f"/chat/read?id={self.chat}&limit=1"

        def ended():
            message = call(self.stack.url, "GET", path, token=self.token).json["messages"][-1]
            return message["state"] == "done"

        wait_for(ended, "the reply's end")

    def subscribers(self, road, count=1, **more):
        """Streams through nginx, or on the streamer's own socket."""
        unix = self.stack.streamer_socket if road == "streamer" else None
        return Subscribers([self.url], self.token, count, unix=unix, **more)


def cpu_seconds(processes):
    """User and system time of processes with all their threads and children of nginx."""
    total = 0
    for pid in processes:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def nginx_workers(master):
    children = pathlib.Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def memory(pids):
    """PSS in KiB, from smaps_rollup."""
    total = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def figures(report):
    names = ("p50", "p90", "p99", "max")
    return " ".join(f"{name} {report['latency_us'][name] / 1000:6.2f} ms" for name in names)


# The parts


def delivery(heading, words=250, gap_ms=40):
    heading(
        "From the upstream's write to the subscriber's socket over SQLite,"
        f" {words} words {gap_ms} ms apart"
    )
    with Stack(workers=2, settings=SETTINGS) as stack:
        talk = Talk(stack, words, gap_ms)
        roads = {"streamer": [], "nginx": []}
        for _ in range(ROUNDS):
            for road, reports in roads.items():
                with talk.subscribers(road) as subscribers:
                    talk.reply()
                    reports.append(subscribers.report())
        for road, reports in roads.items():
            for report in reports:
                print(f"{road:8}: {report['deliveries']} of {words} words, {figures(report)}")


def bus(heading, words=400, gap_ms=10, tries=5):
    heading(f"A reply of {words} words {gap_ms} ms apart, on the bus and without it")
    with Stack(workers=1, settings=SETTINGS) as stack:
        talk = Talk(stack, words, gap_ms)
        connection = connect(stack.url, timeout=60)

        def row_seconds(stream):
            form = urllib.parse.urlencode(
                {"id": talk.chat, "prompt": "go on", "context": 0, "stream": stream}
            )
            headers = {
                "Authorization": f"Bearer {talk.token}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            connection.request("POST", "/chat/prompt", form, headers)
            message = json.loads(connection.getresponse().read())["message"]
            path = f"/chat/read?id={talk.chat}&limit=1"

            def ended():
                connection.request("GET", path, headers={"Authorization": headers["Authorization"]})
                [read] = json.loads(connection.getresponse().read())["messages"]
                return read["id"] == message["id"] and read["state"] == "done" and read

            read = wait_for(ended, "the reply's end", cap=60)
            return instant(read["updated_at"]) - instant(read["created_at"])

        times = {"true": [], "false": []}
        with talk.subscribers("streamer"):
            for _ in range(tries):
                for stream, seconds in times.items():
                    seconds.append(row_seconds(stream))
        on, off = (statistics.median(times[stream]) for stream in ("true", "false"))
        print(
            f"from the message's row to its end, medians of {tries}: on the bus {on:.3f} s,"
            f" without {off:.3f} s: {(on / off - 1) * 100:+.2f} %"
        )


def instant(text):
    import datetime

    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def idle(heading, count=5000, chats=250):
    for over in ("events", "websocket"):
        heading(f"{count} idle subscribers of {chats} chats: {over}")
        with Stack(workers=1, settings=SETTINGS) as stack:
            token, _ = stack.signup()
            urls = []
            for _ in range(chats):
                answer = call(stack.url, "POST", "/chat/create", token=token, form={})
                urls.append(f"{stack.url}/chat/stream?id={answer.json['id']}")
            with Subscribers(urls[:10], token, 100, over):
                pass
            streamer, nginx = [stack.streamer.pid], nginx_workers(stack.nginx)
            before = memory(streamer), memory(nginx)
            with Subscribers(urls, token, count, over):
                # Past the first keep-alive of all.
                time.sleep(28)
                after = memory(streamer), memory(nginx)
                print(
                    f"streamer {before[0] / 1024:.1f} MiB before,"
                    f" {after[0] / 1024:.1f} MiB with them:"
                    f" {(after[0] - before[0]) / count:.2f} KiB each;"
                    f" nginx {(after[1] - before[1]) / count:.2f} KiB each (PSS)"
                )


class Nchan:
    """Another nginx, with Nchan: one channel that is published to and subscribed."""

    def __init__(self, workers):
        self.directory = tempfile.TemporaryDirectory(prefix="proxy-gpt-nchan-")
        self.processes = Processes(self.directory.name)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        root = pathlib.Path(self.directory.name)
        user = "user root root;" if os.geteuid() == 0 else ""
        root.joinpath("nginx.conf").write_text(f"""\
load_module {NCHAN_MODULE};
{user}
daemon off;
worker_processes {workers};
worker_rlimit_nofile 16384;
pid {root}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    nchan_shared_memory_size 128M;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        tcp_nodelay on;
        location = /publish {{ nchan_publisher; nchan_channel_id one; }}
        location = /subscribe {{ nchan_subscriber eventsource; nchan_channel_id one; }}
    }}
}}
""")
        arguments = ["-p", str(root), "-c", f"{root}/nginx.conf", "-e", f"{root}/error.log"]
        self.master = self.processes.start([nginx_binary(), *arguments], "nginx with Nchan")

        def accepts():
            with contextlib.suppress(OSError):
                return call(self.url, "GET", "/publish").status

        wait_for(accepts, "Nchan")

    def close(self):
        self.processes.end(self.master)
        self.processes.close()
        self.directory.cleanup()

    def talk(self, words, gap_ms):
        """Publishes what a chat's subscribers get, with the moment of the publishing."""
        connection = connect(self.url)
        due = time.monotonic()
        for number in range(words):
            due += gap_ms / 1000
            time.sleep(max(0, due - time.monotonic()))
            mark = f" @{time.time_ns() // 1000:016}"
            connection.request("POST", "/publish", FRAME.replace("REPLY", mark))
            connection.getresponse().read()


# As long as a frame of the streamer.
FRAME = json.dumps(
    {
        "message": {
            "id": "01a20d81-ec5b-7144-8cde-8ae94849f462",
            "chat_id": "01a20d81-ec5b-7144-8cde-8ae94849f463",
            "user_id": "01a20d81-ec5b-7144-8cde-8ae94849f464",
            "prompt": "go on",
            "reply": "REPLY",
            "state": "streaming",
        },
        "partial": True,
    },
    separators=(",", ":"),
)


def fanout(heading, count=3000, words=200, gap_ms=50):
    heading(f"{count} subscribers of one chat, {1000 // gap_ms} frames a second, beside Nchan")
    if not NCHAN_MODULE.exists():
        raise SystemExit("Nchan is not installed: apt-get install libnginx-mod-nchan")
    with Stack(workers=1, settings=SETTINGS) as stack:
        talk = Talk(stack, words, gap_ms)
        nchan = Nchan(1)

        def ours(road):
            with talk.subscribers(road, count) as subscribers:
                streamer, nginx = [stack.streamer.pid], nginx_workers(stack.nginx)
                before = cpu_seconds(streamer), cpu_seconds(nginx)
                talk.reply()
                spent = cpu_seconds(streamer) - before[0], cpu_seconds(nginx) - before[1]
                report = subscribers.report()
            report["cpu"] = [spent[0], spent[1] if road == "nginx" else 0]
            return report

        def theirs():
            url = nchan.url + "/subscribe"
            with Subscribers([url], None, count) as subscribers:
                workers = nginx_workers(nchan.master)
                before = cpu_seconds(workers)
                nchan.talk(words, gap_ms)
                spent = cpu_seconds(workers) - before
                report = subscribers.report()
            report["cpu"] = [spent, 0]
            return report

        sides = {
            "streamer": lambda: ours("streamer"),
            "Nchan": theirs,
            "nginx": lambda: ours("nginx"),
        }
        names = {
            "streamer": "the streamer's own socket",
            "nginx": "through nginx",
            "Nchan": "Nchan",
        }
        results = {name: [] for name in sides}
        try:
            for _ in range(ROUNDS):
                for name, run in sides.items():
                    results[name].append(run())
        finally:
            nchan.close()
        medians = {}
        for name, reports in results.items():
            for report in reports:
                if report["deliveries"] < count * words * 0.999:
                    print(f"{name}: only {report['deliveries']} of {count * words} words arrived")
            p50, p99 = (
                statistics.median(report["latency_us"][q] for report in reports) / 1000
                for q in ("p50", "p99")
            )
            cpu = [
                1e6 * statistics.median(each["cpu"][i] / each["deliveries"] for each in reports)
                for i in (0, 1)
            ]
            medians[name] = p50, p99, sum(cpu)
            more = f" + {cpu[1]:.1f} of nginx" if name == "nginx" else ""
            print(
                f"{names[name]:26}: p50 {p50:6.1f} ms, p99 {p99:6.1f} ms,"
                f" CPU per delivery {cpu[0]:.1f} µs{more}"
            )
        for name in ("streamer", "nginx"):
            ratios = [ours / theirs for ours, theirs in zip(medians[name], medians["Nchan"])]
            text = "    {} beside Nchan: p50 {:.2f}, p99 {:.2f}, CPU {:.2f}"
            print(text.format(names[name], *ratios))


def stalled(heading, count=1000, words=200, gap_ms=100):
    heading(f"One of {count} subscribers reads nothing, words of 3 KiB: the others")
    with Stack(workers=1, settings=SETTINGS) as stack:
        # More than its socket and its queue take.
        talk = Talk(stack, words, gap_ms, word_bytes=3072)
        results = {0: [], 1: []}
        for _ in range(ROUNDS):
            for number, reports in results.items():
                with talk.subscribers("streamer", count, stalled=number) as subscribers:
                    talk.reply()
                    reports.append(subscribers.report())
        for number, reports in results.items():
            name = "one reads nothing" if number else "all read"
            p50, p90, p99 = (
                statistics.median(report["latency_us"][q] for report in reports) / 1000
                for q in ("p50", "p90", "p99")
            )
            print(f"{name:18}: p50 {p50:5.1f} ms, p90 {p90:5.1f} ms, p99 {p99:5.1f} ms")
