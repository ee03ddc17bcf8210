"""Imports point one way, torch stays out of steps that need none, kfp stays out of the library."""

import subprocess
import sys

from architecture.imports import Import, imports, reached, sources

LAYERS = (  # a package imports only from layers above its own line
    {"errors", "seeds", "fingerprints", "replacement", "strict_yaml"},
    {"recipe"},
    {"recipe_files"},
    {"store", "flow_matching"},
    {"data"},
    {"models"},
    {"objectives"},
    {"rollouts", "rewards", "training"},
    {"stages", "evaluation"},
    {"base_weights", "inference", "planning"},
    {"records", "weights"},
    {"export"},
    {"report", "leaderboard"},
    {"launch"},
    {"commands"},
    {"cli"},
)
RANKS = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
EXCEPTIONS = {("records", "launch")}  # a record's plumbing: location, events, output, parent
TENSOR_LIBRARIES = {
    "torch", "torchvision", "transformers", "diffusers", "peft", "open_clip", "accelerate", "timm",
}  # fmt: skip
TORCH_FREE = (
    "uae.errors", "uae.seeds", "uae.fingerprints", "uae.replacement", "uae.recipe",
    "uae.recipe_files", "uae.cli", "uae.commands",
    "uae.records", "uae.store", "uae.data", "uae.report", "uae.export", "uae.launch",
    "uae.evaluation.bootstrap", "uae.leaderboard", "uae.weights.check", "uae.weights.fetching",
    "uae.weights.expected",
)  # fmt: skip
CLUSTER_LIBRARIES = {"kfp", "kubernetes", "kubeflow"}


def package_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def library(name: str) -> str:
    return name.partition(".")[0]


def library_modules() -> list[str]:
    return [module for module in sources() if module.startswith("uae.")]


def test_library_imports_point_one_way():
    wrong = [
        f"{module} line {entry.line}: {entry.name}"
        for module in library_modules()
        for entry in imports(sources()[module])
        if library(entry.name) == "uae" and not may_import(package_of(module), entry.name)
    ]
    assert wrong == []


def may_import(package: str, name: str) -> bool:
    target = package_of(name)
    return (
        target in ("", package) or (package, target) in EXCEPTIONS or RANKS[target] < RANKS[package]
    )


def test_pipelines_import_components_import_the_library():
    above = {
        "uae": {"uae_components", "uae_images", "uae_pipelines"},
        "uae_images": {"uae_components", "uae_pipelines"},
        "uae_components": {"uae_pipelines"},
    }
    wrong = [
        f"{module} line {entry.line}: {entry.name}"
        for module, path in sources().items()
        for entry in imports(path)
        if library(entry.name) in above.get(library(module), set())
        and not is_late_command(module, entry)
    ]
    assert wrong == []


def is_late_command(module: str, entry: Import) -> bool:
    """The one allowed edge: commands that concern the pipeline, loaded when they are called."""
    return (
        package_of(module) == "commands" and entry.late and library(entry.name) == "uae_pipelines"
    )


def test_only_launch_knows_the_cluster():
    wrong = [
        f"{module} line {entry.line}: {entry.name}"
        for module in library_modules()
        for entry in imports(sources()[module])
        if library(entry.name) in CLUSTER_LIBRARIES and package_of(module) != "launch"
    ]
    assert wrong == []


def test_modules_without_tensors_do_not_reach_torch():
    free = [m for m in sources() if any(m == f or m.startswith(f"{f}.") for f in TORCH_FREE)]
    wrong = [
        " -> ".join(chain)
        for module in free
        for name, chain in reached(module).items()
        if library(name) in TENSOR_LIBRARIES
    ]
    assert len(free) > 30
    assert wrong == []


def test_the_report_really_runs_without_torch():
    script = (
        "import sys, uae.report.run_report, uae.report.step_html, uae.export.export_model, "
        "uae.export.metrics, uae.store.s3, uae.records; "
        f"print(sorted({TENSOR_LIBRARIES} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
