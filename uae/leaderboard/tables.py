"""Which results stand in one table, which row a published score belongs to, and what differs.

Only results of one benchmark, protocol, version, prompt set and judges are set side by side
(`check_comparable`); everything else has a table of its own that says how it differs. A published
score stands beside them only if its judges may be the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

from uae.errors import EvaluationError
from uae.evaluation.results import Result, Unit, check_comparable
from uae.leaderboard.gathering import Entry
from uae.leaderboard.nested import flat
from uae.leaderboard.reported import ReportedScores, ReportedSet, converted, same_name

TITLES = {  # the order of the page; others follow by name
    "unified_bench": "Unified-Bench",
    "geneval": "GenEval",
    "geneval_plus": "GenEval++",
    "geneval_2": "GenEval 2",
    "dpg_bench": "DPG-Bench",
    "text_fidelity": "Text fidelity",
    "pairwise": "Pairwise captions",
}
HASH_DIGITS = 12


class Published(NamedTuple):
    """A published row in the unit of its table."""

    name: str  # as published
    score: float | None
    parts: dict[str, float]
    given: str  # the score in the publication's unit where that is another one, else ""
    source: str
    judges: str


@dataclass(frozen=True)
class Row:
    """A system in a table: measured, reported, or both."""

    name: str
    note: str  # what tells rows of one name apart
    entry: Entry | None
    published: Published | None

    @property
    def kind(self) -> str:
        """How the system was run; "reported" if it was not."""
        return self.entry.result.system.get("kind", "") if self.entry else "reported"


@dataclass(frozen=True)
class Table:
    """Results that may be compared."""

    benchmark: str
    unit: Unit
    parts: list[str]
    rows: list[Row]
    facts: dict[str, str]  # everything that all rows have in common, by name
    differences: list[str]  # from the benchmark's first table
    claims: list[str] = field(default_factory=list)  # that reported rows here rest on

    @property
    def title(self) -> str:
        """The benchmark's name."""
        return TITLES.get(self.benchmark, self.benchmark)

    @property
    def entries(self) -> list[Entry]:
        """The measured results, in the order of the rows."""
        return [row.entry for row in self.rows if row.entry]


def build_tables(entries: Sequence[Entry], reported: Sequence[ReportedSet]) -> list[Table]:
    """Return the tables, benchmark by benchmark; what was measured before what was not."""
    groups = _comparable(entries)
    tables = [_measured_table(group, reported) for group in groups]
    shown = {id(one) for group in groups for one in _fitting(group[0].result, reported)}
    left = sorted((one for one in reported if id(one) not in shown), key=_set_key)
    tables += [_reported_table(list(sets)) for _, sets in groupby(left, _set_key)]
    tables.sort(key=lambda table: (_place(table.benchmark), not table.entries))
    first: dict[str, Table] = {}
    return [
        replace(table, differences=_differences(first.setdefault(table.benchmark, table), table))
        for table in tables
    ]


def _comparable(entries: Sequence[Entry]) -> list[list[Entry]]:
    groups: list[list[Entry]] = []
    for entry in entries:
        home = next((group for group in groups if _may_compare(group[0], entry)), None)
        if home is None:
            groups.append([entry])
        else:
            home.append(entry)
    return groups


def _may_compare(a: Entry, b: Entry) -> bool:
    try:
        check_comparable(a.result, b.result)
    except EvaluationError:
        return False
    return True


def _fitting(result: Result, reported: Iterable[ReportedSet]) -> list[ReportedSet]:
    return [one for one in reported if one.fits(result)]


def _measured_table(entries: Sequence[Entry], reported: Sequence[ReportedSet]) -> Table:
    result = entries[0].result
    fitting = _fitting(result, reported)
    published = _published(fitting, result.unit)
    rows = [
        Row(_name(entry), note, entry, published.get(same_name(_name(entry))))
        for entry, note in zip(entries, _notes(entries), strict=True)
    ]
    measured = {same_name(row.name) for row in rows}
    rows += [Row(one.name, "", None, one) for key, one in published.items() if key not in measured]
    parts = dict.fromkeys(part for entry in entries for part in entry.result.parts)
    parts |= dict.fromkeys(part for row in rows if row.published for part in row.published.parts)
    facts = {
        "protocol": result.protocol,
        "version": str(result.version),
        "prompts": f"{result.prompts.name}, {result.prompts.count}",
        "prompts sha256": result.prompts.sha256,
    } | flat(result.judges, "judge")
    claims = list(dict.fromkeys(one.claim for one in fitting if one.claim))
    rows.sort(key=_rank)
    return Table(result.benchmark, result.unit, list(parts), rows, _shortened(facts), [], claims)


