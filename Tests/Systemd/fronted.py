"""What nginx does before a worker hears of it: limits, TLS, allow-lists, reloads; and the journal."""

import contextlib
import json
import pathlib
import re
import subprocess
import time

from client import call, check_error
from machine import (
    KEY,
    PASSWORD,
    URL,
    is_served,
    journal,
    restart_is_over,
    run,
    settings,
    shell,
    token,
    workers,
)
from stack import wait_for
from traffic import Audience, Callers, streams

ENABLED = pathlib.Path("/etc/nginx/sites-enabled")


def status(path, *options, url=URL):
    return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *options, url + path)


def health_and_figures_are_shown_to_whom_they_are_for():
    for path in ("/live", "/ready", "/ready/streamer", "/metrics", "/status"):
        assert status(path) == "200", path
    # Another address of this host, which is not in the list.
    for path in ("/metrics", "/status?full"):
        assert status(path, "--interface", "127.0.0.2") == "403"
        assert status(path + "?token=" + token(), "--interface", "127.0.0.2") == "403"
    assert status("/live", "--interface", "127.0.0.2") == "200"
    assert token() not in pathlib.Path("/var/log/nginx/error.log").read_text()
    figures = run("curl", "-s", f"{URL}/metrics")
    assert "proxy_gpt_requests_total{" in figures, figures[:500]
    return f"{len(figures.splitlines())} lines of figures"


def who_logs_in_too_often_is_told_to_wait():
    form = {"username": "asim", "password": PASSWORD}
    first = time.monotonic()
    assert call(URL, "POST", "/user/login", form=form).status == 200
    hashed = time.monotonic() - first
    # A burst beyond the limit from one address; without a password, so that nothing takes time.
    statuses = [call(URL, "POST", "/user/login").status for _ in range(60)]
    for path in ("/user/login", "/user/signup"):
        # Five a second are served meanwhile.
        answers = (call(URL, "POST", path) for _ in range(200))
        refused = next(answer for answer in answers if answer.status != 400)
        check_error(refused, 429, "rate_limited")
        assert refused.header("Retry-After") == "1"
    served = statuses.count(400)
    assert set(statuses) <= {400, 429} and served >= 30, statuses
    # Another address, and other calls, are not touched; and the limit passes.
    assert status("/user/login", "--interface", "127.0.0.2", "-X", "POST") == "400"
    assert is_served() and call(URL, "GET", "/user/session", token=token()).status == 200
    wait_for(lambda: call(URL, "POST", "/user/login", form=form).status == 200, "its end")
    return f"{served} of 60 at once served; one log-in takes {hashed * 1000:.0f} ms"


def the_sample_of_a_balancer_works():
    text = pathlib.Path("/usr/share/proxy-gpt/balancer.conf").read_text()
    for host in ("192.0.2.11", "192.0.2.12", "192.0.2.1;"):
        text = text.replace(host, "127.0.0.1" + (";" if host.endswith(";") else ""))
    # The hosts' lines stand in it as a comment.
    lines = [line.lstrip("# ") for line in text.splitlines() if re.match("# +(set_real|real)_", line)]
    assert len(lines) == 3, lines
    path = ENABLED / "balancer.conf"
    path.write_text(text)
    # The hosts' side: the balancer's word is believed.
    site = pathlib.Path("/etc/nginx/sites-available/proxy-gpt.conf")
    good = site.read_text()
    site.write_text(good.replace("    listen 8080;", "    listen 8080;\n    " + "\n    ".join(lines)))
    try:
        shell("nginx -t && systemctl reload nginx")
        url = "http://127.0.0.1:8081"
        wait_for(lambda: not subprocess.call(["curl", "-s", "-o", "/dev/null", url]), "port")
        assert call(url, "GET", "/v1/models", token=token()).status == 200
        # The balancer passes no metrics, and a caller that asks the hosts in its name is a stranger.
        for page in ("/metrics", "/status?full"):
            assert status(page, url=url) == "404"
            for header in ("X-Forwarded-For: 127.0.0.2", "Via: 1.1 front"):
                assert status(page, "-H", header) == "403", header
    finally:
        path.unlink()
        site.write_text(good)
        shell("nginx -t && systemctl reload nginx")


