"""The pipeline as a picture: its graph with every step's fate, and when each step ran."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from markupsafe import Markup

from uae.export.run_folder import TRAINED_STAGES
from uae.records import StepRecord
from uae.report.page import duration

WIDTH = 400
NODE_HEIGHT, ROW_PITCH = 42, 58
SPINE_LEFT, SPINE_WIDTH = 1, 232
SIDE_LEFT, SIDE_WIDTH = 258, 128
BUS_X = 394

STAGE_TITLES = {
    "pretrain_decoder": "Stage 1",
    "cold_start": "Cold start",
    "generation_for_understanding": "GfU",
    "understanding_for_generation": "UfG",
}
STEP_TITLES = {
    "start_run": "Start",
    "validate_data": "Validate data",
    "pretrain_decoder": "Stage 1: pretrain decoder",
    "cold_start": "Cold start",
    "generation_for_understanding": "Generation for understanding",
    "understanding_for_generation": "Understanding for generation",
    "evaluate_geneval": "GenEval",
    "evaluate_dpg_bench": "DPG-Bench",
    "gate": "Gate",
    "export_model": "Export model",
} | {f"evaluate_unified_bench/{stage}": "Unified-Bench" for stage in TRAINED_STAGES}
MARKS = {  # drawn, so that the status does not hang on colour or on a font
    "succeeded": "M-4,0 L-1,3.5 L4.5,-3.5",
    "failed": "M-3.5,-3.5 L3.5,3.5 M3.5,-3.5 L-3.5,3.5",
    "running": "M-4,0 L4,0",
    "not reached": "M0,0 L0,0",
}


class Place(NamedTuple):
    """Where a node stands."""

    left: float
    top: float
    width: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """Its vertical middle."""
        return self.top + NODE_HEIGHT / 2


def step_title(step: str) -> str:
    """Return a step's name for people; unknown steps keep their own."""
    return STEP_TITLES.get(step, step)


def step_status(record: StepRecord | None) -> str:
    """Return a step's status; a step without a record has not been reached."""
    return record.status if record else "not reached"