def _reported_table(sets: Sequence[ReportedSet]) -> Table:
    first = sets[0]
    published = _published(sets, first.unit)
    rows = [Row(one.name, "", None, one) for one in published.values()]
    parts = dict.fromkeys(part for one in published.values() for part in one.parts)
    facts = {
        "protocol": first.protocol,
        "prompts": f"{first.prompts}, {first.num_prompts}",
        "judges, as published": "; ".join(dict.fromkeys(one.judges for one in sets)),
    }
    return Table(first.benchmark, first.unit, list(parts), sorted(rows, key=_rank), facts, [])


def _published(sets: Iterable[ReportedSet], unit: Unit) -> dict[str, Published]:
    """Return the rows by `same_name`."""
    return {
        same_name(name): _in_unit(name, one, scores, unit)
        for one in sets
        for name, scores in one.systems.items()
    }


def _in_unit(name: str, one: ReportedSet, scores: ReportedScores, unit: Unit) -> Published:
    whole = "1" if one.unit == "share" else "100"
    return Published(
        name,
        None if scores.score is None else converted(scores.score, one.unit, unit),
        {name: converted(value, one.unit, unit) for name, value in scores.parts.items()},
        f"{scores.score:g} of {whole}" if scores.score is not None and one.unit != unit else "",
        one.source,
        one.judges,
    )


def _name(entry: Entry) -> str:
    return entry.result.system.get("name", entry.place)


def _notes(entries: Sequence[Entry]) -> list[str]:
    """Return what tells rows apart: differing settings, and the place where names are equal."""
    settings = [flat(entry.result.settings) for entry in entries]
    differing = {
        key for key in set().union(*settings) if len({one.get(key, "") for one in settings}) > 1
    }
    names = Counter(same_name(_name(entry)) for entry in entries)
    notes = []
    for entry, of_entry in zip(entries, settings, strict=True):
        told = [f"{key}: {of_entry.get(key, 'not set')}" for key in sorted(differing)]
        if names[same_name(_name(entry))] > 1:
            told.insert(0, entry.place)
        notes.append("; ".join(told))
    return notes


def _differences(first: Table, table: Table) -> list[str]:
    """Say how a table's protocol differs from that of the benchmark's first table."""
    if table is first:
        return []
    if not table.entries and first.entries:
        return [
            "nothing here was measured: scores as published, by other judges or for other prompts"
        ]
    keys = dict.fromkeys([*first.facts, *table.facts])
    return [
        f"{key}: {table.facts.get(key, 'none')} instead of {first.facts.get(key, 'none')}"
        for key in keys
        if table.facts.get(key) != first.facts.get(key)
    ]


def _shortened(facts: Mapping[str, str]) -> dict[str, str]:
    """Return facts with hashes short enough for a heading."""
    return {
        name: value[:HASH_DIGITS] if name.endswith("sha256") else value
        for name, value in facts.items()
    }


def _rank(row: Row) -> tuple[float, float, str]:
    """Order by what was measured, then by what was reported. Bounds count with their lower end."""
    measured = reported = -1.0
    if row.entry:
        result = row.entry.result
        measured = (
            result.bounds.low if result.score is None and result.bounds else result.score or 0
        )
    if row.published:
        reported = row.published.score or 0
    return (-measured, -reported, row.name)


def _set_key(one: ReportedSet) -> tuple[str, str, str, str]:
    return (one.benchmark, one.protocol, one.prompts, one.unit)


def _place(benchmark: str) -> tuple[int, str]:
    known = list(TITLES)
    return (known.index(benchmark) if benchmark in known else len(known), benchmark)
