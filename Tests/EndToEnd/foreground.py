"""`make run`: the stack in the foreground, until Ctrl-C.

Takes all settings from the environment, starts the mock upstream when they name no real one,
and starts a new worker or streamer where one has died.
"""

import os
import signal
import sys
import time

from front import CHECKOUT
from processes import StackError, await_end, ending, is_free
from stack import Stack

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INVALID_SETTINGS = 78


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
        if not is_free(port):
            raise StackError(f"port {port} is in use; choose another one: make run PORT=8081")
        # The specification's examples have passwords of three and six letters.
        environment.setdefault("PASSWORD_MIN", "3")
        state = environment.get("STATE_DIRECTORY") or CHECKOUT / ".state"
        stack = Stack(
            workers=workers,
            mock=not environment.get("API_KEY") and not environment.get("API_URL"),
            key=None,
            port=port,
            environment=environment,
            state_directory=os.path.abspath(state),
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


def greet(stack, port):
    address = f"http://localhost:{port}"
    user = '"username=asim&password=bazbar"'
    if stack.mock_url:
        say("No API_KEY and no API_URL are set: a mock upstream answers in OpenAI's place.")
    say(f"""
Proxy GPT answers at {address}, its state is in {stack.state_directory}. Ctrl-C stops it.
There is a page for the browser at that address; or in the shell:

  curl {address}/user/signup -d {user}

  TOKEN=$(curl -s {address}/user/login -d {user} | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')
  curl {address}/v1/models -H "Authorization: Bearer $TOKEN"
""")


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