@contextlib.contextmanager
def tls_site():
    """The section on TLS of docs/install.md, followed."""
    shell("install -d -m 0700 /etc/ssl/proxy-gpt")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
        "-days", "2", "-subj", "/CN=api.example.org", "-addext", "subjectAltName=DNS:api.example.org",
        "-keyout", "/etc/ssl/proxy-gpt/privkey.pem", "-out", "/etc/ssl/proxy-gpt/fullchain.pem")  # fmt: skip
    path = ENABLED / "proxy-gpt.tls.conf"
    shell(f"cp /usr/share/proxy-gpt/tls.conf {path}")
    # Debian's own site has port 80 as well; it may stay.
    shell("nginx -t && systemctl reload nginx")
    try:
        yield path
    finally:
        path.unlink()
        shell("rm -r /etc/ssl/proxy-gpt")
        shell("nginx -t && systemctl reload nginx")


def the_sample_with_tls_works():
    with tls_site():
        known = ("--cacert", "/etc/ssl/proxy-gpt/fullchain.pem", "--resolve", "api.example.org:443:127.0.0.1")
        url = "https://api.example.org"

        def over_h2():
            seen = subprocess.run(
                ["curl", "-s", *known, "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
                 "-H", f"Authorization: Bearer {token()}", f"{url}/v1/models"],
                capture_output=True, text=True,
            )  # fmt: skip
            return seen.stdout == "2 200"

        wait_for(over_h2, "HTTP/2 over TLS")
        form = f"username=asim&password={PASSWORD}"
        head = run("curl", "-s", *known, "-D", "-", "-o", "/dev/null", "-d", form, f"{url}/user/login")
        assert "; secure" in head.lower(), head
        plain = ("--resolve", "api.example.org:80:127.0.0.1")
        assert status("/", *plain, url="http://api.example.org") == "308"
        assert status("/v1/models", *plain, url="http://api.example.org") == "404"
        # To its own name, whatever name is asked for.
        head = run("curl", "-sI", "-H", "Host: evil.example", "--resolve", "api.example.org:80:127.0.0.1",
                   "http://api.example.org/")  # fmt: skip
        assert "evil" not in head, head


def a_reload_of_nginx_under_load_cuts_no_call():
    """It closes idle connections, upon which a client may just have sent: not served, and no row."""
    with Callers() as callers:
        callers.go_on()
        audience, long = Audience("mock?chunks=40&chunk-delay-ms=100"), streams("mock?chunks=40&chunk-delay-ms=100")
        for _ in range(3):
            run("systemctl", "reload", "nginx")
            callers.go_on()
        for stream in long:
            stream.check()
    callers.check()
    audience.check()
    recorded = callers.recorded()
    assert not [name for _, name, _ in callers.failures if name in recorded]
    return f"3 reloads: {callers.check()}, none of those recorded; streams and watchers saw nothing"


def the_journal_has_fields_and_json_when_asked():
    with settings("LOG_LEVEL=debug\n"):
        run("proxy-gpt-restart")
        wait_for(restart_is_over, "the end of the restart", 60)
        assert is_served()

        def found():
            entries = journal("-u", "proxy-gpt-worker@*", "-n", "400")
            return [one for one in entries if one.get("PROXY_GPT_HTTP_ROUTE", "").startswith("/v1")]

        entry = wait_for(found, "a request in the journal")[-1]
        assert entry["PRIORITY"] == "7" and entry["SYSLOG_IDENTIFIER"] == "proxy-gpt-worker", entry
        assert entry["PROXY_GPT_HTTP_STATUS"] == "200" and entry["PROXY_GPT_REQUEST_ID"], entry
        assert entry["_TRANSPORT"] == "journal"
        [ready] = [one for one in journal("-u", workers()[0]) if one["MESSAGE"].startswith("ready")][-1:]
        assert ready["PRIORITY"] == "6" and ready["PROXY_GPT_PROCESS_ID"] == ready["_PID"], ready
    with settings("LOG_FORMAT=json\nLOG_LEVEL=debug\n"):
        run("proxy-gpt-restart")
        wait_for(restart_is_over, "the end of the restart", 60)
        lines = run("journalctl", "-u", workers()[0], "-o", "cat", "-n", "20").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        assert [one for one in told if one.get("message") == "ready"], lines
    run("proxy-gpt-restart")
    wait_for(restart_is_over, "the end of the restart", 60)


def nothing_secret_is_in_a_log():
    assert status(f"/user/login?username=asim&password={PASSWORD}") != "000"
    text = run("journalctl", "--no-pager", "-o", "json", "-u", "proxy-gpt*")
    for path in pathlib.Path("/var/log/nginx").iterdir():
        text += path.read_text(errors="replace")
    assert len(text) > 10_000
    assert not [secret for secret in (KEY, PASSWORD, token()) if secret in text]
