"""The examples for shells and Python, each as it is started by whoever reads it."""

import os
import re
import signal
import subprocess
import sys

import pytest
from front import CHECKOUT
from processes import free_port
from stack import wait_for

EXAMPLES = CHECKOUT / "examples"
# Replies are long enough to be stopped.
STACK = {"mock_args": ["--chunk-delay-ms", "30"], "settings": {"DEFAULT_MODEL": "mock?chunks=40"}}
CAP = 120


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(CHECKOUT / "clients/python"), "NO_PROXY": "*", **more}


class Terminal:
    """A program that is talked to, and all that it has written so far."""

    def __init__(self, program, **named):
        self.process = subprocess.Popen(
            [sys.executable, "-u", program], env=environment(**named), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def write(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def read_until(self, pattern):
        """Waits until the text since the last match matches; that text, up to the match."""

        def matched():
            self.text += (self.process.stdout.read() or b"").decode()
            return re.search(pattern, self.text)

        match = wait_for(matched, f"{pattern} in {self.text!r}")
        read, self.text = self.text[: match.end()], self.text[match.end() :]
        return read

    def end(self):
        """Ends the input; the exit code."""
        self.process.stdin.close()
        return self.process.wait(CAP)


def test_the_bot_streams_replies_and_control_c_stops_one(stack, token):
    stack.mock_delete("/mock/calls")
    with Terminal(EXAMPLES / "python-bot/bot.py", PROXY_GPT_URL=stack.url, PROXY_GPT_TOKEN=token) as bot:
        bot.read_until("shared in a new chat with .*\n> ")
        bot.write("tell me about spain")
        assert "echo: tell me about spain" in bot.read_until("elit\n> ")
        bot.write("tell me about portugal")
        bot.read_until("echo: tell me")
        bot.process.send_signal(signal.SIGINT)
        bot.read_until(r"\(stopped\)\n> ")
        bot.write("/note between us")
        bot.read_until("off the record.*\n> ")
        bot.write("/history")
        history = bot.read_until("> between us\n.*\n> ")
        assert "> tell me about portugal\necho: tell me" in history and "(stopped)" in history
        bot.write("/new x" + "y" * 200)
        bot.read_until(r"\[invalid_request\] .*\n> ")
        assert bot.end() == 0
    assert [call["end"] for call in stack.mock("/mock/calls")] == ["done", "peer_closed"]


def test_the_bot_says_that_there_is_no_server():
    address = f"http://127.0.0.1:{free_port()}"
    with Terminal(EXAMPLES / "python-bot/bot.py", PROXY_GPT_URL=address, PROXY_GPT_TOKEN="t") as bot:
        bot.read_until(r"\[connection\] .* refused")
        assert bot.end() == 1


def walk(url):
    return subprocess.run(
        [EXAMPLES / "curl.sh"], env=environment(PROXY_GPT_URL=url), capture_output=True, text=True, timeout=CAP
    )


def test_the_walk_by_curl_shows_each_command_and_its_answer(stack):
    done = walk(stack.url)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("$ ")]
    paths = {path for line in commands for path in re.findall(r"\$URL(/[a-z0-9/]+)", line)}
    own = {"/user/signup", "/user/login", "/chat/create", "/chat/prompt", "/chat/stream", "/group/members/add"}
    assert own <= paths and "/v1/models" in paths
    # The streamed reply came frame by frame.
    assert len(re.findall(r'^data: .*"partial":true', done.stdout, re.M)) > 3
    assert len(re.findall(r'^data: .*"partial":false', done.stdout, re.M)) == 1
    assert done.stdout.endswith("All of it worked.\n")


def test_the_walk_by_curl_ends_at_the_first_failure(stack):
    done = walk(f"http://127.0.0.1:{free_port()}")
    assert done.returncode != 0 and "failed: curl" in done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("$ ")]) == 1
    # A refusal is a failure too.
    done = walk(stack.url + "/v1")
    assert done.returncode != 0 and '"code":"unauthorized"' in done.stdout


def openai_example(stack, token):
    named = environment(OPENAI_BASE_URL=stack.url + "/v1", OPENAI_API_KEY=token)
    program = [sys.executable, EXAMPLES / "openai-sdk/main.py"]
    return subprocess.run(program, env=named, capture_output=True, text=True, timeout=CAP)


def test_openais_own_client_needs_an_address_and_a_token_alone(stack, token):
    pytest.importorskip("openai")
    done = openai_example(stack, token)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("plain: echo: Tell me about Spain.")
    assert lines[1].startswith("streamed: echo: Tell me about Portugal.")
    assert lines[2:] == ["file: notes.jsonl, 18 bytes", "content: 1024 bytes"]
    refused = openai_example(stack, "pgpt_wrong")
    assert refused.returncode == 1 and refused.stderr.startswith("AuthenticationError")