def dag_svg(records: Mapping[str, StepRecord]) -> Markup:
    """Draw the graph: the training spine on the left, the evaluations on the right."""
    places = _places()
    nodes = [_node(step, records.get(step), place) for step, place in places.items()]
    parts = [*_edges(places), *nodes]
    fates = "; ".join(f"{step} {step_status(records.get(step))}" for step in places)
    height = max(place.top for place in places.values()) + NODE_HEIGHT + 2
    return Markup(
        '<svg class="dag" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, height, f"Pipeline: {fates}", Markup("").join(parts))


def timeline_svg(records: Sequence[StepRecord]) -> Markup | None:
    """Draw when each finished step ran, its imports shaded; None if nothing has finished."""
    done = [record for record in records if record.seconds is not None]
    if not done:
        return None
    starts = [_timestamp(record) for record in done]
    begin = min(starts)
    total = max(
        start - begin + (record.seconds or 0) for start, record in zip(starts, done, strict=True)
    )
    bars = [
        _bar(index, record, start - begin, max(total, 1e-3))
        for index, (record, start) in enumerate(zip(done, starts, strict=True))
    ]
    height = 24 * len(done) + 18
    axis = Markup(
        '<text class="tick start" x="152" y="{0}">0</text>'
        '<text class="tick end" x="{1}" y="{0}">{2}</text>'
    ).format(height - 4, WIDTH - 1, duration(total))
    return Markup(
        '<svg class="dag" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(
        WIDTH,
        height,
        f"Time line of {len(done)} steps over {duration(total)}",
        Markup("").join([*bars, axis]),
    )


def _places() -> dict[str, Place]:
    def spine(row: int) -> Place:
        return Place(SPINE_LEFT, 1 + row * ROW_PITCH, SPINE_WIDTH)

    def side(row: int) -> Place:
        return Place(SIDE_LEFT, 1 + row * ROW_PITCH, SIDE_WIDTH)

    places = {"start_run": spine(0), "validate_data": spine(1)}
    for row, stage in enumerate(TRAINED_STAGES, start=2):
        places[stage] = spine(row)
        places[f"evaluate_unified_bench/{stage}"] = side(row)
    last = len(TRAINED_STAGES) + 1
    places["evaluate_geneval"] = side(last + 1)
    places["evaluate_dpg_bench"] = side(last + 2)
    places["gate"] = spine(last + 3)
    places["export_model"] = spine(last + 4)
    return places


def _edges(places: Mapping[str, Place]) -> list[Markup]:
    spine = [place for place in places.values() if place.left == SPINE_LEFT]
    side = [place for place in places.values() if place.left == SIDE_LEFT]
    paths = [
        f"M{SPINE_LEFT + 24},{above.top + NODE_HEIGHT} V{below.top - 2}"
        for above, below in itertools.pairwise(spine)
    ]
    last_stage = places[TRAINED_STAGES[-1]]
    bend = (SPINE_LEFT + SPINE_WIDTH + SIDE_LEFT) / 2
    for place in side:
        source = min(place.middle, last_stage.middle)
        paths.append(f"M{last_stage.right},{source} H{bend} V{place.middle} H{place.left - 2}")
        paths.append(f"M{place.right},{place.middle} H{BUS_X}")
    gate = places["gate"]
    paths.append(f"M{BUS_X},{side[0].middle} V{gate.middle} H{gate.right + 2}")
    arrows = [Markup('<path class="edge" d="{}"/>').format(path) for path in paths]
    heads = [_head(SPINE_LEFT + 24, below.top, "M-4,-7 L0,-1 L4,-7") for below in spine[1:]]
    heads += [_head(place.left, place.middle, "M-7,-4 L-1,0 L-7,4") for place in side]
    return [*arrows, *heads, _head(gate.right, gate.middle, "M7,-4 L1,0 L7,4")]


def _head(x: float, y: float, path: str) -> Markup:
    return Markup('<path class="edge" transform="translate({},{})" d="{}"/>').format(x, y, path)


def _node(step: str, record: StepRecord | None, place: Place) -> Markup:
    status = step_status(record)
    about = status
    if record and record.seconds is not None:
        about = duration(record.seconds)
        about = f"failed, {about}" if status == "failed" else about
    return Markup(
        '<g class="node {}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="7"/>'
        '<circle cx="{}" cy="{}" r="9"/><path class="mark" transform="translate({},{})" d="{}"/>'
        '<text class="title" x="{}" y="{}">{}</text><text class="about" x="{}" y="{}">{}</text></g>'
    ).format(
        status.replace(" ", "-"), f"{step}: {status}",
        place.left, place.top, place.width, NODE_HEIGHT,
        place.left + 17, place.middle, place.left + 17, place.middle, MARKS[status],
        place.left + 33, place.middle - 3, step_title(step),
        place.left + 33, place.middle + 12, about,
    )  # fmt: skip


def _bar(index: int, record: StepRecord, start: float, total: float) -> Markup:
    left, room, y = 152.0, WIDTH - 153.0, 24 * index + 4
    scale = room / total
    seconds = record.seconds or 0.0
    x, width = left + start * scale, max(2.0, seconds * scale)
    imports = min(width, (record.import_seconds) * scale)
    stage = record.step.partition("/")[2]
    name = f"{step_title(record.step)} {STAGE_TITLES.get(stage, stage)}".strip()
    name = STAGE_TITLES.get(record.step, name)
    # The time is written behind the bar, or before it where there is no room behind.
    behind = x + width + 62 < WIDTH
    return Markup(
        '<g class="span {}"><title>{}: {}</title><text class="row" x="0" y="{}">{}</text>'
        '<rect class="run" x="{:.1f}" y="{}" width="{:.1f}" height="14" rx="2"/>'
        '<rect class="imports" x="{:.1f}" y="{}" width="{:.1f}" height="14" rx="2"/>'
        '<text class="tick {}" x="{:.1f}" y="{}">{}</text></g>'
    ).format(
        record.status, record.step, duration(record.seconds), y + 11, name,
        x, y, width, x, y, imports,
        "start" if behind else "end", x + width + 5 if behind else x - 5, y + 11,
        duration(record.seconds),
    )  # fmt: skip


def _timestamp(record: StepRecord) -> float:
    return datetime.fromisoformat(record.started_at).timestamp()
