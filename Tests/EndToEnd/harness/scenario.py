"""The scenario of the clients: one walk through the API that each language prints as the same lines.

`ROUNDS=50 python3 Tests/EndToEnd/harness/scenario.py [LANGUAGE …]` repeats it; a wrong line ends that.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid

import paths  # noqa: F401  the folders beside this file

from stack import CHECKOUT, Stack, wait_for

CAP = 300
CLIENTS = CHECKOUT / "clients"
LANGUAGES = ("javascript", "python", "python asyncio", "go", "swift")

STACK = {"mock_args": ["--chunk-delay-ms", "30"], "settings": {"MAX_REPLIES_PER_USER": "1"}}

SIXTY_WORDS = "echo: " + " ".join(f"word{number}" for number in range(1, 61))

EXPECTED = [
    '{"step":"sign-up","role":"user","has_token":true}',
    '{"step":"wrong-password","error":{"status":401,"code":"unauthorized"}}',
    '{"step":"session","same_user":true}',
    '{"step":"chat","name":"Scenario","model":"gpt-3"}',
    '{"step":"prompt","reply":"echo: Tell me about Spain. consectetur adipiscing elit","state":"done"}',
    '{"step":"stream","text":"echo: one two three four five adipiscing elit",'
    '"deltas_joined_equal_reply":true,"state":"done"}',
    '{"step":"abort","state":"stopped","is_shorter":true}',
    '{"step":"cut","at":"third delta"}',
    f'{{"step":"resumed","text":"{SIXTY_WORDS}","equals_stored":true}}',
    '{"step":"worker","at":"before prompt"}',
    '{"step":"worker-prompt","reply":"echo: after the restart amet consectetur adipiscing elit"}',
    '{"step":"paging","chats":251,"distinct":251}',
    '{"step":"off-the-record","otr":true,"reply":""}',
    '{"step":"not-found","error":{"status":404,"code":"not_found"}}',
    '{"step":"conflict","error":{"status":409,"code":"conflict","param":"username"}}',
    '{"step":"rate-limit","error":{"status":429,"code":"rate_limited","has_retry_after":true}}',
    '{"step":"group","members":2,"chat_in_group":true}',
    '{"step":"watch","kinds":["message"]}',
    '{"step":"logout","watch_ended":true}',
    '{"step":"openai","models":true}',
    '{"step":"end"}',
]

# How the calls of the model end, as the mock upstream sees it: the aborted ones are closed by this side.
ENDS = ["done", "done", "peer_closed", "done", "done", "peer_closed", "done"]


def command(language):
    """The command that runs the scenario in a language, or None and the reason why it cannot be run."""
    places = {"javascript": "js/scenario.mjs", "go": "go", "swift": "swift"}
    program = CLIENTS / places.get(language, "python/scenario.py")
    if not program.exists():
        return None, f"there is no {program.relative_to(CHECKOUT)}"
    if language == "javascript":
        node = shutil.which("node") or shutil.which("nodejs")
        return [node, program] if node else None, "Node.js is not installed"
    if language == "go":
        go, built = shutil.which("go"), CHECKOUT / ".build/clients/scenario-go"
        if go:
            subprocess.run([go, "build", "-o", built, "./scenario"], cwd=program, check=True)
        return [built] if go else None, "Go is not installed"
    if language == "swift":
        swift = shutil.which("swift")
        if swift:
            subprocess.run([swift, "build", "--product", "scenario"], cwd=program, check=True)
        return [program / ".build/debug/scenario"] if swift else None, "the Swift toolchain is not installed"
    return [sys.executable, program, *(["--asyncio"] if "asyncio" in language else [])], ""


def run(stack, program):
    """Runs the scenario once; kills the streamer and a worker where it waits. Its lines, and the ends of its calls."""
    stack.mock_delete("/mock/calls")
    name = uuid.uuid4().hex[:12]
    names = {"PROXY_GPT_URL": stack.url, "SCENARIO_USER": f"user-{name}", "SCENARIO_OTHER": f"other-{name}"}
    lines = []
    with subprocess.Popen(
        program, env={**os.environ, **names}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        limit = threading.Timer(CAP, running.kill)
        limit.daemon = True
        limit.start()
        for line in running.stdout:
            lines.append(line.rstrip("\n"))
            step = json.loads(line)["step"]
            if step == "cut":
                stack.kill_streamer()
            elif step == "worker":
                stack.kill_worker(stack.workers[0])
            else:
                continue
            running.stdin.write("go\n")
            running.stdin.flush()
            # The program goes on meanwhile.
            if step == "cut":
                stack.start_streamer()
            else:
                stack.start_worker()
        limit.cancel()
    assert running.returncode == 0, f"{program} ended with {running.returncode} after {lines}"

    def ends():
        calls = [call for call in stack.mock("/mock/calls") if call["uri"].startswith("/v1/chat/completions")]
        found = [call["end"] for call in sorted(calls, key=lambda call: call["id"])]
        return found if "running" not in found else None

    return lines, wait_for(ends, "the calls of the model to end")


def main(languages):
    rounds = int(os.environ.get("ROUNDS", "1"))
    for language in languages or LANGUAGES:
        program, reason = command(language)
        if program is None:
            print(f"{language}: skipped, {reason}", flush=True)
            continue
        for number in range(1, rounds + 1):
            # A new one each time: an address may fail to log in fifty times an hour, and each round does so once.
            with Stack(**STACK) as stack:
                lines, ends = run(stack, program)
            wrong = [pair for pair in zip([*lines, None], [*EXPECTED, None]) if pair[0] != pair[1]]
            if wrong or ends != ENDS:
                print(f"{language}: round {number} is wrong: {wrong}, calls {ends}")
                return 1
        print(f"{language}: {rounds} rounds, all lines as expected", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
