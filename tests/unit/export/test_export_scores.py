import json

import pytest
from example_run import SLOTS, write_bench

from uae.errors import DataError
from uae.export.scores import read_unified_bench


def test_slots_have_the_names_that_the_recipe_gives_their_scorers(tmp_path):
    found = read_unified_bench(write_bench(tmp_path, stage=3, num_samples=2))
    assert {slot: score.scorer for slot, score in found.slots.items()} == SLOTS
    assert found.heldout_slots({"clip", "ssl"}).keys() == {"longclip", "dinov3"}


def test_a_slot_without_a_name_could_have_given_the_reward_and_is_refused(tmp_path):
    path = write_bench(tmp_path, stage=3, num_samples=2) / "results.json"
    result = json.loads(path.read_text())
    del result["settings"]["slots"]["dinov2"]
    path.write_text(json.dumps(result))
    with pytest.raises(DataError, match=r"settings\.slots names no scorer of dinov2"):
        read_unified_bench(tmp_path)
