"""Where weights come from: a folder of this machine, a prefix of a bucket, a repository of a hub.

    a/folder    s3://bucket/prefix    hub:org/name@revision    hub:org/name@revision/folder

A hub's files are fetched by the huggingface_hub client, with the token in HF_TOKEN.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, cast

from uae.data.sample import is_safe_relative
from uae.errors import ModelError, StoreError
from uae.models.bundle import HUB, is_remote
from uae.store.s3 import Store, parse_uri

HUB_PAGE = "https://huggingface.co"
Answer = TypeVar("Answer")
_HUB = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+)(/(?P<folder>.+))?)?")
_FULL_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARED_MODE = 0o644  # a bundle's weights get it, and a link shares its mode with the source
_WANTED = (".safetensors", ".json", ".txt", ".jinja", ".model", ".md")
_OF_OTHERS = (".fp16.", "/.", "README")  # a second precision, hidden files, pages


class Place(Protocol):
    """Files to read, by their paths below the place."""

    address: str
    revision: str | None  # a hub's commit

    def sizes(self) -> dict[str, int]:
        """Return every file's size in bytes.

        Raises:
            ModelError: If a name would leave the folder that the file is brought to.
            StoreError: If the place cannot be reached.
        """

    def fetch(self, name: str, target: Path) -> None:
        """Bring one file to `target`, whose folder exists."""


class FolderPlace:
    """A folder of this machine; its files are linked where that can be."""

    revision: str | None = None

    def __init__(self, folder: Path) -> None:
        """Name the folder.

        Raises:
            ModelError: If there is none.
        """
        if not folder.is_dir():
            raise ModelError(f"there is no folder {folder}: give one, s3://... or hub:org/name")
        self.folder, self.address = folder, str(folder)

    def sizes(self) -> dict[str, int]:
        """See `Place`."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files}

    def fetch(self, name: str, target: Path) -> None:
        """See `Place`. A hub's cache holds links to files: what they lead to is linked."""
        source = (self.folder / name).resolve()
        state = source.stat()
        is_ours = state.st_uid == os.getuid() and stat.S_IMODE(state.st_mode) == _SHARED_MODE
        if source.suffix == ".safetensors" and is_ours:
            try:
                os.link(source, target)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, target)
        else:
            shutil.copyfile(source, target)


class BucketPlace:
    """A prefix of a bucket."""

    revision: str | None = None

    def __init__(self, store: Store, prefix: str) -> None:
        """Name the prefix."""
        self.store, self.prefix = store, prefix.strip("/")
        self.address = f"s3://{store.bucket}/{self.prefix}"

    def sizes(self) -> dict[str, int]:
        """See `Place`. Keys that end in a slash are no files: consoles make them for folders."""
        start = f"{self.prefix}/" if self.prefix else ""
        found = {k: tag for k, tag in self.store.etags(start).items() if not k.endswith("/")}
        sizes = {key.removeprefix(start): int(tag.split()[-1]) for key, tag in found.items()}
        return _without_leaving(sizes, self.address)

    def fetch(self, name: str, target: Path) -> None:
        """See `Place`."""
        self.store.get_file(f"{self.prefix}/{name}".lstrip("/"), target)


class HubName(NamedTuple):
    """A repository of a hub, or a folder of it."""

    repo: str
    revision: str | None
    folder: str

    @classmethod
    def parse(cls, address: str) -> HubName:
        """Read `hub:org/name@revision/folder`; revision and folder may be left out.

        Raises:
            ModelError: If it is something else.
        """
        found = _HUB.fullmatch(address.rstrip("/"))
        if not found:
            raise ModelError(f"bad hub address {address!r}: give hub:org/name or {HUB}org/name@rev")
        return cls(found["repo"], found["revision"], found["folder"] or "")


