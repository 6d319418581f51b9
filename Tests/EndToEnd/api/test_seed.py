"""The curls of the specification, run as a reader pastes them.

Only the address and the tokens are filled in. A shell runs them, so quoting and line ends count.
"""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from client import call, check_error
from processes import free_port
from stack import CHECKOUT, wait_for

DATABASES = ("sqlite", "postgresql+redis")
# As `make run` sets it: the examples have passwords of three and six letters.
STACK = {"settings": {"PASSWORD_MIN": "3", "PASSWORD_COST": None}}

# The tokens of the specification's examples.
TOKENS = re.compile(
    "ZDU0Nzg5ZTctMzRkMy00ZmNlLTkyYTgtZTQwYzIxZDE1YWJm"
    "|YWEzZTlkYTUtZWRhNi00ODY3LWIyNzYtZGFhNGRhMmRlNmEx"
)


def paste(stack, text, token=""):
    """Runs pasted text in a shell; (body as JSON, what curl wrote to standard error)."""
    text = TOKENS.sub(token, text.strip())
    address = stack if isinstance(stack, str) else stack.url
    text = text.replace("http://localhost:8080", address.replace("127.0.0.1", "localhost"))
    done = subprocess.run(["/bin/bash", "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def asim(stack):
    """The user of the examples and a token: signed up and logged in by the pasted commands."""
    signed_up, _ = paste(
        stack,
        """
curl http://localhost:8080/user/signup \\
-d "username=asim&password=bazbar"
""",
    )
    logged_in, trace = paste(
        stack,
        """
curl -vv http://localhost:8080/user/login \\
-d "username=asim&password=bazbar"
""",
    )
    return signed_up, logged_in, trace


def new_token(stack):
    login = 'curl http://localhost:8080/user/login -d "username=asim&password=bazbar"'
    return paste(stack, login)[0]["token"]


def test_a_call_without_a_token_is_told_to_bring_one(stack):
    answer, _ = paste(stack, "curl http://localhost:8080/v1/models")
    assert answer["error"]["code"] == "unauthorized"


def test_signup_answers_a_token_and_the_user(asim):
    signed_up, _, _ = asim
    assert set(signed_up) == {"token", "user"}
    assert signed_up["user"]["username"] == "asim"


def test_login_sets_the_cookie_and_returns_the_same_token_as_json(asim):
    _, logged_in, trace = asim
    assert re.search(rf"(?i)< set-cookie: sess={re.escape(logged_in['token'])};", trace)
    assert re.search(r"(?i)< content-type: application/json", trace)


def test_models_answer_a_bearer_token(stack, asim):
    answer, _ = paste(
        stack,
        """
curl -H 'Authorization: Bearer ZDU0Nzg5ZTctMzRkMy00ZmNlLTkyYTgtZTQwYzIxZDE1YWJm' \\
http://localhost:8080/v1/models
""",
        asim[1]["token"],
    )
    assert answer["object"] == "list" and answer["data"]


def test_models_answer_a_cookie(stack, asim):
    answer, _ = paste(
        stack,
        """
curl --cookie 'sess=ZDU0Nzg5ZTctMzRkMy00ZmNlLTkyYTgtZTQwYzIxZDE1YWJm' \\
http://localhost:8080/v1/models
""",
        asim[1]["token"],
    )
    assert answer["object"] == "list" and answer["data"]


def test_models_answer_the_user_name_and_token_in_the_url(stack, asim):
    port = stack.url.rsplit(":", 1)[1]
    address = f"http://asim:{asim[1]['token']}@localhost:{port}/v1/models"
    answer, _ = paste(stack, f"curl {address}")
    assert answer["object"] == "list" and answer["data"]


def test_logout_with_the_cookie_ends_the_session(stack, asim):
    token = new_token(stack)
    logout = """
curl --cookie "sess=YWEzZTlkYTUtZWRhNi00ODY3LWIyNzYtZGFhNGRhMmRlNmEx" \\
http://localhost:8080/user/logout
"""
    assert paste(stack, logout, token)[0] == {}
    check_error(call(stack.url, "GET", "/v1/models", token=token), 401, "unauthorized")


def test_logout_with_the_token_as_json_ends_the_session(stack, asim):
    token = new_token(stack)
    logout = """
curl -XPOST http://localhost:8080/user/logout \\
-d '{"token": "YWEzZTlkYTUtZWRhNi00ODY3LWIyNzYtZGFhNGRhMmRlNmEx"}'
"""
    assert paste(stack, logout, token)[0] == {}
    check_error(call(stack.url, "GET", "/v1/models", token=token), 401, "unauthorized")


def test_a_form_and_json_sign_up_alike(stack):
    form, _ = paste(
        stack,
        """
curl http://localhost:8080/user/signup \\
-d "username=foo&password=bar"
""",
    )
    assert form["user"]["username"] == "foo"
    # The specification forgets the backslash at the end of the second line.
    again, _ = paste(
        stack,
        """
curl http://localhost:8080/user/signup \\
-H 'Content-Type: application/json' \\
-d '{"username": "foo", "password": "bar"}'
""",
    )
    assert again["error"]["code"] == "conflict"
    other, _ = paste(
        stack,
        """
curl http://localhost:8080/user/signup \\
-H 'Content-Type: application/json' \\
-d '{"username": "bar", "password": "bar"}'
""",
    )
    assert set(other) == set(form) and set(other["user"]) == set(form["user"])


def test_make_run_serves_in_the_foreground_and_ends_with_a_signal(tmp_path):
    """What `make run` executes prints commands to try; they work, and Ctrl-C ends it all."""
    port = free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "BIN_DIRECTORY")
    }
    environment |= {"PORT": str(port), "STATE_DIRECTORY": str(tmp_path / "state")}
    output = tmp_path / "output"
    with output.open("w") as written:
        running = subprocess.Popen(
            [sys.executable, "Tests/EndToEnd/harness/stack.py", "run"],
            cwd=CHECKOUT,
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        text = wait_for(
            lambda: "chat/stream" in (seen := output.read_text()) and seen, "its greeting", 30
        )
        commands = [line.strip() for line in text.splitlines() if line.startswith("  ")]
        assert f"http://localhost:{port}" in text and len(commands) == 3
        done = subprocess.run(
            ["/bin/bash", "-c", "\n".join(commands)], capture_output=True, text=True, timeout=60
        )
        # The chat's id, the prompt's answer, and the frames of the reply up to its last.
        assert re.match(r"[0-9a-f-]{36}\n", done.stdout), done
        assert '"partial":false' in done.stdout and '"state":"done"' in done.stdout, done
        second = subprocess.run(
            [sys.executable, "Tests/EndToEnd/harness/stack.py", "run"],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        told = second.stderr.strip()
        assert second.returncode == 1 and "\n" not in told
        assert f"{tmp_path / 'state'} is in use by proxy-gpt-" in told
        assert re.search(r"process \d+; .*: make run PORT=\d+ STATE_DIRECTORY=", told), told
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
