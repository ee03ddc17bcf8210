"""A bearer token in a file, as Kubernetes mounts and renews them."""

from __future__ import annotations

from pathlib import Path

from uae.errors import ClusterError


def read_token(path: Path) -> str:
    """Read a bearer token: the file's one line.

    Raises:
        ClusterError: If there is none. The content is not shown.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"cannot read the token in {path}: {type(error).__name__}") from error
    if not token or any(not character.isprintable() or character == " " for character in token):
        raise ClusterError(f"{path} holds no token: it must be one line without spaces")
    return token
