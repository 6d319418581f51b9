"""The document of the API: whole, served, and true.

The harness holds every answer of the end-to-end tests to it, see harness/openapi.py; here it is shown that this
bites. Other people's tools read the document: a validator, a generator of clients, and schemathesis, which calls
what the document says with what it makes up. CASES is the number of its calls.
"""

import ast
import collections
import html.parser
import json
import os
import re
import subprocess
import urllib.parse

import observers
import openapi
import pytest
from client import call, check_error, exchange, raw_request
from person import Person
from stack import CHECKOUT

STACK = {"settings": {"PASSWORD_MIN": "3"}}
TOOLS = CHECKOUT / ".build/api-tools/bin"
CASES = int(os.environ.get("CASES") or 300)
NEEDS_TOOLS = pytest.mark.skipif(
    not (TOOLS / "schemathesis").exists(), reason="the tools are not installed: run `make api-tools`"
)
SERVED = {
    "/docs": ("docs/reference.html", "text/html"),
    "/docs/reference.css": ("docs/reference.css", "text/css"),
    "/openapi.json": ("docs/openapi.json", "application/json"),
    "/llms.txt": ("docs/llms.txt", "text/plain"),
}


def run(*command, cwd=None, **environment):
    """The output of a program that must succeed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=1800, cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def person(stack):
    return Person(stack, "reader")


# Serving


@pytest.mark.parametrize("path", SERVED)
def test_documents_come_without_a_credential_and_with_the_policy_of_the_page(stack, path):
    answer = call(stack.url, "GET", path)
    file, kind = SERVED[path]
    assert answer.status == 200 and answer.body == (CHECKOUT / file).read_bytes()
    assert answer.header("Content-Type").split(";")[0] == kind
    page = call(stack.url, "GET", "/")
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"):
        assert answer.header(name) == page.header(name), name
    assert answer.header("X-Request-Id")
    known = {"If-None-Match": answer.header("ETag")}
    assert call(stack.url, "GET", path, headers=known).status == 304
    posted = call(stack.url, "POST", path)
    check_error(posted, 405, "method_not_allowed")
    assert posted.header("Allow") == "GET, HEAD"


def test_nothing_else_lies_below_docs(stack):
    for path in ("/docs/operate.md", "/docs/openapi.json", "/docs/reference.html", "/docs/man/proxy-gpt.5"):
        check_error(call(stack.url, "GET", path), 404, "not_found")
    for path in ("/docs/../Makefile", "/docs/%2e%2e/Makefile", "/%64ocs", "/docs/..%2fMakefile"):
        assert call(stack.url, "GET", path).status in (400, 401, 404), path
    answer = call(stack.url, "GET", "/docs/")
    assert (answer.status, answer.header("Location")) == (308, "../docs")


# The page for people


class Page(html.parser.HTMLParser):
    """The elements of a page: ids, addresses, and blocks of code by their captions."""

    EMPTY = ("meta", "link")

    def __init__(self, text):
        super().__init__()
        self.ids, self.addresses, self.blocks, self.open, self.tags = [], [], [], [], set()
        self.caption = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.add(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[name] for name in ("href", "src") if name in named]
        assert not any(name.startswith("on") or name == "style" for name in named)
        if tag == "figcaption":
            self.caption = ""
        if tag == "pre":
            self.blocks.append([self.caption, ""])
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figcaption" in self.open:
            self.caption += data
        if "pre" in self.open:
            self.blocks[-1][1] += data


@pytest.fixture(scope="module")
def page():
    return Page((CHECKOUT / "docs/reference.html").read_text())


def test_the_reference_is_well_formed_and_its_links_lead_somewhere(stack, page):
    assert len(set(page.ids)) == len(page.ids) > 60
    assert not {"script", "style", "iframe", "object"} & page.tags
    for address in page.addresses:
        if address.startswith("#"):
            assert address[1:] in page.ids, address
        elif not address.startswith("https://"):
            target = urllib.parse.urljoin("/docs", address)
            assert call(stack.url, "GET", target).status == 200, address


class Objects:
    """Fresh objects of a person, as variables of a shell and of docs/api.http."""

    def __init__(self, stack, person):
        other = Person(stack)
        self.chat, self.group = person.chat(), person.group(other)
        self.message = person.prompt(self.chat, "Hello", otr=True)["id"]
        person.do("/chat/user/add", id=self.chat, user_id=other.id)
        self.token = call(
            stack.url, "POST", "/user/login", form={"username": person.name, "password": "password-1"}
        ).json["token"]
        self.names = {
            "PROXY_GPT_URL": stack.url, "PROXY_GPT_TOKEN": self.token, "CHAT": self.chat,
            "GROUP": self.group, "MESSAGE": self.message, "USER_ID": other.id,
        }  # fmt: skip


# What the examples are answered with beside 200: somebody has the name already, or another password.
EXAMPLES_REFUSED = {"/user/signup": (200, 409), "/user/password/update": (401,)}


def test_every_curl_of_the_reference_does_what_it_says(stack, person, page):
    commands = [text for caption, text in page.blocks if caption == "curl"]
    assert len(commands) == len(openapi.DOCUMENT["paths"])
    for command in commands:
        path = re.search(r"\$PROXY_GPT_URL(/[a-z/0-9]*)", command)[1]
        names = Objects(stack, person).names
        limit = "--max-time 2" if path == "/chat/stream" else "--max-time 60"
        whole = command.replace("curl ", f"curl -s {limit} -o /dev/null -w '%{{http_code}}' ", 1)
        done = subprocess.run(
            ["bash", "-c", whole], capture_output=True, text=True, env={"PATH": os.environ["PATH"], **names}
        )
        assert int(done.stdout) in EXAMPLES_REFUSED.get(path, (200,)), (command, done.stdout, done.stderr)


def test_every_request_of_api_http_is_answered(stack, person):
    text = (CHECKOUT / "docs/api.http").read_text()
    head, *requests = re.split(r"^### .*\n", text, flags=re.M)
    assert set(re.findall(r"^@(\w+) = ", head, re.M)) == set(Objects(stack, person).names)
    assert len(requests) == len(openapi.DOCUMENT["paths"])
    for request in requests:
        names = Objects(stack, person).names
        for name, value in names.items():
            request = request.replace("{{%s}}" % name, value)
        assert "{{" not in request
        head, _, body = request.partition("\n\n")
        first, *lines = head.splitlines()
        method, address = first.split(" ")
        path = address.removeprefix(stack.url)
        if path.startswith("/chat/stream"):
            continue
        headers = dict(line.split(": ", 1) for line in lines)
        answer = call(stack.url, method, path, body=body.strip() or None, headers=headers)
        assert answer.status in EXAMPLES_REFUSED.get(path, (200,)), (request, answer)


def test_the_python_of_the_reference_is_python_and_its_calls_exist(page):
    code = [text for caption, text in page.blocks if caption == "Python"]
    calls = set()
    for text in code:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                if isinstance(node.value.value, ast.Name) and node.value.value.id == "gpt":
                    calls.add((node.value.attr, node.attr))
    assert len(calls) > 20
    folder = CHECKOUT / "clients/python"
    if not folder.exists():
        pytest.skip("there is no Python client")
    program = "import sys, proxy_gpt, json; gpt = proxy_gpt.Client('http://localhost');" + (
        "print([c for c in json.loads(sys.argv[1]) if not hasattr(getattr(gpt, c[0]), c[1])])"
    )
    found = run("python3", "-c", program, json.dumps(sorted(calls)), PYTHONPATH=str(folder))
    assert found.strip() == "[]"


@pytest.mark.parametrize(
    "caption, pattern, files, declaration",
    [
        ("JavaScript", r"gpt\.(\w+)\.(\w+)\(", "js/*.d.ts", r"interface {0} (?s:.*?)\b{1}\("),
        ("Go", r"\bc\.(\w+)\.(\w+)\(", "go/*.go", r"func \(\w+ \*{0}\) {1}\("),
    ],
)
def test_the_calls_of_the_reference_are_those_of_the_clients(page, caption, pattern, files, declaration):
    code = "\n".join(text for name, text in page.blocks if name == caption)
    calls = set(re.findall(pattern, code))
    assert len(calls) > 20
    sources = "\n".join(path.read_text() for path in sorted((CHECKOUT / "clients").glob(files)))
    if not sources:
        pytest.skip(f"there is no client in {caption}")
    for noun, name in sorted(calls):
        wanted = declaration.format(noun[0].upper() + noun[1:], name)
        assert re.search(wanted, sources), (noun, name)


# The document for programs


@NEEDS_TOOLS
def test_the_document_is_valid_openapi():
    assert openapi.DOCUMENT["openapi"] == "3.1.0"
    run(TOOLS / "openapi-spec-validator", openapi.FILE)


def test_the_examples_of_the_document_fit_their_schemas():
    count = 0
    for path, operations in openapi.DOCUMENT["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            bodies = [operation.get("requestBody", {})]
            bodies += [openapi.resolved(response) for response in operation["responses"].values()]
            for body in bodies:
                for kind, content in body.get("content", {}).items():
                    if "example" in content:
                        schema = openapi.validator(json.dumps(content["schema"]))
                        openapi.demand(schema, content["example"], f"{method} {path} {kind}")
                        count += 1
    assert count > 300


@pytest.mark.parametrize(
    "change",
    [
        ("status", 418), ("member", "colour"), ("missing", "has_more"), ("type", "text/html"),
        ("header", "X-Request-Id"), ("value", "no id"),
    ],
)  # fmt: skip
def test_an_answer_that_the_document_lacks_is_noticed(stack, person, change):
    person.chat()
    answer = person.get("/chat/index")
    status, headers, value = answer.status, list(answer.headers), answer.json
    openapi.check("GET", "/chat/index?limit=2", status, headers, answer.body)
    kind, what = change
    if kind == "status":
        status = what
    elif kind == "member":
        value["chats"][0][what] = 1
    elif kind == "missing":
        del value[what]
    elif kind == "value":
        value["chats"][0]["id"] = what
    elif kind == "type":
        headers = [(n, what if n == "Content-Type" else v) for n, v in headers]
    else:
        headers = [(n, v) for n, v in headers if n != what]
    with pytest.raises(openapi.Undocumented):
        openapi.check("GET", "/chat/index", status, headers, json.dumps(value))


def test_a_frame_that_the_document_lacks_is_noticed(stack, person):
    chat = person.chat()
    message = person.prompt(chat, "Hello")
    openapi.check_event("message", {"message": message, "partial": False})
    openapi.check_frame({"message": message, "partial": False, "event_id": "a-1"})
    openapi.check_event("reset", {"reset": True})
    openapi.check_frame({"reset": True})
    for wrong in ({"message": message, "partial": True}, {"message": message}, {"reset": False}):
        with pytest.raises(openapi.Undocumented):
            openapi.check_event("message", wrong)
        with pytest.raises(openapi.Undocumented):
            openapi.check_frame({**wrong, "event_id": "a-1"})
    with pytest.raises(openapi.Undocumented):
        openapi.check_event("greeting", {"reset": True})


def test_whatever_the_harness_receives_is_held_to_the_document(stack, monkeypatch):
    seen = []
    monkeypatch.setattr(openapi, "check", lambda *answer: seen.append(answer[:3]))
    call(stack.url, "GET", "/live")
    exchange(stack.url, raw_request("GET", "/ready"))
    # Another server is not ours to describe.
    call(stack.mock_url, "GET", "/mock/calls")
    assert seen == [("GET", "/live", 200), ("GET", "/ready", 200)]
    assert (observers.event, observers.frame) == (openapi.check_event, openapi.check_frame)


@NEEDS_TOOLS
def test_a_generated_client_compiles_and_does_the_walk(stack, tmp_path):
    folder = tmp_path / "generated"
    generated = run(
        TOOLS / "openapi-python-client", "generate", "--path", openapi.FILE, "--output-path", folder,
        "--meta", "none", PATH=f"{TOOLS}:{os.environ['PATH']}",
    )  # fmt: skip
    # What is below /v1/ is the upstream's to describe.
    problems = [line for line in generated.splitlines() if line.startswith(("WARNING", "ERROR", "Error"))]
    assert all("/v1/{path}" in line for line in problems), generated
    package = tmp_path / "package/proxy_gpt_client"
    package.parent.mkdir()
    folder.rename(package)
    run(TOOLS / "python", "-m", "compileall", "-q", package)
    program = CHECKOUT / "Tests/EndToEnd/clients/generated_walk.py"
    walked = run(TOOLS / "python", program, PYTHONPATH=str(package.parent), PROXY_GPT_URL=stack.url)
    assert walked.strip() == "walked"


# One call at a time, in a folder of its own for what the program keeps.
@NEEDS_TOOLS
def test_schemathesis_finds_nothing_that_the_document_lacks(stack, person, tmp_path):
    objects = Objects(stack, person)
    operations = sum(len(each) - ("parameters" in each) for each in openapi.DOCUMENT["paths"].values())
    cases = tmp_path / "cases"
    checks = [
        "not_a_server_error", "status_code_conformance", "content_type_conformance",
        "response_headers_conformance", "response_schema_conformance",
    ]  # fmt: skip
    run(
        TOOLS / "schemathesis", "run", openapi.FILE, "--url", stack.url, "--no-color",
        "--checks", ",".join(checks),
        "--phases", "examples,fuzzing", "--max-examples", max(2, -(-CASES // operations)),
        "--seed", "15", "--generation-database", "none", "--request-timeout", "30",
        **objects.names, CASES_FILE=str(cases), SCHEMATHESIS_HOOKS="schemathesis_hooks",
        PYTHONPATH=str(CHECKOUT / "Tests/EndToEnd/clients"), cwd=tmp_path,
    )  # fmt: skip
    calls = [line.rsplit(" ", 1) for line in cases.read_text().splitlines()]
    called = {operation for operation, _ in calls}
    succeeded = {operation for operation, status in calls if status == "200"}
    statuses = collections.Counter(status for _, status in calls)
    print(f"{len(calls)} calls of {len(called)} operations, of which {len(succeeded)} succeeded: {statuses}")
    # A stream that succeeds does not end, and what deletes is left to what is not there.
    assert len(calls) >= CASES * 0.8 and len(called) == operations, called
    assert len(succeeded) >= operations // 2, succeeded
