import pytest
from unit.leaderboard.example_results import make_result, make_sample

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
    judged_by: {detector: {kind: [mask2former]}, colors: {kind: [open_clip, "clip*"]}}
    source: a paper
    systems: {UAE: {score: 0.86}}
"""


def write(tmp_path, text):
    path = tmp_path / "reported.yaml"
    path.write_text(text)
    return path


OFFICIAL = PromptSet(name="geneval", source="x", sha256="0" * 64, count=553)


def measured(**changes):
    return make_result([make_sample("a", 1.0)], **{"prompts": OFFICIAL} | changes)


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
    assert found["pairwise", "pictures", "UAE vs GPT-4o"].score == 47.2
    assert found["unified_bench", "pictures", "Janus-Pro after Unified-GRPO"].score == 89.1
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
    assert one.fits(measured())
    assert not one.fits(measured(prompts=OFFICIAL.model_copy(update={"name": "scenes"})))
    assert not one.fits(measured(prompts=OFFICIAL.model_copy(update={"count": 552})))
    assert not one.fits(measured(protocol="geneval/other"))
    assert not one.fits(measured(benchmark="geneval_2"))


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"colors": {"kind": "clip-large"}}, True),
        ({"colors": {"kind": "Open_CLIP"}}, False),
        ({"colors": {}}, False),
        ({"detector": {"kind": "segformer-regions"}}, False),
        ({"words": {"kind": "ocr"}}, False),
    ],
)
def test_a_set_fits_only_judges_that_may_be_its_own(tmp_path, changes, fits):
    (one,) = read_reported(write(tmp_path, f"sets:{SET}"))
    assert one.fits(measured(judges=measured().judges | changes)) == fits
    roles = [role for role in measured().judges if role != "colors"]
    assert not one.fits(measured(judges={role: measured().judges[role] for role in roles}))


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
        (f"sets:{SET}".replace("judged_by", "judged"), "judged_by"),
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
