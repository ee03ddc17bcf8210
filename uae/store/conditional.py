"""Replacing an object only if nobody else did meanwhile.

S3's conditional writes (If-Match, If-None-Match) decide it on the server. The client has no option
for them, so the request is signed as a URL, and the condition is one more header.
Known to AWS since 2024-11, MinIO, and SeaweedFS since 3.97.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import minio.error

from uae.errors import StoreError

if TYPE_CHECKING:
    import urllib3

SIGNED_FOR = timedelta(minutes=10)
NOT_IMPLEMENTED = 501
CHANGED = (409, 412)  # 409: two writes at the same moment, one of them to be made again


class Versioned(NamedTuple):
    """An object's content and the tag of just this content."""

    data: bytes
    etag: str


class ChangedObject(StoreError):
    """The object is no longer, or not yet, what the writer took it for."""


class UnconditionalStore(StoreError):
    """The store does not know conditional writes."""


def put_if(
    http: urllib3.PoolManager, url: str, data: bytes, *, key: str, replaces: str | None
) -> None:
    """Write one object if it is still the one that was read. May be repeated.

    Args:
        http: Connections to the store.
        url: Signed for this write.
        data: The new content.
        key: Of the object, for the error.
        replaces: Tag of the content that it replaces; None if there must be none.

    Raises:
        ChangedObject: If the object is another one. Also where an earlier attempt was made and only
            its answer was lost: read the object to tell.
        UnconditionalStore: If the store says that it knows no conditions.
        minio.error.MinioException: If it refuses for another reason.
    """
    condition = {"If-None-Match": "*"} if replaces is None else {"If-Match": replaces}
    response = http.request("PUT", url, body=data, headers=condition)
    if response.status in CHANGED:
        raise ChangedObject(f"{key} was changed by somebody else meanwhile: read it again")
    if response.status == NOT_IMPLEMENTED:
        raise UnconditionalStore(f"the store cannot replace {key} conditionally")
    if response.status >= 300:
        kind = response.headers.get("content-type", "")
        if "xml" in kind and response.data:
            raise minio.error.S3Error.fromxml(response)
        text = response.data.decode(errors="replace")[:500]
        raise minio.error.InvalidResponseError(response.status, kind, text)
