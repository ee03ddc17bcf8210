"""The end of a run: the gate's decision and the exported model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from uae.records import Artifact, MetricsArtifact, Step, step


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
    with step("gate", run, inputs=inputs, outputs=outputs, metrics=metrics) as work:
        if work.restored:
            return
        with work.imports():
            from uae.export.gate import decide
            from uae.export.registry import read_champion
            from uae.export.scores import read_unified_bench
            from uae.recipe import parse_recipe
            from uae.report.step_html import gate_html
        champion = read_champion(work.store)
        decided = decide(
            parse_recipe(recipe),
            stage_1=read_unified_bench(Path(stage_1.path)),
            candidate=read_unified_bench(Path(candidate.path)),
            champion=champion.unified_bench if champion else None,
        )
        decided.write(Path(decision.path))
        Path(page.path).write_text(gate_html(decided), encoding="utf-8")
        work.log_metrics({"promote": float(decided.promote)})


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
            from uae.export.export_model import export_model, publish
            from uae.export.gate import read_decision
            from uae.export.scores import read_unified_bench
            from uae.recipe import parse_recipe
        results = {name: Path(artifact.path) for name, artifact in evidence.items()}
        folder, decided = Path(exported.path), read_decision(Path(decision.path))
        lineage = export_model(
            parse_recipe(recipe),
            run_id=work.location.run_id,
            model=Path(model.path),
            data=Path(data.path),
            **results,
            decision=decided,
            parent=_parent(work),
            out=folder,
        )
        shutil.copy(folder / "README.md", card.path)
        scores = read_unified_bench(results["unified_bench"])
        promoted = promote and decided.promote
        publish(work.store, folder, lineage, unified_bench=scores, promoted=promoted)
        work.log_metrics({"promoted": float(promoted)})


def _parent(work: Step) -> str | None:
    """Return the run whose model is the champion now."""
    from uae.export.registry import read_champion

    champion = read_champion(work.store)
    if champion is None:
        return None
    cut_off_after_promotion = champion.run_id == work.location.run_id
    return champion.parent if cut_off_after_promotion else champion.run_id
