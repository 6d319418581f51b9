"""nginx's files for one stack: those of nginx/ as they are installed, addresses and paths replaced.

Around them an nginx.conf like Debian's, so that what nginx/ sets is tested against it. With TLS,
also a TLS face for the mock upstream that offers HTTP/2, which the mock itself does not.
"""

import os
import pathlib
import shutil

from processes import StackError, has_ipv6_loopback, open_files

CHECKOUT = pathlib.Path(__file__).resolve().parents[4]

# What nginx/ says for production.
WORKER_SOCKET = "unix:/run/proxy-gpt/worker.sock"
STREAMER_SOCKET = "unix:/run/proxy-gpt/streamer.sock"
ACCESS_LOG = "/var/log/nginx/proxy-gpt.access.log"
ERROR_LOG = "/var/log/nginx/error.log"
PAGE_ROOT = "/usr/share/proxy-gpt"
LISTEN_IPV4 = "listen 8080;"
LISTEN_IPV6 = "listen [::]:8080;"
# Tests do from one address what no address should; that the limits work is shown where they stand.
CREDENTIALS_RATE = "rate=5r/s;"
SIGN_UP_RATE = "rate=2r/s;"
# What `make run` shows of a request. The path stands without its query, where tokens may be.
TERMINAL_FORMAT = (
    "'$time_iso8601 $proxy_gpt_method $proxy_gpt_path $status ${request_time}s "
    "$proxy_gpt_request_id'"
)
LOG_RATE = "rate=1r/s;"
CONNECTIONS = "limit_conn proxy_gpt_connections 200;"
OPEN_FORMS = "limit_conn proxy_gpt_open_forms 50;"


def nginx_binary():
    path = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not path:
        raise StackError("nginx is not installed: run `make packages` first")
    return path


def replaced(text, old, new, times=1):
    """The text with `old` replaced; an error when nginx/ no longer says what we expect."""
    found = text.count(old)
    if found != times:
        raise StackError(f"nginx/ says `{old}` {found} times, not {times}: front.py must follow")
    return text.replace(old, new)


def write_nginx_files(
    directory,
    port,
    worker_socket,
    streamer_socket,
    access_log,
    error_log,
    tls_port=None,
    tls_upstream=None,
    limits=False,
    on_terminal=False,
):
    """Writes below `directory`/nginx. `tls_upstream` is (port, address of the mock).

    With `limits` an address may do what nginx/ says, else nearly everything. With `on_terminal`
    requests are logged to standard output, in few words.
    """
    root = pathlib.Path(directory, "nginx")
    for name in ("", "snippets", "temporary"):
        root.joinpath(name).mkdir(exist_ok=True)

    source = CHECKOUT / "nginx"
    for name in ("proxy-gpt-page.conf", "proxy-gpt-docs.conf"):
        files = replaced((source / name).read_text(), PAGE_ROOT, str(CHECKOUT))
        root.joinpath("snippets", name).write_text(files)

    shared = replaced(
        (source / "proxy-gpt-http.conf").read_text(), WORKER_SOCKET, "unix:" + worker_socket
    )
    shared = replaced(shared, STREAMER_SOCKET, "unix:" + streamer_socket, 2)
    for rate in () if limits else (CREDENTIALS_RATE, SIGN_UP_RATE, LOG_RATE):
        shared = replaced(shared, rate, "rate=10000r/s;")
    root.joinpath("proxy-gpt-http.conf").write_text(shared)

    listen = [f"listen 127.0.0.1:{port};"]
    if tls_port:
        listen += tls_lines(directory, tls_port)
    site = (source / "proxy-gpt.conf").read_text()
    site = replaced(site, LISTEN_IPV4, "\n    ".join(listen))
    ipv6 = f"listen [::1]:{port};" if has_ipv6_loopback() else ""
    site = replaced(site, LISTEN_IPV6, ipv6)
    root.joinpath("proxy-gpt.conf").write_text(site)

    locations = (source / "proxy-gpt-locations.conf").read_text()
    if on_terminal:
        locations = replaced(
            locations, f"{ACCESS_LOG} proxy_gpt if", "/dev/stdout proxy_gpt_terminal if"
        )
    else:
        locations = replaced(locations, ACCESS_LOG, access_log)
    locations = replaced(locations, ERROR_LOG, error_log, 11)
    if not limits:
        locations = replaced(locations, CONNECTIONS, CONNECTIONS.replace("200", "65535"), 4)
        locations = replaced(locations, OPEN_FORMS, OPEN_FORMS.replace("50", "65535"), 3)
    root.joinpath("snippets/proxy-gpt-locations.conf").write_text(locations)
    for name in ("fastcgi", "streamer", "operators"):
        shutil.copy(source / f"proxy-gpt-{name}.conf", root / "snippets")

    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n    ".join(f"{kind}_temp_path {root}/temporary/{kind};" for kind in kinds)
    # As root nginx would hand its workers to nobody, who may not enter our directory.
    user = "user root root;" if os.geteuid() == 0 else ""
    root.joinpath("nginx.conf").write_text(f"""\
{user}
daemon off;
worker_processes auto;
worker_rlimit_nofile {open_files()};
pid {root}/nginx.pid;
error_log {error_log};
events {{
    worker_connections {min(16384, open_files() * 3 // 4)};
}}
http {{
    sendfile on;
    tcp_nopush on;
    gzip on;
    access_log off;
    log_format proxy_gpt_terminal {TERMINAL_FORMAT};
    {temporary}
    {tls_face(directory, *tls_upstream) if tls_upstream else ""}
    include proxy-gpt-http.conf;
    include proxy-gpt.conf;
}}
""")


def tls_lines(directory, port):
    return [
        f"listen 127.0.0.1:{port} ssl http2;",
        f"ssl_certificate {directory}/tls.pem;",
        f"ssl_certificate_key {directory}/tls.key;",
    ]


def tls_face(directory, port, address):
    """A server that passes everything on at once, over HTTP/2 if the caller likes, and WebSockets."""
    lines = "\n        ".join(tls_lines(directory, port))
    return f"""\
map $http_upgrade $face_connection {{
        default "";
        "~*^websocket$" upgrade;
    }}
    server {{
        {lines}
        merge_slashes off;
        gzip off;
        client_max_body_size 0;
        location / {{
            proxy_pass {address};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $face_connection;
            proxy_set_header Host $http_host;
            proxy_set_header Protocol-Of-Call $server_protocol;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 1h;
        }}
    }}"""