class HubPlace:
    """A repository of a hub at one commit."""

    revision: str | None

    def __init__(self, name: HubName) -> None:
        """Ask the hub which commit a revision is, and for its list of files.

        Raises:
            ModelError: If there is no such repository or revision, it is gated, or a file's name
                would leave its folder.
            StoreError: If the hub cannot be reached.
        """
        self.name = name
        self.address = f"{HUB}{name.repo}" + (f"/{name.folder}" if name.folder else "")
        self._endpoint = os.environ.get("HF_ENDPOINT") or None
        self._sizes, self.revision = self._list()

    def sizes(self) -> dict[str, int]:
        """See `Place`."""
        return self._sizes

    def fetch(self, name: str, target: Path) -> None:
        """See `Place`."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        beside = target.parent / ".hub"  # of the client: the same disk, so that a move is no copy
        path = f"{self.name.folder}/{name}" if self.name.folder else name
        try:
            found = self._ask(
                lambda: hf_hub_download(
                    self.name.repo,
                    path,
                    revision=self.revision,
                    local_dir=beside,
                    endpoint=self._endpoint,
                )
            )
            Path(found).replace(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        if target.stat().st_size != self._sizes[name]:
            raise StoreError(
                f"{self.address}/{name} has {self._sizes[name]} bytes, {target.stat().st_size} "
                "came: try again"
            )

    def _list(self) -> tuple[dict[str, int], str]:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint)
        info = self._ask(
            lambda: api.model_info(self.name.repo, revision=self.name.revision, files_metadata=True)
        )
        start = f"{self.name.folder}/" if self.name.folder else ""
        files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        files = {n.removeprefix(start): size for n, size in files.items() if n.startswith(start)}
        if not info.sha or not _FULL_COMMIT.fullmatch(info.sha):
            raise StoreError(f"{self.address}: the hub names no commit ({info.sha!r})")
        return _without_leaving(files, self.address), info.sha

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Put a question to the hub, and say what its refusals mean."""
        from huggingface_hub import errors

        # Errors of whichever HTTP library the client uses, and of files.
        transport = cast("tuple[type[Exception], ...]", errors.HfHubHTTPError.__bases__)
        page = f"{self._endpoint or HUB_PAGE}/{self.name.repo}"
        try:
            return question()
        except errors.GatedRepoError as error:
            raise ModelError(
                f"{self.address} is gated: read its licence at {page}, accept it there, and set "
                "HF_TOKEN to a token of the account that did"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelError(
                f"{self.address} has no revision {self.name.revision!r}: see {page}"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise ModelError(
                f"{self.address} is not there, or not for this account: look at {page}; if it is "
                "gated or private, accept its licence there and set HF_TOKEN"
            ) from error
        except transport as error:
            status = _status(error)
            if status in (401, 403):
                raise ModelError(
                    f"{self.address}: the hub refuses ({status}); accept the licence at {page} "
                    "and set HF_TOKEN to a token that may read it"
                ) from error
            raise StoreError(f"{self.address} cannot be fetched: {error}") from error


def _without_leaving(sizes: dict[str, int], address: str) -> dict[str, int]:
    """Return files of a place as they are, unless a name is no path inside a folder."""
    if leaving := [name for name in sizes if not is_safe_relative(name)]:
        raise ModelError(
            f"{address} has a file {leaving[0]!r}, which would leave the weights folder: take no "
            "weights from there, or have it renamed"
        )
    return sizes


def _status(error: BaseException | None) -> int | None:
    """Return the status of the hub's answer behind an error; None if there was no answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            status: int = response.status_code
            return status
        error = error.__cause__
    return None


def wanted(name: str) -> bool:
    """Return whether a file of a published model is taken: never pickles, never code."""
    is_second = any(mark in f"/{name}" for mark in _OF_OTHERS)
    return is_licence(name) or (name.endswith(_WANTED) and not is_second)


def is_licence(name: str) -> bool:
    """Return whether a file is a licence or its notice."""
    return Path(name).name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))


def open_place(address: str, store: Store | None = None) -> Place:
    """Open where weights are read from.

    Args:
        address: A folder, s3://bucket/prefix, or hub:org/name@revision.
        store: Any bucket of the store. None opens AWS_ENDPOINT_URL with the credentials of the
            environment.

    Raises:
        ModelError: If there is no such folder or repository, or it is gated.
        StoreError: If the store or the hub cannot be reached, or AWS_ENDPOINT_URL is not set.
    """
    if address.startswith(HUB):
        return HubPlace(HubName.parse(address))
    if not is_remote(address):
        return FolderPlace(Path(address))
    bucket, prefix = parse_uri(address)
    if store is None:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if not endpoint:
            raise StoreError(f"{address} needs the address of its store: set AWS_ENDPOINT_URL")
        return BucketPlace(Store.connect(endpoint, bucket), prefix)
    return BucketPlace(store if store.bucket == bucket else store.for_bucket(bucket), prefix)
