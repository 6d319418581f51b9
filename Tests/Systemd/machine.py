"""The booted Debian as its operator has it: commands, units, files, the database, and what callers see."""

import contextlib
import glob
import json
import os
import pathlib
import sqlite3
import subprocess
import time
import traceback

from client import call
from stack import wait_for

URL = "http://127.0.0.1:8080"
KEY = "sk-systemd-5f1c9a7be2d84c06"
PASSWORD = "bazbar12-not-in-any-log"
MOCK = "http://127.0.0.1:9090"
# In the order of their versions.
PACKAGES = sorted(glob.glob("/packages/*.deb"))
ENVIRONMENT = pathlib.Path("/etc/proxy-gpt/environment")
STATE = pathlib.Path("/var/lib/proxy-gpt")
BACKUPS = pathlib.Path("/var/backups/proxy-gpt")
STREAMER = "proxy-gpt-streamer.service"
SOCKETS = [f"proxy-gpt-{name}.socket" for name in ("worker", "handover", "streamer", "bell")]


def run(*command, fails=False, binary=False, input=None):
    done = subprocess.run(command, capture_output=True, text=not binary, input=input)
    if not fails and done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode} {done.stdout}{done.stderr}")
    return done.stdout + done.stderr if fails else done.stdout


def shell(script):
    """A command as it stands in the documents; a failure in the middle is one."""
    return run("bash", "-euo", "pipefail", "-c", script)


def show(unit, name):
    return run("systemctl", "show", "-P", name, unit).strip()


def workers():
    lines = run(
        "systemctl", "list-units", "--plain", "--no-legend", "--state=active",
        "proxy-gpt-worker@*.service",
    )  # fmt: skip
    return [line.split()[0] for line in lines.splitlines()]


TWO_WORKERS = [f"proxy-gpt-worker@{n}.service" for n in (1, 2)]


def pid(unit):
    return int(show(unit, "MainPID"))


def main_pids():
    return {pid(unit) for unit in workers()}


def runs(unit, instead_of=None):
    return pid(unit) not in (0, instead_of) and show(unit, "SubState") == "running"


def restarts(units):
    return sum(int(show(unit, "NRestarts")) for unit in units)


def restart_is_over():
    units = run("systemctl", "list-units", "--plain", "--no-legend", "proxy-gpt-restart*")
    return not units.strip() and workers() == TWO_WORKERS


# Callers

TOKEN = []


def token():
    if not TOKEN:
        form = {"username": "asim", "password": PASSWORD}
        TOKEN.append(call(URL, "POST", "/user/signup", form=form).json["token"])
    return TOKEN[0]


def post(path, **fields):
    return call(URL, "POST", path, json=fields, token=token())


def is_served():
    return call(URL, "GET", "/v1/models", token=token()).status == 200


def rows(statement, *values):
    """The rows of a SELECT on the live database, read by the same library as the services'."""
    with contextlib.closing(sqlite3.connect(f"file:{STATE}/proxy.db?mode=ro", uri=True)) as database:
        return database.execute(statement, values).fetchall()


def journal(*arguments):
    text = run("journalctl", "--no-pager", "-o", "json", *arguments)
    return [json.loads(line) for line in text.splitlines()]


# Units under other conditions


@contextlib.contextmanager
def services_with(text, *units):
    """The services with more in their [Service] sections, restarted before and after."""
    paths = [pathlib.Path(f"/run/systemd/system/{unit}.service.d/test.conf") for unit in units]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"[Service]\n{text}\n")
    run("systemctl", "daemon-reload")
    run("proxy-gpt-restart")
    wait_for(restart_is_over, "the end of the restart", 60)
    try:
        yield
    finally:
        for path in paths:
            path.unlink()
        run("systemctl", "daemon-reload")
        run("proxy-gpt-restart")
        wait_for(restart_is_over, "the end of the restart", 60)


def stop_everything():
    run("systemctl", "stop", "proxy-gpt.target", *SOCKETS)
    wait_for(lambda: not workers(), "the end of the workers", 60)
    # systemd counts starts, and checks start more often in a row than it likes.
    run("systemctl", "reset-failed")


@contextlib.contextmanager
def settings(text):
    """The environment file with more lines, which a restart reads."""
    good = ENVIRONMENT.read_text()
    ENVIRONMENT.write_text(good + text)
    try:
        yield
    finally:
        ENVIRONMENT.write_text(good)


# Checks


class Results:
    failed = 0


def step(body):
    start = time.monotonic()
    try:
        said = body() or ""
    except Exception:
        Results.failed += 1
        print(f"FAILED {body.__name__}", flush=True)
        traceback.print_exc()
        print(run("journalctl", "--no-pager", "-n", "40", "-o", "cat", fails=True), flush=True)
        # So that the next ones can show what they are for.
        run("systemctl", "start", "proxy-gpt.target", fails=True)
        return
    name = body.__name__.replace("_", " ")
    print(f"passed {name} ({time.monotonic() - start:.1f} s) {said}", flush=True)


def nginx_workers():
    main = show("nginx", "MainPID")
    found = pathlib.Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return {int(one) for one in found if os.path.exists(f"/proc/{one}")}
