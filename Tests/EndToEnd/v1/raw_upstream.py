"""An upstream, or a proxy before one, that answers with exactly the bytes that a test gives it.

Standard library only.
"""

import contextlib
import socket
import tempfile
import threading

from certificates import accepted, announce_end, make_certificates, server_context


class RawUpstream:
    """Answers each connection's request with `answer` and closes, while the `with` block lasts.

    `heads` are the requests' heads as they came, oldest first. With `tls=True` it is reached over
    TLS; `settings` are what workers need to find it.
    """

    def __init__(self, tls=False):
        self.answer, self.heads = b"", []
        self._opened, self._context = contextlib.ExitStack(), None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        host = "https://localhost" if tls else "http://127.0.0.1"
        self.url = f"{host}:{self._listener.getsockname()[1]}"
        self.settings = {"API_URL": self.url}
        if tls:
            directory = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="upstream-"))
            self.settings["SSL_CERT_FILE"] = make_certificates(directory)
            self._context = server_context(directory)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Closing alone would not end an accept that waits.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._opened.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._context:
                connection = accepted(connection, self._context)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            lines = [line.lower() for line in head.split(b"\r\n")]
            lengths = [line[15:] for line in lines if line.startswith(b"content-length:")]
            left = int(lengths[0]) - len(body) if lengths else 0
            while left > 0:
                left -= len(connection.recv(left)) or left
            self.heads.append(head + b"\r\n\r\n")
            connection.sendall(self.answer)
            announce_end(connection)
