import json
import shutil

import pytest
from distributed import setting_program
from distributed.processes import run_world

HALF = 9  # captions of three samples in groups of three: a process's part of a minibatch


@pytest.fixture(scope="module")
def alone(world):
    return setting_program.found_in(world)


@pytest.fixture(scope="module")
def both(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    ended = run_world(setting_program.main, 2, world, folder, 2)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_captions_that_end_at_different_times_are_those_of_one_process(alone, both):
    first, second = (found["captions"] for found in both)
    assert first[:HALF] + second[:HALF] + first[HALF:] + second[HALF:] == alone["captions"]
    lengths = [len(caption) for caption in alone["captions"]]
    assert len(set(lengths)) > 5  # so that the batch shrank, more than once
    last = [max(map(len, captions)) for captions in (first, second)]
    assert last[0] != last[1]  # one process waited for the other's captions


def test_a_cache_holds_a_process_s_own_samples_to_the_bit(alone, both):
    rows = dict(zip(alone["kept"], alone["rows"], strict=True))
    assert sorted(rows) == sorted(alone["own"])
    for found in both:
        assert found["kept"] == sorted(found["own"])
        assert len(found["kept"]) == len(rows) / 2
        assert found["rows"] == [rows[index] for index in found["kept"]]


def test_processes_with_different_data_are_refused(world, tmp_path):
    other = shutil.copytree(world.data, tmp_path / "data")
    file = other / "train/captions.jsonl"
    file.write_text(file.read_text().replace("a large red car", "a small red car"))
    ended = run_world(setting_program.main_with_other_data, 2, world, other)
    assert [one.code for one in ended] == [1, 1]
    assert all("the processes differ in train (process 0: " in one.output for one in ended)


def test_a_book_of_sampled_captions_is_whole_and_the_same_everywhere(alone, both):
    assert both[0]["book"] == both[1]["book"] == alone["book"]
