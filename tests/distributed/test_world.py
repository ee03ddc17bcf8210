import json

import pytest
import stage_world
import torch
from distributed import exchange_program
from distributed.engine_program import train, twelve_samples
from distributed.processes import run_world
from torch import distributed

from uae.errors import TrainingError
from uae.training import messages
from uae.training.distribution import World, current_world, join_world

SIZE = 3


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of three processes got in its meetings with the others."""
    folder = tmp_path_factory.mktemp("exchange")
    ended = run_world(exchange_program.main, SIZE, folder, SIZE)
    assert [one.code for one in ended] == [0] * SIZE, "\n".join(one.output for one in ended)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(SIZE)]


def test_all_processes_get_the_same(found):
    assert found[0] == found[1] == found[2]


def test_messages_of_any_length_arrive_by_rank(found):
    assert found[0]["messages"] == [0, 3000, 6000]
    assert found[0]["of_main"] == {"rank": 0}


def test_tensors_of_any_number_shape_and_type_arrive(found):
    double, flag, number = "torch.float64", "torch.bool", "torch.int64"
    assert found[0]["forms"] == [
        [[double, [0, 2]]],
        [[double, [1, 2]], [flag, [1, 3]]],
        [[double, [2, 2]], [flag, [1, 3]], [number, [3]]],
    ]
    assert found[0]["values"][1] == [[[1.0, 1.0]], [[True, False, True]]]
    assert found[0]["values"][2] == [[[2.0] * 2] * 2, [[True, False, False]], [0, 1, 2]]


def test_chunks_are_computed_in_turns_and_come_in_order(found):
    assert found[0]["turns"] == [[1, 0], [4, 1], [9, 2], [16, 0]]


def test_gradients_are_summed_and_what_nobody_has_stays_absent(found):
    # (1 + 2 + 3) x (1, 10); process 1 alone has the second
    assert found[0]["gradients"] == [[6, 60], [5, 7], None]


def test_what_differs_is_named_with_every_value(found):
    text = "the processes differ in rank (process 0: 0, process 1: 1, process 2: 2): start them"
    assert found[0]["refused"].startswith(text)


def test_three_processes_fit_what_one_fits(found, tmp_path):
    alone = train(twelve_samples(), tmp_path)
    for name, value in found[0]["weights"].items():
        torch.testing.assert_close(torch.tensor(value), alone[name], atol=1e-6, rtol=0)


def test_without_a_world_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world(1) as world:
        assert world == current_world() == World(rank=0, size=1, local_rank=0)
        assert world.is_main
        assert not distributed.is_initialized()
        message = object()  # not even made JSON
        assert world.exchange(message) == [message]


@pytest.mark.parametrize(
    "meet",
    [
        lambda world: world.exchange(None),
        lambda world: world.gather([]),
        lambda world: world.add_up_gradients([]),
    ],
)
def test_meetings_of_one_process_show_that_it_gets_on(meet):
    before = messages.progress()
    meet(World())
    assert messages.progress() > before


@pytest.mark.parametrize(("found", "expected"), [("2", 4), ("2", 1), ("", 2), (None, 2)])
def test_another_number_of_processes_is_refused(monkeypatch, found, expected):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if found is not None:
        monkeypatch.setenv("WORLD_SIZE", found)
    shown = found or "not set"
    with (
        pytest.raises(TrainingError, match=f"WORLD_SIZE is {shown}, but {expected} .* torchrun"),
        join_world(expected),
    ):
        pass


@pytest.mark.parametrize("rank", ["2", "-1", "", "one"])
def test_a_rank_that_is_none_of_the_world_s_is_refused(monkeypatch, rank):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(TrainingError, match="do not number a process among 2"), join_world(2):
        pass


def test_others_that_cannot_be_met_are_an_error(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(TrainingError, match="process 1 of 2 cannot meet the others"), join_world(2):
        pass


def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_loaded(
    world, monkeypatch, tmp_path
):
    monkeypatch.setattr("uae.stages.setting.current_world", lambda: World(rank=0, size=3))
    recipe = stage_world.stage_recipe(world, "cold_start", batch_size=4)
    nothing = stage_world.World(tmp_path / "data", tmp_path / "bundle", tmp_path / "clip")
    with pytest.raises(TrainingError, match=r"cold_start: batch_size=4 .* 3 processes.* is 3;"):
        stage_world.train("cold_start", recipe, nothing, tmp_path / "out")
