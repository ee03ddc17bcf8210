"""Where samples are streamed, the phases that are planned are those that the stages go through."""

from importlib import import_module

import pytest
from stage_world import STAGES, make_world, stage_recipe, train
from streamed_world import make_streamed, streamed

from uae.models.autoencoder import AutoEncoder
from uae.models.decoder import Decoder
from uae.models.encoder import Encoder
from uae.planning.frozen_phases import in_chunks
from uae.planning.gpus import GIB, Gpu
from uae.planning.planner import Assumptions, make_plan
from uae.planning.start_phases import NUM_BASE_CAPTIONS
from uae.rewards.reconstruction import ReconstructionScorer
from uae.stages import generation_for_understanding
from uae.stages.setting import Setting
from uae.training.loop import Run

HUGE = Gpu("huge", 1000 * GIB, 1e9, 1e9, 1e9, 1e6)
CALLS = (
    (Decoder, "encode_images", "read pairs"),
    (Encoder, "image_features", "look"),
    (Encoder, "read_tokens", "write captions"),
    (AutoEncoder, "condition", "read captions"),
    (Decoder, "velocity", "draw"),
    (Decoder, "decode_latents", "decode and score"),
    (ReconstructionScorer, "score", "decode and score"),
    (ReconstructionScorer, "features", "features"),
)
UPDATES = {
    "pretrain_decoder": ["read pairs", "train"],
    "cold_start": ["features", "look", "write captions", "train"],
    "generation_for_understanding": [
        "look",
        "write captions",
        "features",
        "read captions",
        "draw",
        "decode and score",
        "train",
    ],
    "understanding_for_generation": [
        "look",
        "write captions",
        "read captions",
        "draw",
        "features",
        "decode and score",
        "train",
    ],
}


class OneUpdateSeen(Exception):
    pass


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streamed")
    return make_streamed(make_world(folder / "kept"), folder)


def recipe_of(stream, stage):
    return streamed(stage_recipe(stream, stage, num_updates=1))


@pytest.fixture(scope="module")
def plans(stream):
    recipe = recipe_of(stream, "cold_start")
    plan = make_plan(recipe, Assumptions(gpu=HUGE, nodes=1, gpus_per_node=1))
    return {stage.stage: stage for stage in plan.stages}


def calls_of_an_update(stream, stage, out, monkeypatch):
    """Return the phases that an update of the stage really goes through, outermost calls alone."""
    seen, depth = [], [0]
    module = import_module(f"uae.stages.{stage}")

    def watch(owner, name, phase):
        plain = getattr(owner, name)

        def watched(*arguments, **options):
            if depth[0] == 0:
                seen.append(phase)
            depth[0] += 1
            try:
                return plain(*arguments, **options)
            finally:
                depth[0] -= 1

        monkeypatch.setattr(owner, name, watched)

    for owner, name, phase in CALLS:
        watch(owner, name, phase)
    watch(module, "update_parameters", "train")
    plain_batch = Setting.batch

    def batch(setting, step):
        seen.clear()
        return plain_batch(setting, step)

    def record(*_, **__):
        raise OneUpdateSeen

    monkeypatch.setattr(Setting, "batch", batch)
    monkeypatch.setattr(Run, "record", record)
    with pytest.raises(OneUpdateSeen):
        train(stage, recipe_of(stream, stage), stream, out)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_an_update_s_phases_are_those_that_the_stage_calls(
    stream, plans, stage, tmp_path, monkeypatch
):
    names = [phase.name for phase in plans[stage].phases]
    assert names == [*UPDATES[stage], "optimizer step"]
    assert set(calls_of_an_update(stream, stage, tmp_path / "out", monkeypatch)) == set(names[:-1])


def test_of_the_start_only_the_base_captions_are_left(plans):
    names = {name: [phase.name for phase in stage.start] for name, stage in plans.items()}
    assert names.pop("generation_for_understanding") == ["look", "write captions"]
    assert not any(names.values())
    assert NUM_BASE_CAPTIONS == generation_for_understanding._NUM_BASE_CAPTIONS


def test_chunks_of_a_process_by_hand():
    assert in_chunks(8) == (8, 1)
    assert in_chunks(40) == (32, 2)
    assert in_chunks(96, 2) == (32, 2)  # of three chunks one process has two
