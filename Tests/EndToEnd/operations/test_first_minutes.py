"""What a newcomer sees: help, settings that are wrong, and what the service runs with."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest
from processes import free_port
from stack import CHECKOUT, Stack, binary

PROGRAMS = [
    "proxy-gpt-worker",
    "proxy-gpt-streamer",
    "proxy-gpt-admin",
    "mock-upstream",
    "load-generator",
]


def run(*arguments, settings=None, **options):
    environment = {"PATH": os.environ["PATH"], **(settings or {})}
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_says_what_it_is(program):
    version = run(binary(program), "--version")
    assert version.returncode == 0 and program in version.stdout and not version.stderr
    told = run(binary(program), "--help")
    assert told.returncode == 0 and not told.stderr
    assert "Proxy GPT" in told.stdout and "usage" in told.stdout.lower(), told.stdout
    # No value in Swift's own form.
    for command in ("usage", "events") if program == "proxy-gpt-admin" else ():
        text = run(binary(program), command, "--help").stdout
        assert not re.search(r"\b[a-z]+[A-Z][A-Za-z]*\(", text), text


def test_a_worker_started_by_hand_says_what_it_wants():
    told = run(binary("proxy-gpt-worker"), stdin=subprocess.DEVNULL)
    assert told.returncode == 64
    assert told.stderr.count("\n") == 1 and "make run" in told.stderr


def test_a_bad_file_of_authorities_is_named_by_all_its_readers(tmp_path):
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    for file in (tmp_path / "absent.pem", damaged, tmp_path):
        settings = {
            "API_KEY": "k",
            "SSL_CERT_FILE": str(file),
            "STATE_DIRECTORY": str(tmp_path),
        }
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            for program in ("proxy-gpt-worker", "proxy-gpt-streamer"):
                told = run(binary(program), settings=settings, stdin=listener)
                assert told.returncode == 78
                assert f"SSL_CERT_FILE: {file} " in told.stderr, told
        (tmp_path / "socket").unlink()
        told = run(binary("proxy-gpt-admin"), "doctor", settings=settings)
        assert told.returncode == 1 and f"SSL_CERT_FILE: {file} " in told.stdout, told


def test_a_name_that_is_nearly_a_settings_is_told_at_the_start():
    settings = {"API_KEY": "k", "DB_ADRESS": "postgresql://u:secret-canary@h/d"}
    for command in (
        [binary("proxy-gpt-worker"), "--check"],
        [binary("proxy-gpt-admin"), "config", "--check"],
    ):
        told = run(*command, settings={**settings, "STATE_DIRECTORY": "/tmp"})
        assert told.returncode == 0
        assert "`DB_ADRESS` is no setting; DB_ADDRESS is probably meant." in told.stderr
        assert "canary" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:secret-canary@host.invalid/d",
        "postgresql://u:secret@canary@host.invalid/d",
        "postgresql://u:secret/canary@host.invalid/d",
        "postgresql://u:secret-canary@host.invalid:x/d",
        "postgresql://u:secret-canary@host.invalid/d?nonsense",
        "postgresql:///d?host=u:secret-canary@host.invalid",
        "postgres//u:secret-canary@host.invalid/d",
    ],
)
def test_no_password_of_an_address_is_told(address, tmp_path):
    settings = {"DB_ADDRESS": address, "STATE_DIRECTORY": str(tmp_path)}
    for command in ("list", "config", "doctor"):
        told = run(binary("proxy-gpt-admin"), command, settings=settings)
        # Whether an address is one, `config` knows; where it leads, the others find out.
        assert command == "config" or told.returncode == 1
        assert "canary" not in told.stdout + told.stderr, told


def make_run(**settings):
    command = [sys.executable, "Tests/EndToEnd/harness/stack.py", "run"]
    if "BIN_DIRECTORY" in os.environ:
        settings["BIN_DIRECTORY"] = os.environ["BIN_DIRECTORY"]
    return run(*command, settings=settings, cwd=CHECKOUT)


def test_make_run_refuses_what_cannot_be_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "state", "/proc/state"):
        told = make_run(STATE_DIRECTORY=str(directory), PORT=str(free_port()))
        assert told.returncode == 1 and told.stderr.count("\n") == 1, told
        assert str(directory) in told.stderr and "STATE_DIRECTORY=" in told.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = make_run(STATE_DIRECTORY=str(tmp_path / "state"), PORT=str(port))
        assert told.returncode == 1 and told.stderr.count("\n") == 1, told
        assert re.search(rf"port {port} is in use; .*: make run PORT=\d+", told.stderr), told
    told = make_run(STATE_DIRECTORY=str(tmp_path / "state"), PORT=str(free_port()), MAX_BODY="1X")
    assert told.returncode == 78 and "MAX_BODY" in told.stderr and "`1X`" in told.stderr


@pytest.fixture
def stack():
    with Stack(workers=1, nginx=False, settings={"PASSWORD_MIN": "5"}, database="sqlite") as stack:
        yield stack


def test_config_and_doctor_show_what_the_service_runs_with(stack):
    code, out, err = stack.admin("config", "--json", settings={"SIGNUP": "closed"})
    assert code == 0, err
    shown = {entry["name"]: (entry["value"], entry["origin"]) for entry in json.loads(out)["settings"]}
    assert shown["PASSWORD_MIN"] == ("5", "running") and shown["SIGNUP"][0] == "open"
    assert shown["API_URL"][0] == stack.upstream_url
    assert "canary" not in out + err
    code, out, err = stack.admin("doctor", "--json", settings={"SIGNUP": "closed"})
    texts = [check["text"] for check in json.loads(out)["checks"]]
    assert any("SIGNUP=open" in text for text in texts), texts
    assert any("other values" in text and "PASSWORD_MIN" in text for text in texts), texts
    # What does not run is no running service.
    stack.stop_worker(stack.workers[0])
    stack.stop_streamer()
    shown = json.loads(stack.admin("config", "--json")[1])["settings"]
    assert {"name": "PASSWORD_MIN", "value": "8", "is_secret": False, "origin": "default"} in shown


def test_doctor_finds_a_database_that_was_moved_away_while_it_is_served(stack):
    database = pathlib.Path(stack.database)
    assert stack.admin("doctor")[0] == 0
    moved = database.with_name("elsewhere.db")
    database.rename(moved)
    code, out, _ = stack.admin("doctor")
    assert code == 1 and f"serves {moved} and not {database}" in re.sub(r"\s+", " ", out), out
    # Another one in its place is no better.
    database.write_bytes(moved.read_bytes())
    code, out, _ = stack.admin("doctor")
    assert code == 1 and str(moved) in out, out
    database.unlink()
    moved.rename(database)
    assert stack.admin("doctor")[0] == 0
    for process in (*stack.workers, stack.streamer):
        process.send_signal(signal.SIGTERM)
