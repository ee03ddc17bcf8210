"""Imports point one way, torch stays out of steps that need none, kfp stays out of the library."""

import subprocess
import sys

import pytest
from architecture.imports import imports, reached, sources

LAYERS = (  # a package imports only from layers above its own line
    {"errors", "seeds", "fingerprints"},
    {"recipe"},
    {"store", "flow_matching"},
    {"data"},
    {"models"},
    {"objectives"},
    {"rollouts", "rewards", "training"},
    {"stages", "evaluation"},
    {"base_weights", "inference"},
    {"records"},
    {"export"},
    {"report"},
    {"launch"},
    {"cli"},
)
RANKS = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
EXCEPTIONS = {("records", "launch")}  # a record's plumbing: location, events, output, parent
TENSOR_LIBRARIES = {
    "torch", "torchvision", "transformers", "diffusers", "peft", "open_clip", "accelerate", "timm",
}  # fmt: skip
TORCH_FREE = (
    "uae.errors", "uae.seeds", "uae.fingerprints", "uae.recipe", "uae.cli", "uae.records",
    "uae.store", "uae.data", "uae.report", "uae.export", "uae.launch", "uae.evaluation.bootstrap",
)  # fmt: skip
CLUSTER_LIBRARIES = {"kfp", "kubernetes", "kubeflow"}


def package_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def library(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("module", [m for m in sources() if m.startswith("uae.")])
def test_library_imports_point_one_way(module):
    package = package_of(module)
    wrong = [
        f"line {entry.line}: {entry.name}"
        for entry in imports(sources()[module])
        if library(entry.name) == "uae" and (target := package_of(entry.name)) not in ("", package)
        if (package, target) not in EXCEPTIONS and not RANKS[target] < RANKS[package]
    ]
    assert not wrong, f"{package} may not import these"


@pytest.mark.parametrize("module", list(sources()))
def test_pipelines_import_components_import_the_library(module):
    above = {"uae": {"uae_components", "uae_pipelines"}, "uae_components": {"uae_pipelines"}}
    wrong = [
        entry
        for entry in imports(sources()[module])
        if library(entry.name) in above.get(library(module), set())
    ]
    if module == "uae.cli":  # the one allowed edge: commands that concern the pipeline
        wrong = [
            entry
            for entry in wrong
            if not (entry.late and entry.name.startswith("uae_pipelines.commands"))
        ]
    assert not wrong


@pytest.mark.parametrize("module", [m for m in sources() if m.startswith("uae.")])
def test_only_launch_knows_the_cluster(module):
    names = {library(entry.name) for entry in imports(sources()[module])}
    assert package_of(module) == "launch" or not names & CLUSTER_LIBRARIES


@pytest.mark.parametrize(
    "module",
    [m for m in sources() if any(m == free or m.startswith(f"{free}.") for free in TORCH_FREE)],
)
def test_modules_without_tensors_do_not_reach_torch(module):
    chains = dict(reached(module).items())
    heavy = [" -> ".join(chains[name]) for name in chains if library(name) in TENSOR_LIBRARIES]
    assert not heavy


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
