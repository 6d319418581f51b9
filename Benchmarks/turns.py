"""How long one request of a mebibyte holds an event loop, whatever its bytes.

    python3 Benchmarks/bench.py turns     (REPEATS=5, ONLY=words of a case's name)

Each case is sent to one worker several times; between two reads of /metrics nothing else is asked of it.
What is printed is the longest turn of the quietest time: the upper bound of its bucket in
`proxy_gpt_loop_turn_seconds`. Whatever else runs on the machine only makes turns longer.
"""

import json
import os
import re

from client import call
from stack import Stack

REPEATS = int(os.environ.get("REPEATS", "5"))
ONLY = os.environ.get("ONLY", "")
SIZE = 1024 * 1024 - 200
LIMIT = 0.005

# What costs more than its length in some parser, normalization or copy.
RUNS = {
    "a": b"a", "marks": "\u0301\u0323".encode(), "crab": "🦀".encode(), "two-byte": "\u0345".encode(),
    "dotted I": "İ".encode(), "escapes": b"%41", "plus": b"+", "commas": b",", "spaces": b" ",
    "newlines": b"\\n", "unicode escapes": b"\\u0041", "surrogates": b"\\ud83e\\udd80",
    "quotes": b'\\"', "backslashes": b"\\\\", "keys": b"sk-abcdefghijklmnopqrst ",
    "bearer": b"Bearer pgpt_aaaaaaaaaaaaaaaaaaaaaaaa ", "invalid": b"\xff",
    "password": b'\\"password\\":\\"a\\",',
}  # fmt: skip
# Raw JSON values instead of a string.
VALUES = {
    "list": (b"[", b"1,", b"1]"), "strings": (b"[", b'"a",', b'"a"]'), "objects": (b"[", b"{},", b"{}]"),
    "members": (b"{", b'"a":1,', b'"b":1}'), "deep": (b"", b"[", b""), "digits": (b"1", b"1", b""),
    "blanks": (b"", b" ", b"1"),
}  # fmt: skip
PARAMETERS = {
    "/user/login": ["username", "password"], "/user/signup": ["username", "password", "first_name"],
    "/user/logout": ["token"], "/chat/create": ["name", "model"], "/chat/prompt": ["prompt", "context", "id"],
    "/chat/update": ["name"], "/chat/read": ["chat_id", "limit", "before"], "/user/read": ["username"],
    "/group/create": ["name", "description"], "/group/members/add": ["user_ids"],
    "/user/password/update": ["old_password", "new_password"], "/chat/user/add": ["username"],
    "/user/update": ["username", "last_name"],
}  # fmt: skip


def filled(run, size=SIZE):
    return run * (size // len(run))


def cases(chat):
    """Names with what is sent: a method, a path, a body and headers."""
    FORM = {"Content-Type": "application/x-www-form-urlencoded"}
    JSON = {"Content-Type": "application/json"}
    for path, names in PARAMETERS.items():
        # What must be there for the parameter to be looked at.
        beside = {
            "/chat/prompt": {"id": chat, "prompt": "a"}, "/user/login": {"username": "a", "password": "b"},
            "/user/signup": {"username": "asim2", "password": "password-1"}, "/group/create": {"name": "a"},
            "/user/password/update": {"old_password": "password-1", "new_password": "password-2"},
            "/chat/update": {"id": chat}, "/chat/user/add": {"id": chat},
        }.get(path, {})  # fmt: skip
        for name in names:
            rest = {key: value for key, value in beside.items() if key != name}
            json_head = b"{" + b"".join(
                b"%s:%s," % (json.dumps(key).encode(), json.dumps(value).encode()) for key, value in rest.items()
            )
            form_head = b"".join(b"%s=%s&" % (key.encode(), value.encode()) for key, value in rest.items())
            for kind, run in RUNS.items():
                body = json_head + b'"%s":"' % name.encode() + filled(run) + b'"}'
                yield f"{path} {name} JSON {kind}", "POST", path, body, JSON
                body = form_head + name.encode() + b"=" + filled(run)
                yield f"{path} {name} form {kind}", "POST", path, body, FORM
            for kind, (begin, run, end) in VALUES.items():
                body = json_head + b'"%s":' % name.encode() + begin + filled(run) + end + b"}"
                yield f"{path} {name} JSON {kind}", "POST", path, body, JSON
    for kind, run in {**RUNS, "pairs": b"a=1&", "ampersands": b"&"}.items():
        query = filled("".join(f"%{byte:02X}" for byte in run).encode(), 7000).decode()
        yield f"/user/read query {kind}", "GET", f"/user/read?username={query}", None, {}
        yield f"/user/logout names {kind}", "POST", "/user/logout", b'{"' + filled(run) + b'":1}', JSON
        yield f"/user/logout form {kind}", "POST", "/user/logout", filled(run), FORM
        value = filled(run.replace(b"\n", b" "), 7000)
        for header in ("Cookie", "Origin", "Authorization", "User-Agent", "Accept", "Content-Type", "X-Codex-A"):
            yield f"{header} {kind}", "GET", "/v1/models", None, {header: value}
        for path in ("/v1/chat/completions", "/v1/responses"):
            content = b'{"model":"mock","messages":[{"role":"user","content":"' + filled(run) + b'"}]}'
            yield f"{path} {kind}", "POST", path, content, JSON
            yield f"{path} bare {kind}", "POST", path, filled(run), JSON
    for kind, (begin, run, end) in VALUES.items():
        yield f"/v1/chat/completions {kind}", "POST", "/v1/chat/completions", begin + filled(run) + end, JSON
    head = {f"X-{number}": "a" for number in range(2000)}
    yield "headers", "GET", "/v1/models", None, head


def turns(url):
    """How many turns of workers took at most so many seconds."""
    text = call(url, "GET", "/metrics").body.decode()
    found = re.findall(r'proxy_gpt_loop_turn_seconds_bucket\{([^}]*)\} (\d+)', text)
    return {
        float(re.search('le="([^"]*)"', labels)[1].replace("+Inf", "inf")): int(count)
        for labels, count in found if 'process="worker"' in labels
    }


def longest(before, after):
    """The upper bound of the longest turn between two looks, in seconds."""
    grown = {bound: after[bound] - before[bound] for bound in after}
    return min((bound for bound, count in grown.items() if count == grown[float("inf")]), default=0)


def measure(heading):
    heading("the longest turn of a worker's event loop, for requests of 1 MiB")
    with Stack(workers=1) as stack:
        token = stack.signup("asim", "password-1")[0]
        chat = call(stack.url, "POST", "/chat/create", json={"name": "a"}, token=token).json["id"]
        slow, count, worst = [], 0, 0
        for name, method, path, body, headers in cases(chat):
            if ONLY not in name:
                continue
            if "Authorization" not in headers and "Cookie" not in headers and path != "/user/logout":
                headers = {**headers, "Authorization": f"Bearer {token}"}
            best, status = float("inf"), None
            for _ in range(REPEATS):
                before = turns(stack.url)
                try:
                    status = call(stack.url, method, path, body=body, headers=headers).status
                except (ConnectionError, OSError) as error:
                    status = type(error).__name__
                best = min(best, longest(before, turns(stack.url)))
                if best <= LIMIT / 2:
                    break
            count += 1
            worst = max(worst, best)
            if best > LIMIT or ONLY:
                print(f"{name}: {status}, up to {best * 1000:g} ms", flush=True)
            slow += [name] if best > LIMIT else []
        print(f"{count} kinds of requests, {len(slow)} over 5 ms, the longest up to {worst * 1000:g} ms")
