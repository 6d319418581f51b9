"""The one type of error, and when a call that failed is made again."""

from __future__ import annotations

import email.utils
import json
import os
import random
import socket
import ssl
import time
from typing import Any, Mapping, Optional

# A server that asks for more patience than this is not asked again.
LONGEST_RETRY_AFTER = 60.0
LONGEST_BACKOFF = 8.0


class ProxyGPTError(Exception):
    """A refusal of the server, a reply that failed, or a connection that did.

    `status` is the HTTP status. It is 0 where the server gave no answer: the `code` is then `connection` or `timeout`.
    What is no answer of this server has the code `unexpected_answer`.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "connection",
        param: Optional[str] = None,
        request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
        upstream_message: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.upstream_message = upstream_message

    def __repr__(self) -> str:
        return f"ProxyGPTError(status={self.status}, code={self.code!r}, message={self.message!r})"


def connection_error(reason: str) -> ProxyGPTError:
    """The error of a server that cannot be reached, or that is silent."""
    return ProxyGPTError(f"The server cannot be reached: {reason}.")


def error_of_system(error: OSError) -> ProxyGPTError:
    """The error of a connection that the system refuses. Other texts than these may quote addresses."""
    if isinstance(error, (socket.gaierror, ssl.SSLError)):
        return connection_error(str(error.strerror))
    return connection_error(os.strerror(error.errno) if error.errno else type(error).__name__)


def unexpected(message: str, status: int) -> ProxyGPTError:
    """The error of what no server of this product would answer."""
    return ProxyGPTError(message, status=status, code="unexpected_answer")


def error_of_answer(status: int, headers: Mapping[str, str], body: bytes) -> ProxyGPTError:
    """The error that an answer without success holds. The names of `headers` are in lower case."""
    try:
        fields = json.loads(body)["error"]
        message, code = str(fields["message"]), str(fields["code"])
    except (ValueError, KeyError, TypeError):
        # Something before the server has answered.
        fields, message, code = {}, f"The server answered with status {status}.", "unexpected_answer"
    return ProxyGPTError(
        message,
        status=status,
        code=code,
        param=fields.get("param"),
        request_id=headers.get("x-request-id"),
        retry_after=seconds_of(headers.get("retry-after")),
        upstream_message=fields.get("upstream_message"),
    )


def error_of_reply(fields: Optional[Mapping[str, Any]]) -> ProxyGPTError:
    """The error of a reply that failed, from the `error` of its message. The status is that of a prompt's answer."""
    given = fields or {}
    code = given.get("code") or "upstream_error"
    return ProxyGPTError(
        given.get("message") or "The reply failed.",
        status=504 if code == "upstream_timeout" else 502,
        code=code,
        upstream_message=given.get("upstream_message"),
    )


def seconds_of(text: Optional[str]) -> Optional[float]:
    """The seconds of a Retry-After header, which is a number or a date."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def retry_delay(error: ProxyGPTError, attempt: int) -> Optional[float]:
    """The seconds before a call that may be repeated is made again; None where it is not.

    `attempt` counts from 0. A 502 with Retry-After is that of nginx, which found no worker; one without is the
    model's, and the next would be the same.
    """
    if error.status in (502, 503, 504):
        is_passing = error.code in ("unavailable", "unexpected_answer") or error.retry_after is not None
    elif error.status == 429:
        is_passing = error.retry_after is not None
    else:
        is_passing = error.status == 0 and error.code == "connection"
    if not is_passing:
        return None
    if error.retry_after is None:
        return backoff(attempt)
    return error.retry_after if error.retry_after <= LONGEST_RETRY_AFTER else None


def backoff(attempt: int) -> float:
    """Half a second, doubled with each attempt, with jitter so that clients do not come back all at once."""
    return min(LONGEST_BACKOFF, 0.5 * 2.0**attempt) * random.uniform(0.75, 1.0)
