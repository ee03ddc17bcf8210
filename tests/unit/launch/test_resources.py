"""Resources files: strict, every fault named with its value; the shipped ones are valid."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from uae.errors import ResourcesError
from uae.launch.resources import (
    Launch,
    Resources,
    StageName,
    dump_resources,
    load_resources,
    num_bytes,
    parse_resources,
)

SHIPPED = Path(__file__).parents[3] / "pipelines" / "resources"
NAMES = [path.stem for path in sorted(SHIPPED.glob("*.yaml"))]


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SHIPPED / "starter.yaml").read_text())
    return found


def changed(key: str, value: Any) -> str:
    """The shipped file with one key changed, as text; None removes the key."""
    whole = values()
    *sections, last = key.split(".")
    place = whole
    for section in sections:
        place = place[section]
    place[last] = value
    return yaml.safe_dump(whole)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files_are_valid_and_survive_writing(name: str) -> None:
    resources = load_resources(name, SHIPPED)
    assert parse_resources(dump_resources(resources)) == resources


def test_starter_is_shipped_and_needs_no_accelerator() -> None:
    resources = load_resources("starter", SHIPPED)
    assert resources.stages.cold_start.accelerators == 0
    assert resources.stages.cold_start.launcher == "pod"


@pytest.mark.parametrize(
    ("name", "world_size"), [("h100-1x1", 1), ("h100-1x8", 8), ("h100-8x8", 64)]
)
def test_shipped_files_for_accelerators_train_on_all_of_them(name: str, world_size: int) -> None:
    resources = load_resources(name, SHIPPED)
    for stage in get_args(StageName):
        launch = resources.launch(stage, "uae-trainer:0.1.0")
        assert launch.world_size == world_size
        # 48 GB of the published models in float32 for each process
        assert num_bytes(launch.memory) > 48e9 * launch.processes_per_node
    assert resources.evaluation.accelerators == 1


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("accelerator", "gpu", "must be the name of a resource, such as nvidia.com/gpu, got 'gpu'"),
        ("cost_center", "R&D", "must be letters, digits, '-', '_' and '.', first and last"),
        ("queue", "Team A", "must be lower-case letters, digits, '-' and '.', first and last"),
        ("weights_claim", "", "must be lower-case letters"),
        ("ttl_seconds", 0, "greater than 0, got 0"),
        ("retries.number", -1, "greater than or equal to 0, got -1"),
        ("retries.factor", 0.5, "greater than or equal to 1, got 0.5"),
        ("control.cpu", 2, "valid string, got 2"),
        ("control.cpu", "0", "must be a number of cores as text"),
        ("control.cpu", "0.000", "must be a number of cores as text"),
        ("control.memory", "1.5Gi", "must be an amount of memory such as 8Gi"),
        ("control.memory", "4GB", "must be an amount of memory such as 8Gi"),
        ("evaluation.accelerators", -1, "greater than or equal to 0, got -1"),
        ("evaluation.timeout_seconds", 1.5, "valid integer, got 1.5"),
        ("stages.cold_start.launcher", "mpi", "'pod' or 'trainjob', got 'mpi'"),
        ("stages.cold_start.num_nodes", 0, "greater than 0, got 0"),
        ("stages.cold_start.gpus", 1, "unknown key (value 1); remove it, allowed: cpu, memory"),
        ("gpu", 1, "unknown key (value 1); remove it, allowed: accelerator, cost_center"),
    ],
)
def test_wrong_value_is_named_with_its_key(key: str, value: Any, fault: str) -> None:
    with pytest.raises(ResourcesError) as caught:
        parse_resources(changed(key, value))
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith(f"  {key}: ")
    assert fault in line


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("control.shared_memory", "4Gi", "shared_memory=4Gi must be less than memory=4Gi"),
        ("stages.cold_start.num_nodes", 2, "num_nodes=2 with launcher pod, which is one node"),
    ],
)
def test_values_that_contradict_each_other_are_refused(key: str, value: Any, fault: str) -> None:
    with pytest.raises(ResourcesError, match=fault) as caught:
        parse_resources(changed(key, value))
    assert f"  {key.rpartition('.')[0]}: " in str(caught.value)


@pytest.mark.parametrize("stage", list(values()["stages"]))
def test_every_stage_must_be_given(stage: str) -> None:
    whole = values()
    del whole["stages"][stage]
    with pytest.raises(ResourcesError, match=rf"stages\.{stage}: missing"):
        parse_resources(yaml.safe_dump(whole))


@pytest.mark.parametrize(("text", "fault"), [
    ("a: [", "not valid YAML"), ("- a", "must be a mapping, got list"),
    ("queue: a\nqueue: b", "keys stand twice"),
])  # fmt: skip
def test_text_that_is_no_mapping_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ResourcesError, match=fault):
        parse_resources(text)


def test_file_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ResourcesError, match=r"no resources file 'cluster'.*one of .*starter"):
        load_resources("cluster", SHIPPED)
    with pytest.raises(ResourcesError, match="one of none"):
        load_resources("cluster", tmp_path)
    own = tmp_path / "own.yaml"
    own.write_text(changed("cost_center", "team-7"))
    assert load_resources(own, SHIPPED).cost_center == "team-7"


def many_nodes() -> Resources:
    stage = values()["stages"]["cold_start"] | {
        "launcher": "trainjob", "num_nodes": 3, "accelerators": 8,
    }  # fmt: skip
    return parse_resources(changed("stages.cold_start", stage))


def test_launch_says_what_its_stage_gets() -> None:
    launch = many_nodes().launch("cold_start", "uae-trainer:0.1.0")
    assert (launch.processes_per_node, launch.world_size) == (8, 24)
    assert (launch.image, launch.cost_center) == ("uae-trainer:0.1.0", "research")
    assert Launch.from_json(launch.to_json()) == launch
    alone = many_nodes().launch("pretrain_decoder", "uae-trainer:0.1.0")
    assert (alone.processes_per_node, alone.world_size) == (1, 1)


def test_launch_of_another_version_is_refused() -> None:
    launch = many_nodes().launch("cold_start", "uae-trainer:0.1.0")
    text = launch.to_json().replace('"queue"', '"queues"')
    with pytest.raises(ResourcesError, match=r"(?s)queue: missing.*queues: unknown key"):
        Launch.from_json(text)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("7", 7), ("64Mi", 64 * 2**20), ("8Gi", 8 * 2**30), ("8G", 8 * 10**9), ("1Ki", 1024)],
)
def test_quantities_in_bytes(quantity: str, expected: int) -> None:
    assert num_bytes(quantity) == expected
