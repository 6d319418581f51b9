"""Certificates of the tests' own, and TLS for the servers that are written in Python."""

import contextlib
import os
import ssl
import subprocess

from processes import StackError


def make_certificates(directory):
    """A CA that exists for this directory alone and a certificate for localhost; the CA's path."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"]
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
    authority = [*key, "-subj", "/CN=stack", "-keyout", "ca.key", "-out", "ca.pem"]
    server = [*key, "-subj", "/CN=localhost", "-addext", names, "-CA", "ca.pem"]
    server += ["-CAkey", "ca.key", "-keyout", "tls.key", "-out", "tls.pem"]
    server += ["-addext", "basicConstraints=critical,CA:FALSE"]
    for arguments in (authority, server):
        command = ["openssl", "req", "-x509", *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError("openssl: " + done.stderr)
    return os.path.join(directory, "ca.pem")


def server_context(directory):
    """A server's side of TLS with the certificate in this directory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "tls.pem"), os.path.join(directory, "tls.key"))
    context.set_alpn_protocols(["http/1.1"])
    return context


def accepted(connection, context):
    """The connection with TLS; the handshake runs with the first read, in the reader's thread."""
    return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)


def announce_end(connection):
    """Tells the peer that all has been sent, and does not wait for its answer."""
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError, ValueError):
            connection.setblocking(False)
            connection.unwrap()
