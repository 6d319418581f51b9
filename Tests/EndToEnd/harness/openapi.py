"""Holds answers to docs/openapi.json: what a path, a method and a status may bring, to the last member.

The end-to-end tests have the harness's clients call this for everything that they receive (observers.py), so that
whatever a test does, an answer or a status that the document lacks fails it. Paths that the document does not have
are passed over.
"""

import functools
import json
import pathlib

import jsonschema_rs

FILE = pathlib.Path(__file__).resolve().parents[3] / "docs/openapi.json"
DOCUMENT = json.loads(FILE.read_text())


class Undocumented(AssertionError):
    """The product answered with what docs/openapi.json does not say."""


class Expectation:
    """What the document says of one status of one call."""

    def __init__(self, response):
        self.headers = [
            name.lower() for name, header in response.get("headers", {}).items() if resolved(header).get("required")
        ]
        self.codes = response.get("x-error-codes")
        self.validators = {
            media_type(name): validator(json.dumps(content["schema"]))
            for name, content in response.get("content", {}).items()
        }


def resolved(value):
    """What a reference leads to; all else as it is."""
    while "$ref" in value:
        place = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        value = place
    return value


def media_type(text):
    return text.split(";")[0].strip().lower()


@functools.cache
def validator(schema):
    whole = {**json.loads(schema), "components": {"schemas": DOCUMENT["components"]["schemas"]}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@functools.cache
def expectation(path, method, status):
    """None where the document has no such status."""
    operation = DOCUMENT["paths"][path].get("get" if method == "HEAD" else method.lower())
    if operation:
        response = operation["responses"].get(str(status))
    else:
        # Another method than the path's: the errors of all.
        response = DOCUMENT["components"]["responses"].get(f"Error{status}")
    return Expectation(resolved(response)) if response else None


def check(method, target, status, headers, body):
    """Raises `Undocumented` for an answer that the document does not have.

    `headers` are pairs. A preflight is of no operation.
    """
    path = target.partition("?")[0]
    if path not in DOCUMENT["paths"] or method == "OPTIONS":
        return
    name = f"{method} {path}"
    expected = expectation(path, method, status)
    if not expected:
        raise Undocumented(f"{name}: the status {status} is not documented; the body is {body[:300]!r}")
    given = {key.lower(): value for key, value in headers}
    for header in expected.headers:
        if header not in given:
            raise Undocumented(f"{name}, {status}: the header {header} is missing")
    if method == "HEAD" or not expected.validators:
        return
    kind = media_type(given.get("content-type", ""))
    if kind not in expected.validators:
        raise Undocumented(f"{name}, {status}: the type `{kind}` is not documented")
    if kind != "application/json":
        return
    value = json.loads(body)
    demand(expected.validators[kind], value, f"{name}, {status}")
    if expected.codes and value["error"]["code"] not in expected.codes:
        raise Undocumented(f"{name}, {status}: the code {value['error']['code']} is not documented")


def check_event(event, data):
    """As `check`, for an event of /chat/stream."""
    [content] = DOCUMENT["paths"]["/chat/stream"]["get"]["responses"]["200"]["content"].values()
    if event not in content["x-event-schemas"]:
        raise Undocumented(f"/chat/stream: the event {event} is not documented")
    demand(validator(json.dumps(content["x-event-schemas"][event])), data, f"/chat/stream, event {event}")


def check_frame(data):
    """As `check`, for a frame of /chat/stream by WebSocket."""
    schemas = DOCUMENT["paths"]["/chat/stream"]["get"]["responses"]["101"]["x-message-schemas"]
    demand(validator(json.dumps({"anyOf": schemas})), data, "/chat/stream, WebSocket")


def demand(schema, value, name):
    for error in schema.iter_errors(value):
        place = "/".join(str(part) for part in error.instance_path)
        raise Undocumented(f"{name}: {error.message[:500]} at `{place}`")
