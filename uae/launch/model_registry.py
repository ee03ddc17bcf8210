"""Entering the champion in a Kubeflow Model Registry: its REST API, version v1alpha3.

    registered model   `uae`; its property `champion` names the version that is champion now
    model version      one for each run that was ever promoted, named after it
    model artifact     s3://bucket/models/<run_id>

The registry's own Python client pins other versions of what kfp pins, so this speaks REST.
Source of paths and fields: api/openapi/model-registry.yaml of github.com/kubeflow/model-registry.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import urllib3

from uae.errors import ClusterError
from uae.launch.token_file import read_token
from uae.store.s3 import parse_endpoint

if TYPE_CHECKING:
    from uae.export.registry import Champion
    from uae.store.s3 import Store

API = "/api/model_registry/v1alpha3"
MODEL_NAME = "uae"
SECONDS = 30.0
ATTEMPTS = 3
NOT_FOUND, CONFLICT = 404, 409
SHOWN = 300  # characters of an answer


def register_champion(url: str, store: Store) -> str | None:
    """Register the bucket's champion. It never fails.

    Args:
        url: Of the registry.
        store: The bucket.

    Returns:
        What went wrong; None if nothing did. The promotion stands either way.
    """
    from uae.errors import UaeError
    from uae.export.registry import read_champion

    try:
        champion = read_champion(store)
        if champion is not None:
            ModelRegistry(url).register(champion, store)
    except UaeError as error:
        return str(error)
    return None


class ModelRegistry:
    """A registry that answers under one address."""

    def __init__(self, url: str, *, token_file: Path | None = None) -> None:
        """Describe the registry; nothing is sent.

        Args:
            url: http(s)://host[:port], without a path.
            token_file: File with a bearer token.

        Raises:
            StoreError: If the address is malformed or holds a password.
            ClusterError: If the token's file cannot be read.
        """
        parse_endpoint(url)
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token_file is not None:
            self._headers["Authorization"] = f"Bearer {read_token(token_file)}"
        self._http = urllib3.PoolManager(
            timeout=SECONDS,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )

    def register(self, champion: Champion, store: Store) -> str:
        """Enter a promoted model and mark it as the champion. May be repeated.

        Args:
            champion: The model.
            store: The bucket in which it lies.

        Returns:
            The address of its version in the registry's API.

        Raises:
            ClusterError: If the registry refuses or is gone. The promotion stands.
        """
        try:
            return self._register(champion, store)
        except ClusterError as error:
            raise ClusterError(
                f"{champion.run_id} is champion, but not registered: {error}; `uae promote "
                f"{champion.run_id} --endpoint {store.endpoint} --bucket {store.bucket} "
                f"--model-registry {self.url}` registers it (with the addresses of store and "
                "registry that can be reached from where it runs)"
            ) from error

    def _register(self, champion: Champion, store: Store) -> str:
        model = self._ensure("registered_model", {"name": MODEL_NAME}, {})
        version = self._ensure(
            "model_version",
            {"name": champion.run_id, "parentResourceId": model["id"]},
            {"registeredModelId": model["id"]},
        )
        self._send(
            "PATCH",
            f"model_versions/{version['id']}",
            {"customProperties": _properties(champion, store)},
        )
        self._ensure_artifact(champion, store, version["id"])
        marked = {"customProperties": {"champion": _property(champion.run_id)}}
        self._send("PATCH", f"registered_models/{model['id']}", marked)
        return f"{self.url}{API}/model_versions/{version['id']}"

    def _ensure(self, kind: str, search: dict[str, str], more: dict[str, str]) -> dict[str, Any]:
        """Find an entity by its name, or create it."""
        found = self._find(kind, search)
        if found is not None:
            return found
        created = self._send("POST", f"{kind}s", {"name": search["name"], **more}, allowed=CONFLICT)
        found = created or self._find(kind, search)  # a conflict: somebody else just created it
        if found is None:
            raise ClusterError(f"{self.url}: {kind} {search['name']} is there and cannot be found")
        return found

    def _find(self, kind: str, search: dict[str, str]) -> dict[str, Any] | None:
        return self._send("GET", kind, query=search, allowed=NOT_FOUND)

    def _ensure_artifact(self, champion: Champion, store: Store, version_id: str) -> None:
        path = f"model_versions/{version_id}/artifacts"
        uri = f"s3://{store.bucket}/{champion.model_prefix}"
        found = self._send("GET", path, query={"name": champion.run_id}) or {}
        if any(item.get("uri") == uri for item in found.get("items", [])):
            return
        artifact = {
            "artifactType": "model-artifact",
            "name": champion.run_id,
            "uri": uri,
            "modelFormatName": "diffusers",
            "modelSourceKind": "kfp",
            "modelSourceClass": "pipelinerun",
            "modelSourceName": champion.run_id,
        }
        self._send("POST", path, artifact, allowed=CONFLICT)

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
        allowed: int | None = None,
    ) -> dict[str, Any] | None:
        """Send one request, again after a lost connection, and return its answer.

        None stands for an answer with the status that is `allowed`.
        """
        url = f"{self.url}{API}/{path}"
        response = self._answer(method, url, body, query)
        if response.status == allowed:
            return None
        text = response.data.decode(errors="replace")
        if not 200 <= response.status < 300:
            raise ClusterError(f"{method} {url} was answered {response.status}: {text[:SHOWN]}")
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise ClusterError(f"{url} is no model registry, it answers: {text[:SHOWN]}")
        return values

    def _answer(
        self, method: str, url: str, body: dict[str, Any] | None, query: dict[str, str] | None
    ) -> urllib3.BaseHTTPResponse:
        """Send one request; every one of ours may be repeated."""
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                if body is None:
                    return self._http.request(method, url, fields=query, headers=self._headers)
                return self._http.request(
                    method, url, body=json.dumps(body).encode(), headers=self._headers
                )
            except urllib3.exceptions.HTTPError as error:
                fault = error
        reason = type(fault).__name__
        raise ClusterError(f"no connection to {self.url} ({reason}), {ATTEMPTS} times") from fault


def _properties(champion: Champion, store: Store) -> dict[str, Any]:
    known = {
        "recipe": champion.recipe_name,
        "recipe_sha256": champion.recipe_sha256,
        "data_revision": champion.data_revision,
        "code_version": champion.code_version,
        "promoted_at": champion.promoted_at,
        "promoted_by": champion.action,
        "reason": champion.reason or "",
        "parent": champion.parent or "",
        "store": store.endpoint,
    }
    numbers = {"unified_bench": champion.unified_bench.overall}
    return {name: _property(value) for name, value in (known | numbers).items()}


def _property(value: str | float) -> dict[str, Any]:
    if isinstance(value, str):
        return {"metadataType": "MetadataStringValue", "string_value": value}
    return {"metadataType": "MetadataDoubleValue", "double_value": value}
