"""Streamed samples give what kept ones give, and a resumed run what an uninterrupted one does."""

import shutil

import pytest
import torch
from distributed.comparison import curve, require_same
from stage_world import rows, stage_recipe, train, weights
from streamed_world import make_streamed, streamed

from uae.data.dataset import load_dataset
from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.order import StreamOrder
from uae.data.streaming.reference import read_reference
from uae.errors import DataError
from uae.stages.setting import open_setting
from uae.training.checkpoint import LocalCheckpoints
from uae.training.loop import Run

PRETRAIN, COLD = "pretrain_decoder", "cold_start"
GFU, UFG = "generation_for_understanding", "understanding_for_generation"
SAMPLED = {"group_size": 3, "max_new_tokens": 8, "temperature": 1.0}
EARLY = {"every": 2, "patience": 5, "num_samples": 1}
LARGE_STEPS = {"learning_rate": 0.002, "warmup_updates": 0}
# As in tests/distributed: divided by a deviation near 0, rounding would become a signal.
CLEAR = {
    "rollout": {"group_size": 6, "max_new_tokens": 8},
    "rewards": {"length": {"weight": 0.5, "max_ratio": 1.1}},
    "objective": {"scale_by_std": False},
}
EQUAL = {
    "pretrain": (PRETRAIN, {"accumulation_steps": 2}),
    "cold-start": (COLD, {"accumulation_steps": 2}),
    "gfu": (GFU, CLEAR),
    "ufg": (UFG, {}),
}
RESUMED = {
    "pretrain": EQUAL["pretrain"],
    "cold-start": EQUAL["cold-start"],
    "gfu": (GFU, CLEAR | {"early_stopping": EARLY}),
    "ufg-sampled": (UFG, {"captions": SAMPLED, "early_stopping": EARLY}),
}


@pytest.fixture(scope="module")
def stream(world, tmp_path_factory):
    return make_streamed(world, tmp_path_factory.mktemp("streamed"))


def recipe_of(world, cases, case):
    stage, section = cases[case]
    fixed = {"num_updates": 5, "batch_size": 4, "checkpoint_every": 2, "optimizer": LARGE_STEPS}
    return stage, stage_recipe(world, stage, **fixed, **section)


class _StreamsOrder:
    """The order of a stream, in the numbers of kept samples."""

    def __init__(self, world, stream, stage, recipe):
        reference = read_reference(stream.data)
        place = {key: n for n, key in enumerate(load_dataset(world.data / "train").image_ids)}
        self.set_aside = []
        self._place_of = lambda ref: place[reference.index.key(ref.number)]
        self._order = StreamOrder(
            reference.index,
            BucketGrid(((32, 32),)),
            4,
            seed=recipe.seed,
            name=stage,
            num_window_shards=2,
            only=reference.trained,
        )

    def batch(self, step):
        return [self._place_of(ref) for ref in self._order.batch(step)]

    def used(self, num_updates):
        return sorted({index for step in range(num_updates) for index in self.batch(step)})


def _forced(order, *_, **__):
    return order


@pytest.mark.parametrize("case", EQUAL)
def test_streamed_and_kept_samples_train_alike(world, stream, tmp_path, monkeypatch, case):
    stage, recipe = recipe_of(world, EQUAL, case)
    for name in ("kept", "streamed"):
        if name == "kept":
            order = _StreamsOrder(world, stream, stage, recipe)
            monkeypatch.setattr(
                "uae.stages.stage_data.SampleOrder", lambda *_, order=order, **__: order
            )
            chosen, data = recipe, world
        else:
            monkeypatch.undo()
            chosen, data = streamed(recipe), stream
        out = tmp_path / name
        train(stage, chosen, data, out, log_dir=tmp_path / f"{name}-log")
    require_same(tmp_path / "kept", tmp_path / "streamed")
    assert len({row["grad_norm"] for row in rows(tmp_path / "kept-log")}) == 5


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("case", RESUMED)
def test_killed_and_resumed_reads_on_where_it_was(world, stream, tmp_path, monkeypatch, case):
    stage, recipe = recipe_of(world, RESUMED, case)
    recipe = streamed(recipe)
    train(stage, recipe, stream, tmp_path / "whole", log_dir=tmp_path / "whole-log")
    checkpoints, record = LocalCheckpoints(tmp_path / "checkpoints"), Run.record

    def cut(run, *args, **kwargs):
        if run.next_step == 3:  # one update beyond the checkpoint
            raise PowerCut
        record(run, *args, **kwargs)

    monkeypatch.setattr(Run, "record", cut)
    options = {"checkpoints": checkpoints, "log_dir": tmp_path / "again-log"}
    with pytest.raises(PowerCut):
        train(stage, recipe, stream, tmp_path / "again", **options)
    monkeypatch.undo()
    train(stage, recipe, stream, tmp_path / "again", **options)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "again")
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert curve(tmp_path / "again") == curve(tmp_path / "whole")


def test_an_update_sees_training_samples_alone_and_holds_no_others(world, stream):
    recipe = streamed(stage_recipe(world, PRETRAIN, batch_size=4))
    held_out = set(load_dataset(stream.data / "heldout").image_ids)
    aside = set(load_dataset(stream.data / "set_aside").image_ids)
    with open_setting(PRETRAIN, recipe, stream.data, stream.bundle) as setting:
        seen = set()
        for step in range(9):
            batch, own = setting.batch(step)
            assert batch == own
            assert [setting.train[index].image_id for index in own] == setting.ids(batch)
            seen |= set(setting.ids(batch))
            before = batch
        assert len(seen) == 11
        assert seen.isdisjoint(held_out | aside)
        gone = set(before) - set(setting.batch(9)[0])
        with pytest.raises(KeyError):
            setting.train[min(gone)]


def test_the_data_and_the_recipe_must_agree(world, stream, tmp_path):
    recipe = stage_recipe(world, PRETRAIN)
    with pytest.raises(DataError, match=r"data\.streaming is null: validate the data again"):
        train(PRETRAIN, recipe, stream, tmp_path / "out")
    with pytest.raises(DataError, match=r"has no stream/: validate it again with this recipe"):
        train(PRETRAIN, streamed(recipe), world, tmp_path / "out")


def test_a_damaged_reference_is_named(world, stream, tmp_path):
    data = shutil.copytree(stream.data, tmp_path / "data")
    file = data / "stream" / "trained.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"stream is damaged .another trained than stream\.json"):
        read_reference(data)
    file.unlink()
    with pytest.raises(DataError, match=r"stream is damaged .*No such file"):
        read_reference(data)
