"""The report of a whole run, finished or failed: one self-contained HTML file.

No network, and nothing that needs a script: the page opens from a disk, a bucket, or the Kubeflow
UI's iframe. Its size is bounded: so many pictures of bounded size, thinned curves, cut logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from uae.evaluation.bootstrap import paired_interval
from uae.export.gate import Decision, read_decision
from uae.export.model_card import CONDITION_SOURCES
from uae.export.run_folder import BENCH_STEPS, TRAINED_STAGES, RunFolder
from uae.export.scores import TaskScores, UnifiedBenchScores, read_task_scores, read_unified_bench
from uae.report.charts import Located, path_chart
from uae.report.curves import length_against_reward, panels, read_rows
from uae.report.dag import STAGE_TITLES, dag_svg, step_title, timeline_svg
from uae.report.data_profile import read_data_profile
from uae.report.page import UNKNOWN, memory, number, percent, render
from uae.report.samples import choose_samples, paired_scores, read_samples
from uae.report.tables import Gain, bench_charts, bench_table, task_table

RESAMPLES = 1000
SECTION_OF_STAGE = {stage: step_title(stage) for stage in TRAINED_STAGES}


class Tile(NamedTuple):
    """A headline number."""

    name: str
    value: str
    note: str


class Verdict(NamedTuple):
    """The run's outcome in two words and a sentence; `tone` is a CSS class."""

    tone: str
    title: str
    sentence: str


def write_report(run_folder: Path, out_html: Path) -> None:
    """Write the report of the run in `run_folder` (layout: uae/export/run_folder.py).

    Raises:
        DataError: If the folder is not a run folder, or a result in it is not valid.
    """
    run = RunFolder(run_folder)
    folders = _bench_folders(run)
    benches = {stage: read_unified_bench(folder) for stage, folder in folders.items()}
    gains = _gains(folders, benches)
    decision = _decision(run)
    html = render(
        "run_report.html.j2",
        run=run,
        stage_titles=STAGE_TITLES,
        section_of_stage=SECTION_OF_STAGE,
        step_title=step_title,
        verdict=_verdict(run, benches, gains, decision),
        tiles=_tiles(run, benches),
        dag=dag_svg(run.records),
        timeline=timeline_svg(list(run.records.values())),
        samples=choose_samples(folders),
        condition_sources=CONDITION_SOURCES,
        has_truth=any(bench.attribute_recall is not None for bench in benches.values()),
        stage_names=[STAGE_TITLES[stage] for stage in benches],
        bench_rows=bench_table(benches, gains),
        bench_charts=bench_charts(benches),
        benches=benches,
        training_scorers=_training_scorers(run),
        length_charts=_length_charts(run, benches),
        curves=_curves(run),
        task_tables=_task_tables(run),
        data=read_data_profile(run),
        decision=decision,
    )
    out_html.write_text(html, encoding="utf-8")


def _bench_folders(run: RunFolder) -> dict[str, Path]:
    found = {
        stage: run.file(step, "results.json")
        for stage, step in zip(TRAINED_STAGES, BENCH_STEPS, strict=True)
    }
    return {stage: path.parent for stage, path in found.items() if path is not None}


def _gains(
    folders: Mapping[str, Path], benches: Mapping[str, UnifiedBenchScores]
) -> dict[str, Gain]:
    """Return the paired change from the first to the last stage, overall and for each slot."""
    if len(folders) < 2:
        return {}
    first, last = next(iter(folders)), list(folders)[-1]
    before, after = read_samples(folders[first]), read_samples(folders[last])
    gains = {}
    for name in ("overall", *benches[last].slots):
        pair = paired_scores(before, after, None if name == "overall" else name)
        interval = paired_interval(*pair, resamples=RESAMPLES, seed=0)
        mean = sum(b - a for a, b in zip(*pair, strict=True)) / len(pair[0])
        gains[name] = Gain(mean, *interval)
    return gains


def _decision(run: RunFolder) -> Decision | None:
    path = run.file("gate", "gate.json")
    return read_decision(path.parent) if path else None


def _training_scorers(run: RunFolder) -> list[str]:
    return sorted(run.recipe.training_scorers) if run.recipe else []


