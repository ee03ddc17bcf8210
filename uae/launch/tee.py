"""A text stream that also keeps the lines that passed through it."""

from __future__ import annotations

import io
from collections import deque
from typing import TextIO


class Tee(io.TextIOBase):
    """Write to a stream and append each completed line to `lines`.

    A progress bar rewrites its line after a carriage return: only its newest state is kept.
    """

    def __init__(self, stream: TextIO, lines: deque[str]) -> None:
        self._stream = stream
        self._lines = lines
        self._open = ""

    def write(self, text: str) -> int:
        """Pass the text on and keep its lines."""
        self._stream.write(text)
        *complete, self._open = (self._open + text).split("\n")
        self._lines.extend(line.rsplit("\r", 1)[-1] for line in complete if line.strip())
        self._open = self._open.rsplit("\r", 1)[-1]
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Say whether the stream below is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor below, which other libraries write to directly."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream below."""
        return self._stream.encoding
