"""What the page's scripts work on: one JSON value, every text and picture in it once.

    {texts: [str], pictures: [[uri, width, height]], tables: [{
        title, unit, parts: [str], choice: str, pairs: {"a,b": pair}, pairs_note: str,
        rows: [{name, note, kind, reported: {score, parts} | null, result: null | {
            score, interval, bounds, incomplete, parts: {name: [score, low, high]},
            facts: [[name, text]], metrics: [[name, text]],
            samples: [[id, part, state, score, seed, prompt, reason, details]],
            details: [{pictures: [[role, place | why there is none]], ...evidence}]}}]}]}

In `samples`, id, part, prompt and reason are places in `texts`, state is one in STATES, details is
a place in `details` or -1; in `pairs`, a and b are places in `rows`.
"""

import json
from collections.abc import Sequence
from typing import Any

from uae.evaluation.results import STATES, Part, Sample, read_samples
from uae.leaderboard.choice import choice_in_words, spread_ids
from uae.leaderboard.evidence import read_evidence
from uae.leaderboard.gathering import Entry
from uae.leaderboard.nested import as_text
from uae.leaderboard.numbers import incomplete, score_text
from uae.leaderboard.pairs import compare_all
from uae.leaderboard.pictures import Album
from uae.leaderboard.tables import Table

Json = dict[str, Any]


class PageData:
    """Collects what the page holds."""

    def __init__(self, max_samples: int) -> None:
        self.album = Album()
        self._max_samples = max_samples
        self._texts: dict[str, int] = {}

    def collect(self, tables: Sequence[Table]) -> Json:
        """Return the whole value.

        Raises:
            EvaluationError: If the samples of a result cannot be read.
        """
        found = [self._table(table) for table in tables]
        return {
            "states": list(STATES),
            "texts": list(self._texts),
            "pictures": self.album.pictures,
            "tables": found,
        }

    def _table(self, table: Table) -> Json:
        samples = [read_samples(row.entry.folder) if row.entry else [] for row in table.rows]
        ids = list(dict.fromkeys(sample.sample_id for one in samples for sample in one))
        chosen = spread_ids(ids, self._max_samples)
        pairs, pairs_note = compare_all(table.rows, samples)
        rows = [
            {
                "name": row.name,
                "note": row.note,
                "kind": row.kind,
                "reported": row.published
                and {"score": row.published.score, "parts": row.published.parts},
                "result": row.entry and self._result(row.entry, of_row, chosen),
            }
            for row, of_row in zip(table.rows, samples, strict=True)
        ]
        return {
            "title": table.title,
            "unit": table.unit,
            "parts": table.parts,
            "choice": choice_in_words(len(chosen), len(ids)),
            "rows": rows,
            "pairs": pairs,
            "pairs_note": pairs_note,
        }

    def _result(self, entry: Entry, samples: Sequence[Sample], chosen: set[str]) -> Json:
        result = entry.result
        details: list[Json] = []
        rows = []
        for sample in samples:
            shown = sample.sample_id in chosen
            rows.append(self._sample(sample, len(details) if shown else -1))
            if shown:
                details.append(self._details(entry, sample))
        return {
            "score": result.score,
            "interval": result.interval,
            "bounds": result.bounds,
            "incomplete": incomplete(result),
            "parts": {
                name: [part.score, *(part.interval or (None, None))]
                for name, part in result.parts.items()
            },
            "metrics": [[name, _part(part)] for name, part in result.metrics.items()],
            "facts": [[name, as_text(value)] for name, value in _facts(entry).items()],
            "samples": rows,
            "details": details,
        }

    def _sample(self, sample: Sample, details: int) -> list[int | float | None]:
        return [
            self._text(sample.sample_id),
            self._text(sample.part),
            STATES.index(sample.state),
            None if sample.score is None else float(f"{sample.score:.6g}"),
            sample.seed,
            self._text(as_text(sample.prompt)),
            self._text(as_text(sample.reason)),
            details,
        ]

    def _details(self, entry: Entry, sample: Sample) -> Json:
        pictures = [
            [role, self.album.add(entry.folder, name)] for role, name in sample.images.items()
        ]
        return {"pictures": pictures} | read_evidence(sample).model_dump()

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))


def script_json(value: Any) -> str:
    """Return JSON that may stand inside a <script> element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _part(part: Part) -> str:
    if part.score is None:
        return f"not measured ({part.num_samples} samples)"
    between = ", 95 % {} to {}".format(*map(score_text, part.interval)) if part.interval else ""
    return f"{score_text(part.score)}{between} ({part.num_samples} samples)"


def _facts(entry: Entry) -> Json:
    """Return what identifies a result: what somebody needs to cite or to repeat it."""
    result = entry.result
    system = {f"system {key}": value for key, value in result.system.items()}
    rest = {
        "folder": entry.place,
        "key": result.key,
        "prompts": result.prompts.model_dump(),
        "judges": result.judges,
        "generation": result.generation,
        "settings": result.settings,
        "states": result.states,
        "self-test": result.self_test,
    }
    return system | {key: value for key, value in rest.items() if value}
