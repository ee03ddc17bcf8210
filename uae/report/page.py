"""Rendering: templates with autoescape, and how numbers are written for people."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

UNKNOWN = "\N{EN DASH}"
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Render a template into one self-contained HTML page; every value is escaped."""
    css = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(template).render(css=css, **values)


def duration(seconds: float | None) -> str:
    """Write a duration: `8.4 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(num_bytes: float | None) -> str:
    """Write an amount of memory in MiB or GiB."""
    if num_bytes is None:
        return UNKNOWN
    mebibytes = num_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1000 else f"{mebibytes / 1024:.1f} GiB"


def number(value: float | None) -> str:
    """Write a number with about three significant digits."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    if size < 0.001:
        return f"{value:.0e}"
    digits = 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


def percent(share: float | None) -> str:
    """Write a share as a percentage."""
    return UNKNOWN if share is None else f"{100 * share:.0f} %"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "memory": memory,
        "number": number,
        "percent": percent,
    }
    return environment
