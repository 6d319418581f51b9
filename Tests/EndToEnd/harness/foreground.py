"""`make run`: the stack in the foreground, until Ctrl-C.

Takes all settings from the environment, starts the mock upstream when they name no real one,
and starts a new worker or streamer where one has died.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from front import CHECKOUT
from processes import StackError, await_end, ending, is_free
from stack import Stack, binary

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INVALID_SETTINGS = 78
PROGRAMS = ("proxy-gpt-worker", "proxy-gpt-streamer")
# Slow enough for an eye to see that the mock's words come one by one.
MILLISECONDS_A_WORD = 30


class Stop(Exception):
    """A signal asks for the end."""


def main(arguments):
    """Serves until a signal; the exit code."""
    if arguments != ["run"]:
        print("usage: stack.py run", file=sys.stderr)
        return 64
    for number in SIGNALS:
        signal.signal(number, stop)
    stack = None
    try:
        environment = dict(os.environ)
        port = number_from(environment, "PORT", "8080", 1, 65535)
        workers = number_from(environment, "WORKERS", "2", 1, 64)
        # The specification's examples have passwords of three and six letters.
        environment.setdefault("PASSWORD_MIN", "3")
        state = os.path.abspath(environment.get("STATE_DIRECTORY") or CHECKOUT / ".state")
        prepare(state)
        refuse_second_service(state, port)
        if not is_free(port):
            line = f"make run PORT={free_port_above(port)}"
            raise StackError(f"port {port} is in use; choose another one: {line}")
        mock = not environment.get("API_KEY") and not environment.get("API_URL")
        check_settings(environment, mock)
        stack = Stack(
            workers=workers,
            mock=mock,
            mock_args=("--chunk-delay-ms", str(MILLISECONDS_A_WORD)),
            key=None,
            port=port,
            environment=environment,
            state_directory=state,
            shows_requests=sys.stdout.isatty(),
            streamer=True,
        )
        stack.start()
        greet(stack, port)
        keep_up(stack)
    except Stop:
        say("stopping")
        return 0
    except StackError as error:
        print(f"proxy-gpt: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        ignore_signals()
        if stack:
            stack.stop()


def stop(*_):
    # Once only: a second signal must not break into the stopping.
    ignore_signals()
    raise Stop


def ignore_signals():
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def say(text):
    print(text, flush=True)


def number_from(environment, name, default, least, most):
    text = environment.get(name) or default
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        message = f"{name} must be a number from {least} to {most}, not `{text}`"
        raise StackError(message, INVALID_SETTINGS)
    return int(text)


def prepare(directory):
    """Makes the state directory; an error in one sentence where it cannot be made or written."""
    elsewhere = "choose another one: make run STATE_DIRECTORY=/tmp/proxy-gpt"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        text = f"the state directory {directory} cannot be made ({error.strerror}); {elsewhere}"
        raise StackError(text) from None
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        text = f"the state directory {directory} cannot be written ({error.strerror}); {elsewhere}"
        raise StackError(text) from None


def refuse_second_service(directory, port):
    """An error where processes of ours serve the state directory already."""
    for entry in pathlib.Path("/proc").iterdir():
        # It may end at any time, or be somebody else's.
        with contextlib.suppress(OSError):
            if not entry.name.isdecimal():
                continue
            program = os.path.basename(os.fsdecode(read(entry / "cmdline")[0]))
            if program not in PROGRAMS:
                continue
            named = dict(item.partition(b"=")[::2] for item in read(entry / "environ"))
            served = os.fsdecode(named.get(b"STATE_DIRECTORY", b"") or b".")
            if os.path.samefile(entry / "cwd" / served, directory):
                line = f"make run PORT={free_port_above(port)} STATE_DIRECTORY={directory}-2"
                raise StackError(
                    f"the state directory {directory} is in use by {program}, process "
                    f"{entry.name}; for a second service: {line}"
                )


def read(path):
    return path.read_bytes().split(b"\0")


def free_port_above(port):
    return next((number for number in range(port + 1, 65536) if is_free(number)), 8080)


def check_settings(environment, mock):
    """Says what is doubtful in the settings; an error where a worker would not start."""
    asked = dict(environment, **({"API_URL": "http://127.0.0.1"} if mock else {}))
    command = [binary("proxy-gpt-worker"), "--check"]
    done = subprocess.run(command, env=asked, capture_output=True, text=True)
    text = done.stderr.strip()
    if done.returncode != 0:
        raise StackError(text, done.returncode)
    if text:
        say(text)


def greet(stack, port):
    address = f"http://localhost:{port}"
    bearer = '-H "Authorization: Bearer $TOKEN"'
    if stack.mock_url:
        say("No API_KEY and no API_URL are set: a mock upstream answers in OpenAI's place.")
    say(f"""
Proxy GPT answers at {address}, its state is in {stack.state_directory}. Ctrl-C stops it.
The page for the browser is {address}/ and the reference of the API is {address}/docs
In the shell, each line as it stands:

  TOKEN=$(curl -s {address}/user/signup -d "username=me-$(date +%s)&password=bazbar" | {member("token")})
  CHAT=$(curl -s {address}/chat/create {bearer} -d name=first | {member("id")}); echo "$CHAT"
  (sleep 1; curl -s {address}/chat/prompt {bearer} -d "id=$CHAT&prompt=Hello&stream=true") & curl -sN -m 5 {address}/chat/stream {bearer} -d "id=$CHAT"
""")


def member(name):
    """A command that takes the first string of this name out of JSON."""
    return f"grep -o '\"{name}\": *\"[^\"]*' | head -1 | cut -d '\"' -f 4"


def keep_up(stack):
    """Starts workers and streamer again that have ended; an error when nginx or the mock has."""
    delay, last = 0.5, 0.0
    missing = 0
    while True:
        others = [process for process in (stack.nginx, stack.mock_process) if process]
        if not missing and stack.streamer:
            await_end(others + stack.workers + [stack.streamer])
        for process in others:
            if process.poll() is not None:
                raise StackError(f"{process.name} has ended with {ending(process.returncode)}")
        for process in list(stack.workers):
            if process.poll() is not None:
                stack.forget_worker(process)
                missing += 1
                say(f"{process.name} has ended with {ending(process.returncode)}")
        if stack.streamer and stack.streamer.poll() is not None:
            stack.forget_worker(stack.streamer)
            say(f"{stack.streamer.name} has ended with {ending(stack.streamer.returncode)}")
            stack.streamer = None
        # Half a second after a first death, up to ten when they go on dying.
        delay = 0.5 if time.monotonic() - last > 30 else min(delay * 2, 10)
        say(f"starting it again in {delay:g} s")
        time.sleep(delay)
        last = time.monotonic()
        try:
            if not stack.streamer:
                stack.start_streamer()
            if missing:
                stack.start_worker()
                missing -= 1
        except StackError as error:
            if error.exit_code == INVALID_SETTINGS:
                raise
            say(str(error))
