import pytest

from uae.errors import DataError
from uae.export.gate import Check, Decision, decide, read_decision
from uae.export.registry import Champion, ChampionIdentity
from uae.export.scores import SlotScore, UnifiedBenchScores
from uae.recipe_files import load_recipe

RECIPE = load_recipe("starter")
REWARD = RECIPE.generation_for_understanding.rewards.scorer


def scores(reward=80.0, longclip=80.0, ssl=80.0, *, text=0.5, data="r1", seed=0):
    slots = {
        "clip": SlotScore(score=reward, scorer=REWARD, interval=(0, 100)),
        "longclip": SlotScore(score=longclip, scorer="longclip", interval=(0, 100)),
        "dinov2": SlotScore(score=ssl, scorer="ssl", interval=(0, 100)),
    }
    return UnifiedBenchScores(
        protocol="unified-bench", version=1, overall=(reward + longclip + ssl) / 3,
        interval=(0, 100), slots=slots, caption_words=9, attribute_recall=0.5, text_fidelity=text,
        repetition=0, num_samples=64, judges={"clip": "sha"}, prompts={"data_revision": data},
        settings={"seed": seed, "temperature": 0.0},
    )  # fmt: skip


def champion(*args, **kwargs):
    return Champion(
        run_id="run-0", model_prefix="models/run-0", promoted_at="2026-03-04",
        recipe_name="starter", recipe_sha256="0", data_revision="r1", code_version="0.1.0",
        parent=None, unified_bench=scores(*args, **kwargs),
    )  # fmt: skip


def gate_recipe(**changes):
    return RECIPE.model_copy(update={"gate": RECIPE.gate.model_copy(update=changes)})


LOW = scores(70, 70, 70)


def test_gain_everywhere_is_promoted_without_a_champion():
    decision = decide(RECIPE, stage_1=LOW, candidate=scores(), champion=None)
    assert decision.promote
    assert decision.decision == "promote"
    assert len(decision.reasons) == len(decision.checks)


def test_threshold_is_named_with_both_numbers():
    decision = decide(gate_recipe(min_overall=85.0), stage_1=LOW, candidate=scores(), champion=None)
    assert decision.reasons == ["overall 80.00, required 85.00"]


def test_gain_on_the_reward_s_scorer_alone_is_not_enough():
    # Overall rises from 70 to 79.3 through the reward's own slot; the others fall.
    decision = decide(RECIPE, stage_1=LOW, candidate=scores(100, 69, 69), champion=None)
    assert not decision.promote
    assert decision.reasons == ["held-out scorers' mean against Stage 1: 70.00 to 69.00 (-1.00)"]


def test_gain_over_stage_1_is_the_recipe_s_choice():
    recipe = gate_recipe(require_gain_over_stage_1=False)
    assert decide(recipe, stage_1=scores(90, 90, 90), candidate=scores(), champion=None).promote


def test_slots_of_the_reward_alone_decide_nothing():
    only = scores().model_copy(update={"slots": {"clip": scores().slots["clip"]}})
    decision = decide(RECIPE, stage_1=only, candidate=only, champion=None)
    assert decision.reasons == [
        f"slots not judged by a scorer that gave a loss or reward ({REWARD}): none"
    ]


def test_scorer_of_another_stage_is_not_held_out():
    ufg = RECIPE.understanding_for_generation
    rewards = ufg.rewards.model_copy(update={"scorer": "/weights/scorers/longclip"})
    recipe = RECIPE.model_copy(
        update={"understanding_for_generation": ufg.model_copy(update={"rewards": rewards})}
    )
    assert recipe.training_scorers == {REWARD, "longclip"}
    assert "longclip" in RECIPE.heldout_slots
    assert "longclip" not in recipe.heldout_slots
    before, after = scores(longclip=60, ssl=70), scores(longclip=90, ssl=60)
    assert decide(RECIPE, stage_1=before, candidate=after, champion=None).promote
    assert not decide(recipe, stage_1=before, candidate=after, champion=None).promote


@pytest.mark.parametrize(("text", "promoted"), [(0.46, True), (0.44, False)])
def test_text_fidelity_may_drop_by_the_recipe_s_share(text, promoted):
    decision = decide(RECIPE, stage_1=LOW, candidate=scores(text=text), champion=None)
    assert decision.promote is promoted  # 0.50 - 0.05 is the limit


def test_text_fidelity_known_on_one_side_only_is_refused():
    decision = decide(RECIPE, stage_1=LOW, candidate=scores(text=None), champion=None)
    assert decision.reasons == ["text fidelity is known only for one of candidate and Stage 1"]


def test_unknown_text_is_not_checked():
    low = LOW.model_copy(update={"text_fidelity": None})
    assert decide(RECIPE, stage_1=low, candidate=scores(text=None), champion=None).promote


def test_one_held_out_slot_may_not_fall_behind_the_champion():
    # The mean of the two held-out slots rises, one of them loses 2 points, 1 is allowed.
    decision = decide(
        RECIPE, stage_1=LOW, candidate=scores(80, 84, 78), champion=champion(80, 80, 80)
    )
    assert decision.reasons == [
        "dinov2 (ssl) against the champion: 80.00 to 78.00 (-2.00), allowed drop 1.00"
    ]


def test_tolerances_do_not_add_up_over_nights():
    # Each slot is within its tolerance, and the means are not: no walking downhill.
    decision = decide(
        RECIPE, stage_1=LOW, candidate=scores(79.5, 79.5, 79.5), champion=champion(80, 80, 80)
    )
    assert not decision.promote
    assert len(decision.reasons) == 2


def test_champion_may_have_another_seed_but_not_other_pictures():
    candidate = scores()
    same = decide(RECIPE, stage_1=LOW, candidate=candidate, champion=champion(seed=1))
    assert same.promote
    assert same.champion == ChampionIdentity("run-0", "2026-03-04")
    decision = decide(RECIPE, stage_1=LOW, candidate=candidate, champion=champion(data="r2"))
    assert "differ in: pictures" in decision.reasons[0]
    assert "make run BUCKET=other" in decision.reasons[0]


def test_stage_1_judged_by_other_weights_is_no_comparison():
    other = LOW.model_copy(update={"judges": {"clip": "older"}})
    decision = decide(RECIPE, stage_1=other, candidate=scores(), champion=champion())
    assert len(decision.reasons) == 1
    assert "with Stage 1's, which differ in: scorers' weights; resume" in decision.reasons[0]
    recipe = gate_recipe(require_gain_over_stage_1=False)
    assert decide(recipe, stage_1=other, candidate=scores(), champion=champion()).promote


def test_decision_survives_writing(tmp_path):
    decision = Decision((Check(True, "a"),), ChampionIdentity("run-0", "2026")).refused("b")
    decision.write(tmp_path / "gate")
    assert read_decision(tmp_path / "gate") == decision
    assert decision.reasons == ["b"]
    Decision((Check(True, "a"),)).write(tmp_path / "first")
    assert read_decision(tmp_path / "first").champion is None


def test_missing_decision_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="run the gate first"):
        read_decision(tmp_path)
