import pytest
from unit.leaderboard.example_results import write_geneval

from uae.errors import EvaluationError
from uae.leaderboard.gathering import gather


def test_results_are_found_at_any_depth_and_once(tmp_path):
    write_geneval(tmp_path / "b" / "deep" / "geneval", "B", 0.5, num_samples=6)
    write_geneval(tmp_path / "a", "A", 0.5, num_samples=6)
    found = gather([tmp_path, tmp_path / "a"])
    assert [entry.result.system["name"] for entry in found] == ["A", "B"]
    assert found[1].folder == tmp_path / "b" / "deep" / "geneval"


def test_places_do_not_tell_where_on_this_machine(tmp_path):
    write_geneval(tmp_path / "runs" / "a" / "geneval", "A", 0.5, num_samples=6)
    assert [entry.place for entry in gather([tmp_path / "runs"])] == ["runs/a/geneval"]
    assert [entry.place for entry in gather([tmp_path / "runs" / "a" / "geneval"])] == ["geneval"]


def test_a_folder_without_results_is_named(tmp_path):
    write_geneval(tmp_path / "a", "A", 0.5, num_samples=6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"no results\.json in .*empty"):
        gather([tmp_path / "a", tmp_path / "empty"])
    with pytest.raises(EvaluationError, match=r"no folder .*absent"):
        gather([tmp_path / "absent"])
    with pytest.raises(EvaluationError, match="no folders"):
        gather([])


def test_a_result_that_cannot_be_read_is_named(tmp_path):
    write_geneval(tmp_path / "a", "A", 0.5, num_samples=6)
    broken = tmp_path / "broken" / "results.json"
    broken.parent.mkdir()
    broken.write_text('{"format": 1}')
    with pytest.raises(EvaluationError, match=r"broken/results\.json is not a result"):
        gather([tmp_path])
