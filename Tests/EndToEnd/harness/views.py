"""What one subscriber sees of a chat over all of its connections, and whether that may be so.

A view is fed by a thread of its own that subscribes, by server-sent events or WebSocket, and
comes back from its last id whenever the connection ends. The first frame that is wrong is told.
"""

import collections
import contextlib
import json
import socket
import threading
import time
import urllib.parse

import observers
from sse import Stream
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as connect_websocket

# Something comes every 15 s, or goes back and forth every 25 s.
SILENCE = 40


class Wrong(Exception):
    """A subscriber saw what it must not see."""


class View:
    """The frames of one subscriber. `expected(message)` is all that the model says, once known."""

    def __init__(self, name, last_id, expected):
        self.name, self.last_id = name, last_id
        self.words, self.ends, self.times = {}, {}, {}
        self.last_words = {}
        self.frames = self.resets = 0
        # The newest frames, for the search after a failure.
        self.trace = collections.deque(maxlen=4000)
        self._expected = expected
        self._epoch, self._sequence = last_id.rsplit("-", 1)
        self._sequence = int(self._sequence)
        # Messages whose end may come once more, because a reset tells all anew.
        self._retold = set()
        self._starts_over = False

    def take(self, is_reset, id, data):
        """One frame, in the order of arrival."""
        self.frames += 1
        self.trace.append((round(time.monotonic(), 3), id, summary(data)))
        if is_reset:
            self._reset()
        else:
            self._place(id, data["partial"])
            message = data["message"]
            if data["partial"]:
                self._more(message)
            else:
                self._end(message)
        self.last_id = id

    def _reset(self):
        self.resets += 1
        self.words.clear()
        self._retold = set(self.ends)
        self._starts_over = True

    def _place(self, id, is_partial):
        """Ids grow. Ends that come out of the store alone share the id of what came before."""
        epoch, sequence = id.rsplit("-", 1)
        sequence = int(sequence)
        if epoch == "reset":
            if is_partial and not self._starts_over:
                raise Wrong(f"words with the id {id} without a reset")
            return
        if self._starts_over:
            self._epoch, self._sequence, self._starts_over = epoch, sequence - 1, False
        if epoch != self._epoch:
            raise Wrong(f"{id} is of another log than {self._epoch}-{self._sequence}")
        if sequence < self._sequence or is_partial and sequence == self._sequence:
            raise Wrong(f"{id} after {self._epoch}-{self._sequence}")
        self._sequence = sequence

    def _more(self, message):
        key = message["id"]
        if key in self.ends:
            raise Wrong(f"words of {key} after its end")
        said = self.words[key] = self.words.get(key, "") + message["reply"]
        self.last_words[key] = time.monotonic()
        # A view may hear of a message before the sender of the prompt has its id.
        whole = self._expected(key)
        if whole is not None and not whole.startswith(said):
            raise Wrong(f"words of {key} are `{said}`, which does not begin `{whole}`")

    def _end(self, message):
        key = message["id"]
        if key in self._retold:
            self._retold.discard(key)
            if self.ends[key] != message:
                raise Wrong(f"{key} has another end: {message}, {self.ends[key]}")
            return
        if key in self.ends:
            raise Wrong(f"a second end of {key}")
        self.ends[key], self.times[key] = message, time.monotonic()

    def check(self, message):
        """A stored message beside what was seen of it."""
        key = message["id"]
        if key not in self.ends:
            raise Wrong(f"no end of {key}, which is {message['state']}")
        if self.ends[key] != message:
            raise Wrong(f"{key} ended as {self.ends[key]} and is stored as {message}")
        said, whole = self.words.get(key, ""), self._expected(key)
        if whole is not None and not whole.startswith(said):
            raise Wrong(f"words of {key} were `{said}`, which does not begin `{whole}`")
        return said == whole


def summary(data):
    if "message" not in data:
        return ("", data)
    message = data["message"]
    kind = "words" if data["partial"] else message["state"]
    return message["id"][-12:], kind, message["reply"][-40:]


class Subscriber(threading.Thread):
    """Keeps a view subscribed until it is told to stop. `tell` hears of every frame."""

    def __init__(self, url, chat, token, view, over, tell):
        super().__init__(daemon=True)
        self.view, self.over = view, over
        self.connections, self.refusals, self.cuts = 0, [], 0
        self.problem = None
        self._url, self._chat, self._token = url, chat, token
        self._tell = tell
        self._lock, self._socket, self._stops = threading.Lock(), None, False
        self._once = {"sse": self._events, "websocket": self._websocket}[over]

    def cut(self):
        """Breaks the connection from this side, with a reset where the client lets us."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket:
                self.cuts += 1
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                # Wakes the reader, which closes.
                self._socket.shutdown(socket.SHUT_RD)

    def stop(self):
        self._stops = True
        self.cut()

    def run(self):
        try:
            while not self._stops:
                self._once()
        except Exception as problem:
            if not self._stops:
                self.problem = problem
                self._tell()

    def _hold(self, connection):
        with self._lock:
            self._socket = connection
        if connection:
            self.connections += 1
            if self._stops:
                self.cut()

    def _take(self, is_reset, id, data):
        self.view.take(is_reset, id, data)
        self._tell()

    def _events(self):
        headers = [("Last-Event-ID", self.view.last_id)]
        try:
            stream = Stream(self._url, self._chat, self._token, headers=headers)
        except OSError:
            return
        except AssertionError as problem:
            # An answer that is no stream: a browser would not come back.
            self.refusals.append((time.monotonic(), str(problem)))
            return
        with stream:
            if stream.status != 200:
                self.refusals.append((time.monotonic(), f"status {stream.status}"))
                return
            self._hold(stream.socket)
            try:
                while not stream.ended:
                    seen = stream.comments
                    stream.read(
                        lambda stream: stream.events or stream.ended or stream.comments > seen,
                        cap=SILENCE,
                    )
                    events, stream.events = stream.events, []
                    for event, id, data in events:
                        self._take(event == "reset", id, data)
                    # An id without data moves the place too.
                    self.view.last_id = stream.last_id or self.view.last_id
            except OSError:
                pass
            finally:
                self._hold(None)

    def _websocket(self):
        query = {"id": self._chat, "token": self._token, "last_event_id": self.view.last_id}
        address = self._url.replace("http", "ws", 1) + "/chat/stream?"
        try:
            connection = connect_websocket(
                address + urllib.parse.urlencode(query), compression=None, proxy=None
            )
        except (OSError, EOFError):
            return
        except WebSocketException as problem:
            self.refusals.append((time.monotonic(), repr(problem)))
            return
        with connection, contextlib.suppress(OSError):
            self._hold(connection.socket)
            try:
                while True:
                    data = json.loads(connection.recv(timeout=SILENCE))
                    observers.frame(data)
                    id = data.pop("event_id", "reset-0")
                    self._take(data == {"reset": True}, id, data)
            except TimeoutError:
                # A keep-alive is not shown; the chat may be silent.
                pass
            except WebSocketException:
                pass
            finally:
                self._hold(None)
