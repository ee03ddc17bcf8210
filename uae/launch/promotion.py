"""The end of a run: the gate's decision and the exported model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from uae.launch.lineage import lineage
from uae.launch.location import RunLocation
from uae.records import Artifact, MetricsArtifact, Step, step

if TYPE_CHECKING:
    from uae.export.export_model import Publication
    from uae.export.gate import Decision
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
        metrics: Where the decision is shown as a number, 1 to promote, with what it compared.

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
        first, last = (read_unified_bench(Path(one.path)) for one in (stage_1, candidate))
        champion = read_opponent(work.store, work.location.run_id)
        settled = parse_recipe(recipe)
        decided = decide(settled, stage_1=first, candidate=last, champion=champion)
        decided.write(Path(decision.path))
        Path(page.path).write_text(gate_html(decided), encoding="utf-8")
        compared = {"stage_1": first, "candidate": last}
        compared |= {"champion": champion.unified_bench} if champion else {}
        work.log_metrics(
            {
                "promote": float(decided.promote),
                "checks_failed": sum(not check.passed for check in decided.checks),
                **{f"overall/{name}": scores.overall for name, scores in compared.items()},
            }
        )


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
    model_registry: str,
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
        model_registry: Address of a Kubeflow Model Registry that is told of a new champion; empty
            tells none. One that fails is reported, and undoes nothing.
        data: The validated data set.
        model: The last stage's model.
        evidence: Its results: `unified_bench`, `geneval` and `dpg_bench`.
        decision: Folder with gate.json.
        exported: Folder for the exported model.
        card: Markdown file for the model card, as a person reads it.
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
        with work.imports():
            from uae.export.export_model import MODELS_PREFIX
            from uae.export.model_card import card_body
        if not work.restored:
            export = partial(_export, work, recipe, data=data, model=model, evidence=evidence)
            promoted = _promote_if_wanted(export, Path(decision.path), wanted=promote)
            readme = (Path(exported.path) / "README.md").read_text(encoding="utf-8")
            Path(card.path).write_text(card_body(readme), encoding="utf-8")
            work.log_metrics({"promoted": float(promoted)})
            if promoted and model_registry:
                _register(work, model_registry)
        became_champion = bool(work.record.metrics["promoted"])
        place = f"s3://{work.location.bucket}/{MODELS_PREFIX}/{work.location.run_id}"
        exported.metadata |= lineage(recipe, data, model)
        exported.metadata |= {"promoted": became_champion, "model_uri": place}


def _register(work: Step, model_registry: str) -> None:
    from uae.launch.model_registry import register_champion

    if fault := register_champion(model_registry, work.store):
        print(f"not registered: {fault}")


def _promote_if_wanted(export: Callable[..., Publication], decision: Path, *, wanted: bool) -> bool:
    """Export, and promote if it is wanted and the gate says so; return whether that was done."""
    from uae.export.gate import read_decision

    decided = read_decision(decision)
    done = export(decided, promoted=wanted and decided.promote)
    if done.refusal:
        print(f"not promoted: {done.refusal}")
        export(decided.refused(done.refusal), promoted=False)  # its card says so too
    return done.promoted


def _export(
    work: Step,
    recipe: str,
    decided: Decision,
    *,
    data: Artifact,
    model: Artifact,
    evidence: Mapping[str, Artifact],
    promoted: bool,
) -> Publication:
    """Write the model to its place and push it from there."""
    with work.imports():
        from uae.export.export_model import export_model, publish
        from uae.export.scores import read_unified_bench
        from uae.recipe_files import parse_recipe
        from uae.weights.fetching import fetch_licences
    out = Path(work.outputs["exported"].path)
    results = {name: Path(artifact.path) for name, artifact in evidence.items()}
    settled = parse_recipe(recipe)
    with TemporaryDirectory() as temporary:
        written = export_model(
            settled,
            run_id=work.location.run_id,
            model=Path(model.path),
            data=Path(data.path),
            **results,
            decision=decided,
            out=out,
            base_licences=fetch_licences(settled.models, work.store, Path(temporary)),
        )
    scores, opponent = read_unified_bench(results["unified_bench"]), decided.champion
    return publish(
        work.store, out, written, unified_bench=scores, opponent=opponent, promoted=promoted
    )
