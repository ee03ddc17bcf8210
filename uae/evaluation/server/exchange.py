"""One request and its whole answer over HTTP, bounded in time and size."""

import os
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import certifi
import urllib3

from uae.errors import EvaluationError
from uae.evaluation.server.faults import RequestFailed, Transient

MAX_BYTES = 128 * 2**20  # of one answer; a PNG of 4096 pixels a side has about half of it
_CHUNK = 2**20
_UNREACHABLE = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_LOST = (
    urllib3.exceptions.ProtocolError,  # reset, or closed in the middle of an answer
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.SSLError,  # of a server that has answered before
)


class Came(NamedTuple):
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Exchange:
    """Sends requests once each. Safe to use from several threads; connections are kept."""

    def __init__(self, *, timeout_seconds: float, connections: int) -> None:
        self._seconds = timeout_seconds
        self.reached = False  # whether anything has ever answered
        self._http = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(total=timeout_seconds),
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )

    def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> Came:
        """Send one request. A redirect is not followed: what is sent is meant for this host.

        Raises:
            Transient: If there is no connection, or no whole answer in time.
            RequestFailed: If the answer is too large, or the address cannot be asked.
            EvaluationError: If TLS with the server is impossible.
        """
        deadline = time.monotonic() + self._seconds
        host = host_of(url)
        try:
            response = self._http.request(
                method, url, body=data, headers=headers, redirect=False, preload_content=False
            )
            self.reached = True
            return Came(response.status, response.headers, self._read(response, deadline))
        except _UNREACHABLE as error:
            raise Transient(f"no connection to {host}", unreachable=True) from error
        except urllib3.exceptions.TimeoutError as error:
            raise self._too_late() from error
        except _LOST as error:
            if isinstance(error, urllib3.exceptions.SSLError) and not self.reached:
                raise EvaluationError(f"no TLS with {host}: {error}") from error
            raise Transient(f"{host} closed the connection before its answer was whole") from error
        except urllib3.exceptions.HTTPError as error:
            raise RequestFailed(f"{host} cannot be asked ({type(error).__name__})") from error

    def close(self) -> None:
        """Let go of the connections; a later request opens new ones."""
        self._http.clear()

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """Read an answer by the deadline; the socket's own timeout begins anew with every byte."""
        parts, size = [], 0
        try:
            while part := response.read1(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    raise RequestFailed(f"the answer is larger than {MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise self._too_late()
        except BaseException:
            response.close()  # what is left of the answer must not be read as the next one
            raise
        response.release_conn()
        return b"".join(parts)

    def _too_late(self) -> Transient:
        return Transient(f"no whole answer within {self._seconds:g} seconds")


def host_of(url: str) -> str:
    """Return an address's host and port, without user, password and path.

    Raises:
        ValueError: If it is malformed.
    """
    parts = urlsplit(url)
    port = parts.port  # it is only checked when it is read
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no address of http or https")
    return f"{parts.hostname}:{port}" if port else parts.hostname
