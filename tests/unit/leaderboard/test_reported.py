import pytest

from uae.errors import EvaluationError
from uae.evaluation.results import PromptSet
from uae.leaderboard.reported import converted, read_reported, same_name, shipped

SET = """
  - benchmark: geneval
    protocol: geneval
    prompts: geneval
    num_prompts: 553
    unit: share
    judges: theirs
    source: a paper
    systems: {UAE: {score: 0.86}}
"""


def write(tmp_path, text):
    path = tmp_path / "reported.yaml"
    path.write_text(text)
    return path


def test_shipped_scores_are_the_published_ones():
    found = {
        (one.benchmark, one.prompts, name): scores
        for one in shipped()
        for name, scores in one.systems.items()
    }
    assert found["dpg_bench", "dpg-bench", "UAE"].score == 84.74
    assert found["geneval", "geneval", "UAE"].score == 0.86
    assert found["geneval", "geneval-rewritten", "UAE"].score == 0.89
    assert found["geneval_plus", "geneval_plus", "UAE"].score == 0.475
    assert found["pairwise", "unified-bench", "UAE vs GPT-4o"].score == 47.2
    assert found["unified_bench", "unified-bench", "Janus-Pro after Unified-GRPO"].score == 89.1
    assert len(found) == 16


def test_overall_scores_of_unified_bench_are_the_means_of_their_parts():
    checked = 0
    for one in shipped():
        for scores in one.systems.values() if one.benchmark == "unified_bench" else ():
            if len(scores.parts) == 4:
                # published to two digits: rounding each part and the mean moves it by 0.01
                assert sum(scores.parts.values()) / 4 == pytest.approx(scores.score, abs=0.0101)
                checked += 1
    assert checked == 5


def test_points_and_shares_are_converted():
    assert converted(84.74, "points", "share") == pytest.approx(0.8474)
    assert converted(0.86, "share", "points") == pytest.approx(86)
    assert converted(0.5, "share", "share") == 0.5


def test_a_set_fits_its_own_protocol_prompts_and_size_only(tmp_path):
    (one,) = read_reported(write(tmp_path, f"sets:{SET}"))
    official = PromptSet(name="geneval", source="x", sha256="0" * 64, count=553)
    assert one.fits("geneval", "geneval", official)
    assert not one.fits("geneval", "geneval", official.model_copy(update={"name": "scenes"}))
    assert not one.fits("geneval", "geneval", official.model_copy(update={"count": 552}))
    assert not one.fits("geneval", "geneval/other", official)
    assert not one.fits("geneval_2", "geneval", official)


def test_spellings_of_one_name():
    assert same_name("  Janus-PRO  7B ") == same_name("janus-pro 7b")
    assert same_name("Janus-Pro") != same_name("Janus")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"sets:{SET}".replace("0.86", "86"), "is it in points"),
        (f"sets:{SET}".replace("0.86", "-1"), "greater than or equal to 0"),
        (f"sets:{SET}".replace("source: a paper", "source: ''"), "source"),
        (f"sets:{SET}".replace("judges: theirs", "judge: theirs"), "judges"),
        (f"sets:{SET}{SET}".replace("{UAE:", "{uae:", 1), "stands twice"),
        ("sets: [", "expected"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, text, told):
    with pytest.raises(EvaluationError, match=r"reported\.yaml") as error:
        read_reported(write(tmp_path, text))
    assert told in str(error.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(EvaluationError, match=r"absent\.yaml"):
        read_reported(tmp_path / "absent.yaml")
