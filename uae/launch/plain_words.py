"""Foreign text, such as a line of a log, made fit for a message: nothing in it has a meaning.

Control and direction characters go, since they hide what a line says; what a chat would read as a
mark-up or a mention is put where it is only text.
"""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_TERMINAL = re.compile(  # colours and titles: CSI and OSC sequences, and any other escape
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)", re.DOTALL
)
_BLANK = {"Cc", "Zl", "Zp"}  # control characters and line ends
_GONE = {"Cf", "Cs", "Co"}  # direction and zero width, halves of characters, private use


def one_line(text: str, most: int) -> str:
    """Return text on one line without control characters, at most `most` characters long."""
    text = _TERMINAL.sub("", text[: 20 * most])  # nobody needs a megabyte looked through
    kinds = ((character, unicodedata.category(character)) for character in text)
    kept = (" " if kind in _BLANK else character for character, kind in kinds if kind not in _GONE)
    line = "".join(kept).rstrip()
    return line if len(line) <= most else line[: most - 1] + ELLIPSIS


def chat_length(text: str) -> int:
    """Return the length as chat services count it: in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def escaped(text: str) -> str:
    """Return text in which a chat sees no mark-up, link or mention: for use between backticks."""
    named = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return named.replace("`", "'")


def code_block(lines: list[str], most: int) -> str:
    """Return lines as a block of code, as many of the last ones as fit into `most` characters."""
    kept: list[str] = []
    room = most - len("``````")
    for line in reversed(lines):
        shown = escaped(line)
        room -= chat_length(shown) + 1
        if room < 0:
            break
        kept.append(shown)
    return "```" + "\n".join(reversed(kept)) + "```"