def _verdict(
    run: RunFolder,
    benches: Mapping[str, UnifiedBenchScores],
    gains: Mapping[str, Gain],
    decision: Decision | None,
) -> Verdict:
    sentence = _sentence(benches, gains)
    if run.failed:
        return Verdict("bad", f"Failed at {step_title(run.failed[0].step)}", sentence)
    if run.info["status"] == "failed":
        said = run.info.get("message") or "nothing more"
        why = f"No step left a record that says why; the pipeline says: {said}"
        return Verdict("bad", "Failed", why)
    if decision is None:
        return Verdict("open", "Not finished", sentence)
    if decision.promote:
        return Verdict("good", "Promoted", sentence)
    return Verdict("held", "Not promoted", sentence)


def _sentence(benches: Mapping[str, UnifiedBenchScores], gains: Mapping[str, Gain]) -> str:
    if len(benches) < 2:
        return "No two stages were evaluated, so there is nothing to compare yet."
    (first, before), *_, (last, after) = benches.items()
    gain = gains["overall"]
    clear = "" if gain.low > 0 or gain.high < 0 else ", which may be chance"
    words = (
        f"From {STAGE_TITLES[first]} to {STAGE_TITLES[last]}, captions went from "
        f"{before.caption_words:.1f} to {after.caption_words:.1f} words"
    )
    if before.attribute_recall is not None and after.attribute_recall is not None:
        words += (
            f" and from naming {percent(before.attribute_recall)} to "
            f"{percent(after.attribute_recall)} of what is in the picture"
        )
    return (
        f"{words}; Unified-Bench changed by {gain.mean:+.2f} points "
        f"(95 % interval {gain.low:+.2f} to {gain.high:+.2f}){clear}."
    )


def _tiles(run: RunFolder, benches: Mapping[str, UnifiedBenchScores]) -> list[Tile]:
    tiles = []
    if benches:
        first, last = next(iter(benches.values())), list(benches.values())[-1]
        tiles.append(Tile("Unified-Bench", f"{last.overall:.2f}", f"{first.overall:.2f} at first"))
        tiles.append(
            Tile(
                "Caption words", f"{last.caption_words:.1f}", f"{first.caption_words:.1f} at first"
            )
        )
        if last.attribute_recall is not None:
            before = percent(first.attribute_recall)
            tiles.append(
                Tile("Attributes named", percent(last.attribute_recall), f"{before} at first")
            )
        if last.text_fidelity is not None:
            before = percent(first.text_fidelity)
            tiles.append(
                Tile("Text transcribed", percent(last.text_fidelity), f"{before} at first")
            )
    for table in _task_tables(run):
        low, high = table.scores.interval
        tiles.append(Tile(table.title, number(table.scores.score), f"{low:.2f} to {high:.2f}"))
    wall = run.info.get("wall_seconds")
    shown = UNKNOWN if wall is None else f"{wall / 60:.1f} min"
    tiles.append(Tile("Wall time", shown, f"{memory(run.info.get('peak_memory_bytes'))} at most"))
    return tiles


def _length_charts(
    run: RunFolder, benches: Mapping[str, UnifiedBenchScores]
) -> list[dict[str, Any]]:
    charts = []
    path = run.file("generation_for_understanding", "metrics.jsonl")
    cloud = length_against_reward(read_rows(path)) if path else None
    if cloud is not None:
        charts.append(
            {
                "title": "Reward against caption length, each update of GfU",
                "note": "pale: first update, strong: last",
                "chart": cloud,
            }
        )
    if len(benches) > 1:
        points = [
            Located(STAGE_TITLES[stage], bench.caption_words, bench.overall)
            for stage, bench in benches.items()
        ]
        chart = path_chart(
            points,
            label="Unified-Bench against caption length after each stage",
            x_name="caption words",
            y_name="Unified-Bench",
        )
        note = "mean over the held-out pictures"
        charts.append(
            {
                "title": "Unified-Bench against caption length, each stage",
                "note": note,
                "chart": chart,
            }
        )
    return charts


def _curves(run: RunFolder) -> dict[str, Any]:
    found = {stage: run.file(stage, "metrics.jsonl") for stage in TRAINED_STAGES}
    return {stage: panels(read_rows(path)) for stage, path in found.items() if path is not None}


def _task_tables(run: RunFolder) -> list[Any]:
    tables = []
    for step in ("evaluate_geneval", "evaluate_dpg_bench"):
        path = run.file(step, "results.json")
        if path is not None:
            scores: TaskScores = read_task_scores(path.parent)
            tables.append(task_table(step_title(step), scores))
    return tables
