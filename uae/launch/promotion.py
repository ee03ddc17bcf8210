"""The end of a run: the gate's decision and the exported model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.launch.location import RunLocation
from uae.records import Artifact, MetricsArtifact, Step, step

if TYPE_CHECKING:
    from uae.export.export_model import Publication
    from uae.export.gate import Decision
    from uae.recipe import Recipe
    from uae.store.s3 import Store


def run_gate(
    recipe: str,
    run: str,
    *,
    stage_1: Artifact,
    candidate: Artifact,
    decision: Artifact,
    page: Artifact,
    metrics: MetricsArtifact,
) -> None:
    """Decide whether the candidate may replace the model promoted last.

    Args:
        recipe: The settled recipe as YAML text.
        run: The run's location.
        stage_1: Unified-Bench results after Stage 1.
        candidate: Unified-Bench results after the last stage.
        decision: Folder for gate.json.
        page: HTML page with every condition.
        metrics: Where the decision is shown as a number, 1 to promote.

    Raises:
        DataError: If results are missing or not valid.
        StoreError: If the registry cannot be read.
    """
    inputs = {"recipe": recipe, "stage_1": stage_1, "candidate": candidate}
    outputs = {"decision": decision, "page": page}
    with step(
        "gate", run, inputs=inputs, outputs=outputs, metrics=metrics, late_inputs=_opponent(run)
    ) as work:
        if work.restored:
            return
        with work.imports():
            from uae.export.gate import decide
            from uae.export.registry import read_opponent
            from uae.export.scores import read_unified_bench
            from uae.recipe_files import parse_recipe
            from uae.report.step_html import gate_html
        decided = decide(
            parse_recipe(recipe),
            stage_1=read_unified_bench(Path(stage_1.path)),
            candidate=read_unified_bench(Path(candidate.path)),
            champion=read_opponent(work.store, work.location.run_id),
        )
        decided.write(Path(decision.path))
        Path(page.path).write_text(gate_html(decided), encoding="utf-8")
        work.log_metrics({"promote": float(decided.promote)})


def _opponent(run: str) -> Callable[[Store], Mapping[str, Any]]:
    """Return what says which champion counts now: a decision on an older one is no use."""

    def read(store: Store) -> Mapping[str, Any]:
        from uae.export.registry import read_opponent

        opponent = read_opponent(store, RunLocation.parse(run).run_id)
        return {"champion": asdict(opponent.identity) if opponent else None}

    return read


def run_export(
    recipe: str,
    run: str,
    *,
    promote: bool,
    data: Artifact,
    model: Artifact,
    evidence: Mapping[str, Artifact],
    decision: Artifact,
    exported: Artifact,
    card: Artifact,
    metrics: MetricsArtifact,
) -> None:
    """Export the model, push it to the bucket, and promote it if run and gate say so.

    Args:
        recipe: The settled recipe as YAML text.
        run: The run's location.
        promote: Whether a model that passes the gate becomes the champion.
        data: The validated data set.
        model: The last stage's model.
        evidence: Its results: `unified_bench`, `geneval` and `dpg_bench`.
        decision: Folder with gate.json.
        exported: Folder for the exported model.
        card: Markdown file for the model card.
        metrics: Where the promotion is shown as a number.

    A decision is stale once another run was promoted after it: the model is exported, and the
    champion stays.

    Raises:
        DataError: If results are missing or not valid.
        ModelError: If the model is not complete.
        StoreError: If the bucket refuses.
    """
    inputs = {"recipe": recipe, "promote": promote, "data": data, "model": model}
    inputs |= {"decision": decision, **evidence}
    outputs = {"exported": exported, "card": card}
    with step("export_model", run, inputs=inputs, outputs=outputs, metrics=metrics) as work:
        if work.restored:
            return
        with work.imports():
            from uae.export.gate import read_decision
            from uae.recipe_files import parse_recipe
        export = partial(
            _export,
            work,
            parse_recipe(recipe),
            data=Path(data.path),
            model=Path(model.path),
            evidence={name: Path(artifact.path) for name, artifact in evidence.items()},
            out=Path(exported.path),
        )
        decided = read_decision(Path(decision.path))
        done = export(decided, promoted=promote and decided.promote)
        if done.refusal:
            print(f"not promoted: {done.refusal}")
            export(decided.refused(done.refusal), promoted=False)  # its card says so too
        shutil.copy(Path(exported.path) / "README.md", card.path)
        work.log_metrics({"promoted": float(done.promoted)})


def _export(
    work: Step,
    recipe: Recipe,
    decided: Decision,
    *,
    data: Path,
    model: Path,
    evidence: Mapping[str, Path],
    out: Path,
    promoted: bool,
) -> Publication:
    """Write the model to `out` and push it from there."""
    with work.imports():
        from uae.export.export_model import export_model, publish
        from uae.export.scores import read_unified_bench
    lineage = export_model(
        recipe,
        run_id=work.location.run_id,
        model=model,
        data=data,
        **evidence,
        decision=decided,
        out=out,
    )
    scores, opponent = read_unified_bench(evidence["unified_bench"]), decided.champion
    return publish(
        work.store, out, lineage, unified_bench=scores, opponent=opponent, promoted=promoted
    )
