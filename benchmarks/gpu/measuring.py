"""From the options to the report: make weights and pictures, measure stage by stage, compare."""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.gpu import configuration, table
from benchmarks.gpu.comparison import StageFigures
from benchmarks.gpu.device import Device
from benchmarks.gpu.options import STAGES, Options
from benchmarks.gpu.pairs import write_pairs
from benchmarks.gpu.stage_process import NUM_WARM_UP
from benchmarks.gpu.weights import num_bytes, write_bundle
from benchmarks.measurement import print_table
from uae.errors import UaeError
from uae.fingerprints import json_sha256
from uae.models.bundle import write_json
from uae.planning.gpus import GPUS, Gpu
from uae.planning.plan import Plan
from uae.planning.planner import Assumptions, make_plan
from uae.recipe import Recipe
from uae.recipe_files import load_recipe
from uae.rewards.ocr_package import check_ocr_package

_ROOT = Path(__file__).parents[2]
_MADE = "made.json"


class ProcessFailed(UaeError):
    """A measuring process ended with an error."""


@dataclass(frozen=True)
class Made:
    """What the stages are given, by absolute paths."""

    recipe_file: Path
    recipe: Recipe
    data: Path
    place: Path


def run(options: Options, place: Path, command: str) -> int:
    """Do what the options say; return the exit code, 1 if a stage failed.

    Args:
        options: Of the command line.
        place: Where weights and pictures are made.
        command: The command line, to be shown with the figures.

    Raises:
        UaeError: If something is missing, before anything is made.
    """
    if options.updates < 1:
        raise UaeError(f"--updates {options.updates}: give 1 or more")
    recipe = load_recipe(options.recipe)
    if options.plan_only:
        plan = _plan(recipe, GPUS[options.gpu], options, options.stages)
        _report(options, command, plan, {}, None)
        return 0
    _check(options, recipe)
    made = _make(options, place.resolve(), recipe)
    device = Device(**_result(made, "benchmarks.gpu.device", []))
    found = _earlier(options, device) | {s: _stage(made, options, s) for s in options.stages}
    if options.profile is not None:
        _profile(made, options)
    planned = made.recipe if options.dry_run else recipe
    _report(options, command, _plan(planned, device.as_planned(), options, found), found, device)
    failed = [stage for stage, result in found.items() if result.get("error")]
    return 1 if failed else 0


def _check(options: Options, recipe: Recipe) -> None:
    if not options.dry_run and not torch.cuda.is_available():
        raise UaeError("no GPU is here: give --dry-run, or --plan-only for the predictions")
    reads = recipe.generation_for_understanding.rewards.transcription.reads_pictures
    if not options.dry_run and reads and "generation_for_understanding" in options.stages:
        check_ocr_package()


def _make(options: Options, place: Path, recipe: Recipe) -> Made:
    """Write weights and pictures, or find those that an earlier call wrote."""
    files = configuration.published_files(recipe)
    if options.dry_run:
        files, recipe = configuration.dry_files(files), configuration.dry_recipe(recipe)
    if options.condition_tokens is not None:
        files.bundle["model.json"]["condition_tokens"] = options.condition_tokens
    bundle = place / "weights" / Path(recipe.models.base).name
    recipe = configuration.on_bundle(recipe, bundle)
    _make_weights(files, bundle)
    num_updates = options.updates + NUM_WARM_UP
    write_json(bundle / "model.json", files.bundle["model.json"])  # no weight depends on it
    size = {"updates": num_updates, "recipe": recipe.model_dump(mode="json")}
    folder = place / f"pairs-{json_sha256(size)[:12]}"
    if not (folder / "data").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"pictures: {folder}", flush=True)
        write_pairs(recipe, num_updates, folder)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    return Made(file, recipe, folder / "data", place)


