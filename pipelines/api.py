"""The API of Kubeflow Pipelines, as far as `uae submit` and `uae schedule` need it.

This speaks through the API client that the SDK is built on, and not through the SDK's own `Client`:
that has no time limit for a request, tries a refused token five times with 5 s between, reads and
writes a context file in the home folder, and never ends waiting for a run that was cancelled.
Answers are kept as plain JSON, so that a state which a newer server adds does no harm. What is sent
is the same; a test compares.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3
from kfp_server_api import ApiClient, ApiException, Configuration

from uae.errors import ClusterError, SubmitError
from uae.launch.token_file import read_token

API = "/apis/v2beta1"
REQUEST_SECONDS = (10, 60)  # to connect, to answer
PAGE_SIZE = 100
TRANSIENT_STATUS = {429, 500, 502, 503, 504}
ATTEMPTS, FIRST_DELAY_SECONDS = 3, 0.5  # of what may be repeated
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")  # states that a run does not leave
NAMESPACE = "uae"  # where the manifests put everything
SHOWN = 500  # characters of an answer


class ApiFault(ClusterError):
    """The API refused, failed or was out of reach."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keep the status; None: there was no answer."""
        super().__init__(message)
        self.status = status

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status is None or self.status in TRANSIENT_STATUS


class PipelinesApi:
    """One server, and the namespace in which runs are started."""

    def __init__(
        self,
        host: str,
        *,
        ui: str | None = None,
        namespace: str | None = None,
        token_file: Path | None = None,
        ca_certificates: Path | None = None,
    ) -> None:
        """Ask the server whether it keeps users apart, which is the first request.

        Args:
            host: http(s)://host[:port][/path].
            ui: Where links point; None: the host.
            namespace: Of runs. None: `uae` where users are kept apart; else there is none to name.
            token_file: File with a bearer token. Read for every request: such tokens are renewed.
            ca_certificates: PEM file of the authorities to trust. None: the usual ones.

        Raises:
            SubmitError: If the address is malformed, the certificates are not there, or the
                namespace does not fit the server.
            ClusterError: If the token cannot be read.
            ApiFault: If the server refuses, or is no such API.
        """
        if not host.startswith(("http://", "https://")) or "@" in host:
            raise SubmitError(
                f"bad address of Kubeflow Pipelines {_without_password(host)!r}: give "
                "http://host:port or https://host/pipeline, a token with --token-file"
            )
        self.host = host.rstrip("/")
        self.ui = (ui or host).rstrip("/")
        configuration = Configuration(host=self.host)
        configuration.retries = False  # one request is one request; and no redirect to a login
        if ca_certificates is not None:
            if not ca_certificates.is_file():
                raise SubmitError(f"there is no file {str(ca_certificates)!r} for --ca-cert")
            configuration.ssl_ca_cert = str(ca_certificates)
        self._token = ""
        if token_file is not None:
            configuration.api_key_prefix["authorization"] = "Bearer"
            self._refresh(configuration, token_file)
            configuration.refresh_api_key_hook = lambda _: self._refresh(configuration, token_file)
        self._client = ApiClient(configuration)
        self.namespace = self._settle_namespace(namespace)

    def link(self, run_id: str) -> str:
        """Return the address of a run in the UI."""
        return f"{self.ui}/#/runs/details/{run_id}"

    def experiment(self, name: str) -> str:
        """Return the id of the experiment with this name, created if there is none."""
        found = self._find_experiment(name)
        if found is None:
            body = {"display_name": name}
            body |= {"namespace": self.namespace} if self.namespace else {}
            try:
                found = self._send("POST", "/experiments", body)
            except ApiFault as fault:
                found = self._find_experiment(name) if fault.status == 409 else None
                if found is None:
                    raise
        return str(found["experiment_id"])

    def create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Start a run. Never tried again by itself: the first try may have started it."""
        return self._send("POST", "/runs", body)

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run as it is now. Not tried again either; who waits does that."""
        return self._send("GET", f"/runs/{run_id}")

    def active_runs(self, recurring_run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the runs of a recurring run that have not ended."""
        query = {"experiment_id": recurring_run["experiment_id"], "sort_by": "created_at desc"}
        return [
            run
            for run in self._pages("/runs", "runs", query)
            if run.get("recurring_run_id") == recurring_run["recurring_run_id"]
            and run.get("state") not in ENDED
        ]

    def recurring_runs(self) -> list[dict[str, Any]]:
        """Return all recurring runs, oldest first."""
        query = {"namespace": self.namespace} if self.namespace else {}
        found = self._pages("/recurringruns", "recurringRuns", query)
        return sorted(found, key=lambda one: (one.get("created_at", ""), one["recurring_run_id"]))

    def create_recurring_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create a recurring run."""
        return self._send("POST", "/recurringruns", body)

    def switch_recurring_run(self, recurring_run_id: str, *, enabled: bool) -> None:
        """Let a recurring run start runs, or no more."""
        action = "enable" if enabled else "disable"
        self._repeat("POST", f"/recurringruns/{recurring_run_id}:{action}")

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Delete a recurring run, if it is there; the cluster ends its runs in progress."""
        try:
            self._repeat("DELETE", f"/recurringruns/{recurring_run_id}")
        except ApiFault as fault:
            if fault.status != 404:
                raise

    def _settle_namespace(self, namespace: str | None) -> str | None:
        kept_apart = bool(self._repeat("GET", "/healthz").get("multi_user"))
        if namespace and not kept_apart:
            raise SubmitError(
                f"{self.host} keeps all runs in one namespace of its own: leave out --namespace "
                f"{namespace}"
            )
        return namespace or NAMESPACE if kept_apart else None

    def _find_experiment(self, name: str) -> dict[str, Any] | None:
        wanted = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        query = {"filter": json.dumps({"predicates": [wanted]})}
        if self.namespace:
            query["namespace"] = self.namespace
        found = [
            one
            for one in self._pages("/experiments", "experiments", query)
            if one.get("display_name") == name
        ]
        return found[0] if found else None

    def _pages(self, path: str, key: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the entries of all pages of a list."""
        token = ""
        while True:
            page = {**query, "page_size": str(PAGE_SIZE), "page_token": token}
            answer = self._repeat("GET", path, page)
            yield from answer.get(key) or answer.get(_snake(key)) or []
            token = answer.get("next_page_token") or ""
            if not token:
                return

    def _repeat(
        self, method: str, path: str, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Send what may be sent twice, again after a passing fault."""
        for attempt in range(1, ATTEMPTS):
            try:
                return self._send(method, path, query=query)
            except ApiFault as fault:
                if not fault.transient:
                    raise
            time.sleep(FIRST_DELAY_SECONDS * 2 ** (attempt - 1))
        return self._send(method, path, query=query)

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        what = f"{method} {self.host}{API}{path}"
        try:
            values = self._client.call_api(
                f"{API}{path}",
                method,
                query_params=[*(query or {}).items()],
                header_params={"Accept": "application/json"},
                body=body,
                response_type="object",
                auth_settings=["Bearer"],
                _return_http_data_only=True,
                _request_timeout=REQUEST_SECONDS,
            )
        except ApiException as error:
            raise self._explain(what, error) from None  # its text has the answer's headers
        except AttributeError as error:  # the client decodes a body, which a TLS fault has not
            if not isinstance(error.__context__, ApiException):
                raise
            raise self._explain(what, error.__context__) from None
        except urllib3.exceptions.HTTPError as error:
            raise ApiFault(f"{what}: no connection ({_reason(error)})") from error
        if not isinstance(values, dict):
            text = " ".join(str(values).split())[:80]
            raise ApiFault(
                f"{what}: this is not Kubeflow Pipelines, it answers {text!r}; check --host, and "
                "whether it wants a token (--token-file)",
                200,
            )
        return values

    def _explain(self, what: str, error: ApiException) -> ApiFault:
        status = error.status or None
        message = self._message(error)
        if status is None:
            return ApiFault(f"{what}: {message}; trust its certificate with --ca-cert", 0)
        hint = ""
        if status in (401, 403) or 300 <= status < 400:
            hint = "; give a token that may do this with --token-file"
            hint += ", and the --namespace in which it may" if status == 403 else ""
        return ApiFault(f"{what} was answered {status}: {message}{hint}", status)

    def _message(self, error: ApiException) -> str:
        """Return what the server says, without the token if it repeats that."""
        text = str(error.body or error.reason or "").strip()
        try:
            values = json.loads(text)
            text = str(values.get("message") or values.get("error") or text)
        except (ValueError, AttributeError):
            pass
        text = " ".join(text.split())[:SHOWN]
        return text.replace(self._token, "***") if self._token else text

    def _refresh(self, configuration: Configuration, token_file: Path) -> None:
        self._token = read_token(token_file)
        configuration.api_key["authorization"] = self._token


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _without_password(host: str) -> str:
    return host.rpartition("@")[2]
