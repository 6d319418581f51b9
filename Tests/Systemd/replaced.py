"""Restarts, upgrades and reloads: nobody notices, whatever is in them."""

import os
import pathlib
import signal
import subprocess

from client import call
from machine import (
    ENVIRONMENT,
    PACKAGES,
    STATE,
    STREAMER,
    TWO_WORKERS,
    URL,
    is_served,
    main_pids,
    pid,
    restart_is_over,
    run,
    settings,
    show,
    stop_everything,
    token,
    workers,
)
from stack import wait_for
from traffic import Audience, Callers, streams, under_load


def restart():
    before = main_pids() | {pid(STREAMER)}
    run("proxy-gpt-restart")
    wait_for(lambda: workers() == TWO_WORKERS, "two workers", 60)
    assert not before & (main_pids() | {pid(STREAMER)})


def install(package):
    before = main_pids()
    run("dpkg", "-i", package)
    wait_for(restart_is_over, "the end of the restart", 90)
    assert not main_pids() & before
    assert "SIGNUP=open" in ENVIRONMENT.read_text()


def a_rolling_restart_under_load_loses_nothing():
    return under_load(restart)


def an_upgrade_under_load_loses_nothing():
    return under_load(lambda: install(PACKAGES[1]))


def an_upgrade_from_a_bell_in_the_state_directory_loses_nothing():
    """Where older releases had it; systemd gives up the socket when its unit names another place."""
    unit = pathlib.Path("/run/systemd/system/proxy-gpt-bell.socket.d/older.conf")
    unit.parent.mkdir()
    unit.write_text(f"[Socket]\nListenDatagram=\nListenDatagram={STATE}/bell.sock\n")
    try:
        stop_everything()
        run("systemctl", "daemon-reload")
        run("systemctl", "start", "proxy-gpt.target")
        assert (STATE / "bell.sock").is_socket()
    finally:
        unit.unlink()
        unit.parent.rmdir()
    said = under_load(lambda: install(PACKAGES[0]))
    # Until the next start the streamer has one of its own there, and is not woken late.
    assert (STATE / "bell.sock").owner() == "proxy-gpt"
    Audience("mock?chunks=20&chunk-delay-ms=20").check()
    stop_everything()
    (STATE / "bell.sock").unlink(missing_ok=True)
    run("systemctl", "start", "proxy-gpt.target")
    assert is_served() and not (STATE / "bell.sock").exists()
    return said


def two_more_restarts_under_load_lose_nothing():
    return "; ".join(under_load(restart) for _ in range(2))


def a_downgrade_and_another_upgrade_under_load_lose_nothing():
    return "; ".join(under_load(lambda package=package: install(package)) for package in PACKAGES)


def a_second_restart_waits_its_turn():
    long = streams("mock?chunks=75&chunk-delay-ms=200")
    with Callers(4) as callers:
        first = subprocess.Popen(["proxy-gpt-restart"])
        wait_for(lambda: len(workers()) == 4, "the stand-ins")
        between = main_pids()
        said = run("proxy-gpt-restart", fails=True)
        assert "another restart is under way" in said, said
        assert first.wait(0) == 0, "the second did not wait for the first"
        # Settings changed after the first had begun are read by the second.
        wait_for(restart_is_over, "the end of both", 60)
        assert not between & main_pids()
    for stream in long:
        stream.check()
    assert callers.failures == [], callers.seen
    assert callers.check()


def reloads_during_a_restart_become_one_more():
    long = streams("mock?chunks=75&chunk-delay-ms=200")
    with settings("LOG_LEVEL=notice\n"):
        run("systemctl", "reload", "proxy-gpt-worker@1")
        wait_for(lambda: len(workers()) == 4, "the stand-ins")
        between = main_pids()
        for unit in ("proxy-gpt-worker@2", STREAMER, "proxy-gpt-worker@2"):
            run("systemctl", "reload", unit)
        said = run("proxy-gpt-restart", "--no-wait", fails=True)
        assert "in the background" in said, said
        for stream in long:
            stream.check()
        wait_for(lambda: restart_is_over() and not between & main_pids(), "the second restart", 60)
    restart()
    assert is_served()


def a_bad_setting_stops_nobody_and_is_named():
    before = main_pids()
    with settings("MAX_BODY=much\n"):
        said = run("proxy-gpt-restart", fails=True)
        assert "MAX_BODY" in said, said
        reload = run("systemctl", "reload", "proxy-gpt-worker@1", fails=True)
        assert "failed" in reload, reload
        run("journalctl", "--sync")
        assert "MAX_BODY" in run("journalctl", "-u", "proxy-gpt-worker@1", "-o", "cat", "-n", "9")
        assert main_pids() == before
    run("systemctl", "reload", "proxy-gpt-worker@1")
    wait_for(lambda: not main_pids() & before and restart_is_over(), "a restart by reload", 60)


def a_name_that_is_no_setting_stops_the_start_and_is_named():
    before, worker = main_pids(), "proxy-gpt-worker@7"
    bad = "DB_ADRESS=postgresql://nobody:secret-in-no-log@h/d\n"
    with settings(bad):
        said = run("proxy-gpt-restart", fails=True)
        assert "DB_ADRESS" in said and "DB_ADDRESS is probably meant" in said, said
        assert "secret-in-no-log" not in said
        assert main_pids() == before
        assert "DB_ADDRESS" in run("proxy-gpt-admin", "config", "--check", fails=True)
        assert "failed" in run("systemctl", "start", worker, fails=True)
        check_stopped_by_settings(worker, restarts=0)
    run("systemctl", "reset-failed", worker)
    # A crash is followed by one restart, which the settings stop.
    run("systemctl", "start", worker)
    with settings(bad):
        os.kill(pid(worker), signal.SIGKILL)
        wait_for(lambda: show(worker, "ActiveState") == "failed", "the end of the worker", 60)
        check_stopped_by_settings(worker, restarts=1)
    run("systemctl", "reset-failed", worker)
    run("proxy-gpt-admin", "config", "--check")
    # Its sockets would start it again and again for this test.
    assert show(STREAMER, "RestartPreventExitStatus") == "78"


def check_stopped_by_settings(unit, restarts):
    """The unit has failed by its settings, with no restart to come, and its status says which one is wrong."""
    assert show(unit, "ActiveState") == "failed"
    assert show(unit, "ExecMainStatus") == "78"
    assert show(unit, "NRestarts") == str(restarts)
    run("journalctl", "--sync")
    status = run("systemctl", "status", "--no-pager", "--full", unit, fails=True)
    lines = [line for line in status.splitlines() if "DB_ADDRESS is probably meant" in line]
    assert len(lines) == 1 and "secret-in-no-log" not in status, status


def a_bad_program_stops_nobody():
    path, before = pathlib.Path("/usr/libexec/proxy-gpt/proxy-gpt-worker"), main_pids()
    kept = path.with_name("kept")
    path.rename(kept)
    path.write_text("#!/bin/sh\n[ \"$1\" = --check ] || { echo this is no worker; exit 1; }\n")
    path.chmod(0o755)
    try:
        said = run("proxy-gpt-restart", fails=True)
    finally:
        kept.rename(path)
    assert "this is no worker" in said, said
    assert main_pids() == before
    # It was given the sockets that all share, and they are still such that nobody waits in accept.
    for one in before:
        for descriptor in (3, 4):
            text = pathlib.Path(f"/proc/{one}/fdinfo/{descriptor}").read_text()
            assert int(text.split("flags:")[1].split()[0], 8) & os.O_NONBLOCK, text
    assert call(URL, "GET", "/v1/models", token=token()).status == 200