def _make_weights(files: configuration.Files, bundle: Path) -> None:
    configs = {name: found for name, found in files.bundle.items() if name != "model.json"}
    content = json_sha256({"bundle": configs, "scorers": files.scorers})
    marker = bundle.parent / _MADE
    if marker.is_file() and json.loads(marker.read_text("utf-8")) == content:
        return
    if bundle.parent.exists():
        raise UaeError(
            f"{bundle.parent} holds other weights, or some that were not finished: remove it, or "
            "give another --place"
        )
    bundle.parent.mkdir(parents=True)
    needed, free = num_bytes(files), shutil.disk_usage(bundle.parent).free
    if needed > free:
        bundle.parent.rmdir()
        raise UaeError(
            f"random weights take {needed / 1e9:.1f} GB and {bundle.parent} has {free / 1e9:.1f} "
            "GB free: make room, or give another --place"
        )
    print(f"weights: {needed / 1e9:.1f} GB in {bundle.parent}", flush=True)
    write_bundle(files, bundle)
    marker.write_text(json.dumps(content), encoding="utf-8")


def _stage(made: Made, options: Options, stage: str) -> dict[str, Any]:
    """Measure a stage. One that fails is reported, and the others are measured all the same."""
    settings = _settings(made, stage, options.updates, None)
    print(f"{stage}: {NUM_WARM_UP} + {options.updates} updates", flush=True)
    try:
        return _result(made, "benchmarks.gpu.stage_process", [settings])
    except ProcessFailed as error:
        print(f"error: {stage}: {error}", file=sys.stderr)
        return {"updates": [], "peaks": None, "error": str(error)}


def _profile(made: Made, options: Options) -> None:
    trace = options.out.resolve().with_name(f"{options.out.stem}-{options.profile}.trace.json.gz")
    trace.parent.mkdir(parents=True, exist_ok=True)
    settings = _settings(made, str(options.profile), 1, trace)
    _result(made, "benchmarks.gpu.stage_process", [settings])
    print(f"profile: {trace}", flush=True)


def _settings(made: Made, stage: str, num_updates: int, trace: Path | None) -> str:
    content = {
        "stage": stage,
        "recipe": str(made.recipe_file),
        "data": str(made.data),
        "num_updates": num_updates,
        "trace": trace and str(trace),
    }
    file = made.place / f"{stage}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return str(file)


def _result(made: Made, module: str, arguments: list[str]) -> dict[str, Any]:
    """Run a module in a process of its own and return what it leaves.

    Raises:
        ProcessFailed: If it fails, with the end of its log, which stays in `place`.
    """
    name = "-".join([module.rpartition(".")[2], *(Path(given).stem for given in arguments)])
    result, log = made.place / f"{name}.result.json", made.place / f"{name}.log"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", module, *arguments, str(result)]
    with log.open("wb") as errors:
        ended = subprocess.run(command, cwd=_ROOT, stderr=errors)
    if ended.returncode:
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"exit code {ended.returncode}"
        raise ProcessFailed(f"{last} (see {log})")
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return found


def _earlier(options: Options, device: Device) -> dict[str, Any]:
    if not (options.add and options.out.is_file()):
        return {}
    try:
        before = json.loads(options.out.read_text("utf-8"))
    except ValueError as error:
        raise UaeError(f"{options.out} is not JSON, nothing can be added: {error}") from error
    if before["device"] is None or before["device"]["name"] != device.name:
        raise UaeError(f"{options.out} was not measured on {device.name}: give another --out")
    return {name: stage["found"] for name, stage in before["stages"].items() if stage["found"]}


def _plan(recipe: Recipe, gpu: Gpu, options: Options, stages: Collection[str]) -> Plan:
    """Plan these stages alone: the models of each are built anew, which takes its time."""
    others = [stage for stage in STAGES if stage not in stages]
    unplanned = {s: getattr(recipe, s).model_copy(update={"num_updates": 0}) for s in others}
    tokens = options.condition_tokens
    assumed = Assumptions(gpu, 1, 1, fraction=options.fraction, condition_tokens=tokens)
    return make_plan(recipe.model_copy(update=unplanned), assumed)


def _report(
    options: Options, command: str, plan: Plan, found: dict[str, Any], device: Device | None
) -> None:
    stages = [StageFigures(planned, found.get(planned.stage), device) for planned in plan.stages]
    text = table.markdown(plan, stages, device, command)
    print(text)
    targets = [target for stage in stages for target in stage.targets()]
    if targets and not options.dry_run:
        print_table(targets)
    table.write_json(options.out, table.content(plan, stages, device, command))
    print(f"written to {options.out}")
    if options.table is not None:
        table.write_between_marks(options.table, text)
