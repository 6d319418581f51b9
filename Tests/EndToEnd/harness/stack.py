"""The whole product on this machine: nginx in front, workers, streamer, a mock upstream.

Owns every process it starts and one temporary directory with sockets, logs and nginx's files.
All sockets stay open here while workers and streamer come and go, as systemd keeps them.

Tests use `Stack`; `python3 Tests/EndToEnd/harness/stack.py run` serves in the foreground until Ctrl-C.
Standard library only.
"""

import atexit
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import uuid

import paths  # noqa: F401  the folders beside this file

import cluster
import observers
from certificates import make_certificates
from front import CHECKOUT, nginx_binary, write_nginx_files
from processes import (
    Processes,
    StackError,
    above_stdio,
    await_ready,
    first_line,
    free_port,
    read_text,
    wait_for,
)

__all__ = ["CANARY_KEY", "CHECKOUT", "Stack", "StackError", "binary", "wait_for"]

CANARY_KEY = "sk-canary-5f1c9a7be2d84c06"

# What tests wait for less than users do: a log-in of the usual cost takes a core for a quarter of a second, and
# the tests log in thousands of times.
TEST_SETTINGS = {"PASSWORD_COST": 10}

# Passed on to the processes of a test; all else of the caller's environment stays out.
INHERITED = ("PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "SWIFT_BACKTRACE")


def binary(name):
    """The path of one of the package's release binaries."""
    directory = os.environ.get("BIN_DIRECTORY")
    if not directory:
        command = ["swift", "build", "-c", "release", "--static-swift-stdlib", "--show-bin-path"]
        found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
        if found.returncode != 0:
            raise StackError("set BIN_DIRECTORY, or make `swift build` work:\n" + found.stderr)
        directory = os.environ["BIN_DIRECTORY"] = found.stdout.strip().splitlines()[-1]
    path = os.path.join(CHECKOUT, directory, name)
    if not os.access(path, os.X_OK):
        raise StackError(f"{path} is not there: run `make build` first")
    return path


class Stack:
    """nginx, workers, streamer and mock, up when the `with` block begins and gone when it ends.

    `settings` become the processes' environment, beside `TEST_SETTINGS`; a value of None removes a default. With
    `tls=True` there are two more legs: `tls_url` is nginx over TLS with HTTP/1.1 and HTTP/2, and
    the workers reach the mock over TLS at https://localhost, where nginx offers HTTP/2 too. With
    `upstream_tls=True` the mock itself speaks TLS there, HTTP/1.1 alone. `ca_file` signs all.
    With `limits=True`, as with an environment, nginx's limits are those of production.
    With `port` the address is given; with `environment` the processes' whole environment is, and
    what they log goes to the terminal, with
    `shows_requests` a line a request as well. With `database="postgresql"` it is a new one on the tests' own
    server, unless it is given as (server, name); STACK_DATABASE says so for all that do not say.
    A state directory has one streamer: where it has one already this stack starts none, and with
    `streamer=True` it does not start.
    """

    def __init__(
        self,
        workers=2,
        settings=None,
        mock=True,
        mock_args=(),
        state_directory=None,
        nginx=True,
        key=CANARY_KEY,
        tls=False,
        upstream_tls=False,
        port=None,
        environment=None,
        streamer=None,
        database=None,
        shows_requests=False,
        limits=False,
    ):
        self.workers = []
        self.streamer = None
        self.key = key
        self.url = self.tls_url = self.mock_url = self.upstream_url = self.ca_file = None
        self.directory = self.nginx = self.mock_process = None
        self._count, self._settings = workers, dict(settings or {})
        self._with_mock, self._mock_args = mock, list(mock_args)
        self._with_nginx, self._with_tls, self._with_upstream_tls = nginx, tls, upstream_tls
        self.held_calls = 0
        self._state_directory = state_directory
        self._environment = environment
        self._shows_requests = shows_requests
        self._limits = limits or environment is not None
        self.server, self.database_name = None, None
        if isinstance(database, tuple):
            self.server, self.database_name = database
        elif environment is None:
            database = database or os.environ.get("STACK_DATABASE", "sqlite")
            if database == "postgresql":
                self.server = cluster.shared()
        self._port, self._tls_port, self._upstream_port = port, None, None
        self._with_streamer = streamer
        self._kept_names = {}
        self._processes = None
        self._sockets = {}
        self._logs_of_workers, self._started = {}, 0
        self._lock, self._stopped = threading.Lock(), False

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # Starting and stopping

    def start(self):
        atexit.register(self.stop)
        try:
            self._start()
        except BaseException as error:
            if isinstance(error, Exception):
                self._print_logs()
            self.stop()
            raise
        return self

    def _start(self):
        # Paths of unix sockets end at 107 bytes, so not below a TMPDIR of any length.
        parent = tempfile.gettempdir()
        parent = parent if len(parent) <= 60 else "/tmp"
        self.directory = tempfile.mkdtemp(prefix="proxy-gpt-", dir=parent)
        self._processes = Processes(self.directory)

        self.state_directory = str(self._state_directory or self._path("state"))
        os.makedirs(self.state_directory, mode=0o700, exist_ok=True)
        self.database = os.path.join(self.state_directory, "proxy.db")
        if self.server and not self.database_name:
            self.database_name = self.server.database(self.state_directory)
        self.fastcgi_socket = self._path("worker.sock")
        self.handover_socket = self._path("handover.sock")
        self.streamer_socket = self._path("streamer.sock")
        self.bell_socket = os.path.join(self.state_directory, "bell.sock")
        self.nginx_access_log = self._path("nginx-access.log")
        self.nginx_error_log = self._log("nginx-error.log") or "stderr"

        holder = streamer_of(self.state_directory)
        if holder and self._with_streamer:
            raise StackError(
                f"the state directory {self.state_directory} is in use by the streamer of {holder}"
            )
        if self._with_streamer is None:
            self._with_streamer = not holder

        self.open_sockets()
        if self._with_tls or self._with_upstream_tls:
            self.ca_file = make_certificates(self.directory)
        if self._with_mock:
            self._start_mock()
        for _ in range(self._count):
            self.start_worker()
        if self._with_streamer:
            self.start_streamer()
        if self._with_nginx:
            self.start_nginx()

    def stop(self):
        """Ends every process and removes the directory. May be called twice."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        atexit.unregister(self.stop)
        if not self._processes:
            return
        # nginx first: without its connections the workers have nothing left to finish.
        if self.nginx:
            observers.stacks.discard(self.url)
            self._processes.end(self.nginx)
        ours = self.workers + ([self.streamer] if self.streamer else [])
        for process in ours:
            process.send_signal(signal.SIGTERM)
        for process in ours:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            self._processes.end(process)
        if self.mock_process:
            self._processes.end(self.mock_process)
        self.close_sockets()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._processes.close()

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _log(self, name):
        return None if self._environment is not None else self._path(name)

    # The pool's sockets

    def open_sockets(self):
        """Opens the sockets of workers and streamer, as systemd would."""
        listeners = {"worker": self.fastcgi_socket, "streamer": self.streamer_socket}
        bells = {"handover": self.handover_socket}
        if self._with_streamer:
            bells["bell"] = self.bell_socket
        for name, path in {**listeners, **bells}.items():
            kind = socket.SOCK_STREAM if name in listeners else socket.SOCK_DGRAM
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            held = self._sockets[name] = above_stdio(socket.socket(socket.AF_UNIX, kind))
            held.bind(path)
            if name in listeners:
                held.listen(4096)
            os.chmod(path, 0o660 if name in listeners else 0o600)
            self._kept_names[path] = os.lstat(path).st_ino

    def close_sockets(self):
        """Closes and removes them: once no process is left, nginx gets no connection."""
        for held in self._sockets.values():
            path = held.getsockname()
            with contextlib.suppress(FileNotFoundError):
                # Another's socket under the name is not ours to remove.
                if os.lstat(path).st_ino == self._kept_names.get(path):
                    os.unlink(path)
            held.close()
        self._sockets, self._kept_names = {}, {}

    # Workers

    def start_worker(self):
        """Starts one more worker and returns when it says that it is ready."""
        process = self._launch_worker()
        with self._lock:
            self.workers.append(process)
        return process

    def stop_worker(self, process, timeout=15):
        """SIGTERM; the exit code once it has drained. An error if that takes longer."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return self._reap(process, timeout)

    def kill_worker(self, process):
        """SIGKILL, as a crash would end it."""
        process.kill()
        return self._reap(process, 15)

    def restart_worker(self, index, timeout=60):
        """Replaces a worker; the old one's exit code once it has drained.

        The new one is ready before the old one gets SIGTERM.
        """
        old = self.workers[index]
        new = self._launch_worker()
        with self._lock:
            self.workers[self.workers.index(old)] = new
        return self.stop_worker(old, timeout)

    def worker_log(self, worker):
        """What a worker has logged so far; by its index in `workers`, or by its process."""
        process = self.workers[worker] if isinstance(worker, int) else worker
        return read_text(self._logs_of_workers[process])

    def forget_worker(self, process):
        """Takes a worker that has ended off the list."""
        self._processes.ended(process)
        with self._lock:
            if process in self.workers:
                self.workers.remove(process)

    def _reap(self, process, timeout):
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise StackError(f"{process.name} was not done {timeout} s after SIGTERM") from None
        finally:
            self.forget_worker(process)

    def _launch_worker(self):
        with self._lock:
            self._started += 1
            number = self._started
        return self._launch("proxy-gpt-worker", f"worker-{number}", ("worker", "handover"))

    def _launch(self, program, name, sockets):
        """Starts one of our processes with two of the sockets; returns when it is ready."""
        path, log = self._path(f"notify-{name}.sock"), self._log(f"{name}.log")
        first, second = (self._sockets[given].fileno() for given in sockets)
        # exec keeps the process id; Popen alone cannot give a child descriptors 3 and 4.
        script = f'exec 3<&{first} 4<&{second} {first}<&- {second}<&-; exec "$0"'
        environment = self._worker_environment()
        environment.update(
            LISTEN_FDS="2", LISTEN_FDNAMES=":".join(sockets), NOTIFY_SOCKET=path
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(path)
            process = self._processes.start(
                ["/bin/bash", "-c", script, binary(program)],
                name.replace("-", " "),
                log=log,
                env=environment,
                cwd=self.state_directory,
                pass_fds=(first, second),
            )
            self._logs_of_workers[process] = log
            try:
                await_ready(process, notified)
            except BaseException:
                self._processes.end(process)
                raise
            finally:
                os.unlink(path)
        return process

    # The streamer

    def start_streamer(self):
        """Starts the streamer and returns when it says that it is ready."""
        with self._lock:
            self._started += 1
            name = f"streamer-{self._started}"
        self.streamer = self._launch("proxy-gpt-streamer", name, ("streamer", "bell"))
        return self.streamer

    def stop_streamer(self, timeout=15):
        """SIGTERM; the exit code once all streams have ended."""
        process, self.streamer = self.streamer, None
        process.send_signal(signal.SIGTERM)
        return self._reap(process, timeout)

    def kill_streamer(self):
        """SIGKILL, as a crash would end it."""
        process, self.streamer = self.streamer, None
        process.kill()
        return self._reap(process, 15)

    def _worker_environment(self):
        if self._environment is not None:
            values = dict(self._environment)
        else:
            values = {name: os.environ[name] for name in INHERITED if name in os.environ}
        for name in ("LISTEN_PID", "BASH_ENV"):
            values.pop(name, None)
        ours = {
            "STATE_DIRECTORY": self.state_directory,
            "API_URL": self.upstream_url,
            "API_KEY": self.key,
            "SSL_CERT_FILE": self.ca_file,
        }
        if self.server:
            ours["DB_ADDRESS"] = self.server.address(self.database_name)
        values.update({name: value for name, value in ours.items() if value})
        settings = self._settings if self._environment is not None else TEST_SETTINGS | self._settings
        for name, value in settings.items():
            if value is None:
                values.pop(name, None)
            else:
                values[name] = str(value)
        return values

    # The operator's commands

    def admin(self, *arguments, input="", settings=None, timeout=60):
        """Runs proxy-gpt-admin on this stack's database: (exit code, output, errors)."""
        process = self.start_admin(*arguments, settings=settings, stdin=subprocess.PIPE)
        try:
            out, err = process.communicate(input.encode(), timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process.returncode, out.decode(), err.decode()

    def start_admin(self, *arguments, settings=None, stdin=subprocess.DEVNULL):
        """A running proxy-gpt-admin, which the caller ends."""
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment["STATE_DIRECTORY"] = self.state_directory
        if self.server:
            environment["DB_ADDRESS"] = self.server.address(self.database_name)
        settings = TEST_SETTINGS | (settings or {})
        environment.update({name: str(value) for name, value in settings.items() if value is not None})
        return subprocess.Popen(
            [binary("proxy-gpt-admin"), *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.directory,
        )

    # nginx

    def start_nginx(self):
        """Starts nginx and returns when its address accepts connections."""
        given = self._port is not None
        for _ in range(5):
            self._port = self._port or free_port()
            if self._with_tls:
                self._tls_port = self._tls_port or free_port()
            if self._nginx_accepts():
                break
            # Somebody may have taken the port between the look and the use: another one.
            self._processes.end(self.nginx)
            taken = not given and "Address already in use" in read_text(self.nginx_error_log)
            if not taken:
                raise StackError("nginx did not start, see what it logged")
            self._port = self._tls_port = None
        else:
            raise StackError("nginx found no free port")
        self.url = f"http://127.0.0.1:{self._port}"
        observers.stacks.add(self.url)
        self.tls_url = f"https://localhost:{self._tls_port}" if self._tls_port else None

    def stop_nginx(self):
        self._processes.end(self.nginx)

    def _nginx_accepts(self):
        mock_face = (self._upstream_port, self.mock_url) if self._upstream_port else None
        write_nginx_files(
            self.directory,
            self._port,
            self.fastcgi_socket,
            self.streamer_socket,
            self.nginx_access_log,
            self.nginx_error_log,
            tls_port=self._tls_port,
            tls_upstream=mock_face,
            on_terminal=self._shows_requests,
            limits=self._limits,
        )
        arguments = ["-p", self.directory, "-c", self._path("nginx/nginx.conf")]
        arguments += ["-e", self.nginx_error_log]
        self.nginx = self._processes.start(
            [nginx_binary(), *arguments], "nginx", log=self._log("nginx.log")
        )

        def tried():
            if self.nginx.poll() is not None:
                return "ended"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return "accepts"

        return wait_for(tried, f"nginx on port {self._port}") == "accepts"

    # The mock upstream

    def _start_mock(self):
        arguments = [binary("mock-upstream"), "--port", "0", *self._mock_args]
        if self.key and "--key" not in arguments:
            arguments += ["--key", self.key]
        if self._with_upstream_tls:
            arguments += ["--certificate", self._path("tls.pem")]
            arguments += ["--private-key", self._path("tls.key")]
        self.mock_process = self._processes.start(
            arguments, "mock-upstream", log=self._log("mock.log"), stdout=subprocess.PIPE
        )
        line = first_line(self.mock_process)
        if not line.startswith("listening on http://"):
            raise StackError(f"mock-upstream did not start: {line!r}")
        # With TLS there are two addresses: the tests ask the first, the workers the last.
        addresses = line.split(" on ", 1)[1].split(" and ")
        self.mock_url, self.upstream_url = addresses[0], addresses[-1]
        if self._with_tls and not self._with_upstream_tls:
            self._upstream_port = free_port()
            self.upstream_url = f"https://localhost:{self._upstream_port}"

    def mock(self, path):
        """GET of one of the mock's control paths, parsed."""
        return self._call_mock("GET", path)

    def mock_delete(self, path):
        """DELETE of one of the mock's control paths, parsed."""
        return self._call_mock("DELETE", path)

    def _call_mock(self, method, path):
        status, body = request(self.mock_url, method, path)
        if status >= 300:
            raise AssertionError(f"mock {method} {path}: {status} {body[:500]!r}")
        return json.loads(body) if body.strip() else None

    # A client, and what is left to read

    def signup(self, username=None, password="password-1"):
        """A new user through nginx: (token, user)."""
        username = username or "user-" + uuid.uuid4().hex[:12]
        fields = urllib.parse.urlencode({"username": username, "password": password})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, body = request(self.url, "POST", "/user/signup", fields, headers)
        if status != 200:
            raise AssertionError(f"signup of {username}: {status} {body[:500]!r}")
        answer = json.loads(body)
        return answer["token"], answer["user"]

    def logs(self):
        """What the processes of this stack have written, nginx's two logs included, by path."""
        paths = list(self._processes.log_files)
        paths += [self.nginx_access_log, self.nginx_error_log]
        return {path: read_text(path) for path in paths if os.path.exists(path)}

    def _print_logs(self):
        if self._processes and self._environment is None:
            for path, text in self.logs().items():
                if text.strip():
                    name = pathlib.Path(path).name
                    print(f"--- {name}\n{text[-8000:]}", file=sys.stderr)


def streamer_of(directory):
    """The process whose streamer serves from a state directory, in words; None without one."""
    with contextlib.suppress(FileNotFoundError), open(f"{directory}/streamer.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"process {lock.read().strip() or 'unknown'}"
    return None


def request(url, method, path, body=None, headers=None):
    """One request on a connection of its own: (status, body)."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


if __name__ == "__main__":
    import foreground

    sys.exit(foreground.main(sys.argv[1:]))
