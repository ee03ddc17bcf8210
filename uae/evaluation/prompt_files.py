"""A benchmark's prompt file, from a path, a bucket or an address, with the hash of what came."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import urllib3

from uae.errors import EvaluationError
from uae.recipe import PromptFile
from uae.store.s3 import Store, parse_uri

MAX_BYTES = 256 * 2**20
TIMEOUT = urllib3.Timeout(connect=10, read=60)


class PromptText(NamedTuple):
    """The text of a prompt file: no byte-order mark, and line ends as \\n."""

    text: str
    source: str  # an address without what may sign it, or a local file's name, no path
    sha256: str  # of the bytes that came


def read_prompt_file(file: PromptFile, *, endpoint: str | None = None) -> PromptText:
    """Fetch a prompt file.

    Args:
        file: Its source, and its hash where it must be one content.
        endpoint: Of the S3 store, for s3:// sources.

    Raises:
        EvaluationError: If it cannot be read, is not UTF-8, is empty, or has another hash.
        StoreError: If the store refuses.
    """
    content = _fetch(file.source, endpoint)
    sha256 = hashlib.sha256(content).hexdigest()
    if file.sha256 not in (None, sha256):
        raise EvaluationError(
            f"{_shown(file.source)} has sha256 {sha256}, the recipe asks for {file.sha256}: "
            f"another version of the prompts; correct the recipe if that is meant"
        )
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{_shown(file.source)} is not UTF-8 text: {error}") from error
    if not text.strip():
        raise EvaluationError(f"{_shown(file.source)} is empty: give a file with prompts")
    return PromptText(text, _shown(file.source), sha256)


def _shown(source: str) -> str:
    if source.startswith("s3://"):
        return source
    if not source.startswith(("https://", "http://")):
        return Path(source).name  # results are the same wherever the file lies
    address = urllib3.util.parse_url(source)
    return address._replace(auth=None, query=None, fragment=None).url


def _fetch(source: str, endpoint: str | None) -> bytes:
    if source.startswith("s3://"):
        if endpoint is None:
            raise EvaluationError(f"{source}: give the store's endpoint")
        bucket, key = parse_uri(source)
        return Store.connect(endpoint, bucket).get_bytes(key)
    if source.startswith(("https://", "http://")):
        return _download(source)
    path = Path(source)
    if not path.is_file():
        raise EvaluationError(f"no prompt file at {source}")
    return path.read_bytes()


def _download(address: str) -> bytes:
    shown = _shown(address)
    retries = urllib3.Retry(3, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504))
    try:
        with urllib3.PoolManager(timeout=TIMEOUT, retries=retries) as pool:
            response = pool.request("GET", address, preload_content=False)
            content: bytes = response.read(MAX_BYTES + 1)
            response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise EvaluationError(f"cannot read {shown}: {type(error).__name__}") from error
    if response.status != 200:
        raise EvaluationError(f"cannot read {shown}: the server answers {response.status}")
    if len(content) > MAX_BYTES:
        raise EvaluationError(f"{shown} is larger than {MAX_BYTES} bytes: no prompt file")
    if content.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise EvaluationError(
            f"{shown} is a web page: give the address of the file itself (on GitHub, the raw one)"
        )
    return content
