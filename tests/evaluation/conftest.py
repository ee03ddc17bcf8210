from pathlib import Path

import pytest
import yaml

SUITE = Path(__file__).parents[2] / "uae" / "recipes" / "suites" / "starter.yaml"
COUNTS = {"unified_bench": 3, "geneval": 6, "dpg_bench": 2}


@pytest.fixture(scope="session")
def make_suite(tmp_path_factory):
    """Write the shipped suite, with its real judges, for few pictures; keywords replace keys."""

    def make(slots=None, without=(), **changes):
        values = yaml.safe_load(SUITE.read_text(encoding="utf-8"))
        values |= {"num_threads": 1, "bootstrap_resamples": 50, "min_self_test_accuracy": 0.5}
        benchmarks = values["benchmarks"]
        benchmarks["unified_bench"]["num_samples"] = COUNTS["unified_bench"]
        benchmarks["unified_bench"]["slots"] = slots or benchmarks["unified_bench"]["slots"]
        benchmarks["geneval"]["num_prompts"] = COUNTS["geneval"]
        benchmarks["geneval"]["images_per_prompt"] = 1
        benchmarks["dpg_bench"]["num_prompts"] = COUNTS["dpg_bench"]
        benchmarks |= dict.fromkeys(without)
        path = tmp_path_factory.mktemp("suite") / "suite.yaml"
        path.write_text(yaml.safe_dump(values | changes), encoding="utf-8")
        return path

    return make
