"""An upstream that shows what it was asked and answers as a test says.

The mock upstream stands for a model's server at speed; this one is for what a test must hold in its
hand: the turns of a request, the moment of each piece, an error in mid-stream. Standard library
only.
"""

import contextlib
import http.server
import json
import select
import ssl
import sys
import tempfile
import threading

from certificates import accepted, announce_end, make_certificates, server_context
from stack import wait_for


class Asked:
    """A chat completion that was asked for, and the way to answer it."""

    def __init__(self, handler, body):
        self._handler = handler
        self.body = body
        self.turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
        self.prompt = self.turns[-1][1]
        self.key = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        self.go_on = threading.Event()
        self.has_left = False

    @property
    def context(self):
        """The texts before the prompt."""
        return [content for _, content in self.turns[:-1]]

    def begin(self, status=200, kind="text/event-stream", headers=()):
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", kind)
        for name, value in headers:
            self._handler.send_header(name, value)
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()

    def send(self, data):
        self._handler.wfile.write(data if isinstance(data, bytes) else data.encode())
        self._handler.wfile.flush()

    def event(self, data):
        text = data if isinstance(data, str) else json.dumps(data)
        self.send(f"data: {text}\n\n")

    def say(self, words, finish=None):
        self.event({"choices": [{"index": 0, "delta": {"content": words}, "finish_reason": finish}]})

    def end(self, **usage):
        self.say("", "stop")
        if usage:
            self.event({"choices": [], "usage": usage})
        self.event("[DONE]")

    def echo(self):
        """The whole of a friendly answer."""
        self.begin()
        self.say("echo: ")
        self.say(self.prompt)
        self.end(prompt_tokens=7, completion_tokens=5)

    def wait(self, cap=45):
        """Waits until the test lets it go on or the caller leaves; whether it may go on."""
        connection = self._handler.connection
        for _ in range(cap * 100):
            if self.go_on.wait(0.01):
                return True
            if select.select([connection], [], [], 0)[0]:
                self.has_left = True
                return False
        return False


class Upstream:
    """Serves on the loopback while the `with` block lasts.

    A prompt that begins with a name in `scripts` is answered by that function, any other by an
    echo. `asked` are all requests, oldest first. With `tls=True` it is reached over TLS, with a
    certificate that `ca_file` signs; `settings` are what workers need to find it.
    """

    def __init__(self, tls=False, **scripts):
        self.scripts, self.asked = {"crowd": stay} | scripts, []
        self._opened, context, self.ca_file = contextlib.ExitStack(), None, None
        if tls:
            directory = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="upstream-"))
            self.ca_file = make_certificates(directory)
            context = server_context(directory)
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner._answer(self, json.loads(body))

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def get_request(self):
                connection, address = super().get_request()
                return (accepted(connection, context) if context else connection), address

            def shutdown_request(self, request):
                announce_end(request)
                super().shutdown_request(request)

            def handle_error(self, request, client_address):
                # A caller that goes in the handshake is no failure of the server.
                if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        host = "https://localhost" if tls else "http://127.0.0.1"
        self.url = f"{host}:{self._server.server_address[1]}"
        self.settings = {"API_URL": self.url} | ({"SSL_CERT_FILE": self.ca_file} if tls else {})
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        for asked in self.asked:
            asked.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._opened.close()

    def _answer(self, handler, body):
        asked = Asked(handler, body)
        self.asked.append(asked)
        script = self.scripts.get(asked.prompt.split(" ")[0], Asked.echo)
        try:
            script(asked)
        except (BrokenPipeError, ConnectionResetError):
            asked.has_left = True

    def of(self, prompt):
        """The requests with this prompt."""
        return [asked for asked in list(self.asked) if asked.prompt == prompt]

    def arrived(self, prompt):
        """Waits for the request with this prompt."""
        return wait_for(lambda: self.of(prompt), f"the prompt {prompt}")[-1]


def stay(asked):
    """Says its first words, and no more while the test lasts."""
    asked.begin()
    asked.say("first words")
    asked.go_on.wait()


def hold(asked):
    """Says its first words and the others when it may, unless the caller has left by then."""
    asked.begin()
    asked.say("first words")
    if asked.wait():
        asked.say(" and the rest")
        asked.end(prompt_tokens=3, completion_tokens=4)
