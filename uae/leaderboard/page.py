"""The leaderboard as one HTML file: it loads nothing, and runs from a file or in a sandbox."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from uae.leaderboard.gathering import gather
from uae.leaderboard.numbers import UNITS, in_unit, incomplete, interval_in_unit
from uae.leaderboard.page_data import PageData, script_json
from uae.leaderboard.reported import ReportedSet, shipped
from uae.leaderboard.tables import Table, build_tables

FOLDER = Path(__file__).parent
STYLES = ("leaderboard.css", "dialog.css")
SCRIPTS = (  # in this order: each uses those before it
    "dom", "format", "data", "tables", "chart", "dialog", "sample_list", "questions", "evidence",
    "sample_view", "result_view", "comparison", "main",
)  # fmt: skip
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?function|const|let|class)", re.MULTILINE)


def write_leaderboard(
    folders: Sequence[Path],
    out: Path,
    *,
    title: str,
    max_samples: int,
    reported: Sequence[ReportedSet] | None = None,
) -> Path:
    """Render every result below some folders as one page.

    Args:
        folders: Searched for results.json, with all folders below.
        out: The HTML file to write.
        title: Of the page.
        max_samples: Samples of a table whose pictures and evidence are embedded; all are listed.
        reported: Published scores to show beside the measured ones; None for those shipped.

    Returns:
        `out`.

    Raises:
        EvaluationError: If there are no results, or one cannot be read, naming it.
    """
    tables = build_tables(gather(folders), shipped() if reported is None else reported)
    data = PageData(max_samples)
    embedded = script_json(data.collect(tables))
    html = _render(tables, title=title, embedded=embedded, album=data.album)
    out.write_bytes(html.encode("utf-8", "replace"))  # a text may hold half a surrogate pair
    return out


def _render(tables: Sequence[Table], **values: Any) -> str:
    script, css = inlined_script(), inlined_css()
    measured = [entry for table in tables for entry in table.entries]
    return (
        _environment()
        .get_template("leaderboard.html.j2")
        .render(
            tables=tables,
            measured=measured,
            names={entry.result.system.get("name", entry.place) for entry in measured},
            num_reported=sum(1 for table in tables for row in table.rows if row.published),
            kinds=sorted({row.kind for table in tables for row in table.rows} - {"", "reported"}),
            benchmarks={table.benchmark: table.title for table in tables},
            css=Markup(css),
            script=Markup(script),
            hashes={"script": _csp_hash(script), "style": _csp_hash(css)},
            **values | {"embedded": Markup(values["embedded"])},
        )
    )


def inlined_css() -> str:
    """Return the style sheets as one."""
    return "\n".join(_read(FOLDER / "templates" / name) for name in STYLES)


def inlined_script() -> str:
    """Return the modules as one script: in one file they need no imports and exports."""
    modules = [_read(FOLDER / "scripts" / f"{name}.js") for name in SCRIPTS]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", module)) for module in modules)


def _csp_hash(text: str) -> str:
    """Return what a content security policy calls this text; no other script or style may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"UNITS": UNITS}
    environment.filters |= {
        "in_unit": in_unit,
        "interval_in_unit": interval_in_unit,
        "incomplete": incomplete,
        "mebibytes": lambda count: f"{count / 2**20:.1f} MiB",
    }
    return environment
