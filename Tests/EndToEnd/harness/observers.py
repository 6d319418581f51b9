"""Who else looks at what the harness's clients receive.

Nobody does, unless somebody puts a function in here before: conftest.py does for the end-to-end tests, which hold
every answer to the document of the API. Benchmarks and the tests under systemd have the standard library alone.
"""

# The addresses of stacks, as `http://127.0.0.1:8080`: what answers elsewhere is another server.
stacks = set()


def answer(url, method, target, status, headers, body):
    """An answer of any server to any client."""


def event(name, data):
    """An event of /chat/stream."""


def frame(data):
    """A frame of /chat/stream by WebSocket."""
