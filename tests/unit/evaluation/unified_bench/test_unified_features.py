import threading

import numpy as np
import pytest
import torch
from PIL import Image

from uae.errors import EvaluationError
from uae.evaluation.pictures import read_png, write_png
from uae.evaluation.unified_bench.features import FeatureReader
from uae.evaluation.unified_bench.scorers import EFFICIENTNET, SlotScorer, load_scorer_slot


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(10):
        write_png(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), folder / f"{index}.png")
    return [folder / f"{index}.png" for index in range(10)]


def test_features_are_those_of_one_batch_after_the_other_to_the_bit(files, weights):
    scorers = {name: load_scorer_slot(name, weights) for name in ("clip", "ssl", EFFICIENTNET)}
    groups, upcoming = [files[:5], files[5:9]], files[9:]
    with FeatureReader(scorers, 4) as reader:
        found = reader.features(groups, upcoming)
        again = reader.features([files[9:]])
    for slot, scorer in scorers.items():
        for group, features in zip(groups, found[slot], strict=True):
            plain = scorer.features([read_png(path) for path in group], batch_size=4)
            assert torch.equal(features, plain)
        alone = scorer.features([read_png(files[9])], batch_size=4)
        assert torch.equal(again[slot][0], alone)


def test_batches_are_cut_by_position_within_a_group_and_by_the_scorers_own_limit(files):
    sizes = []

    def encode(pictures):
        sizes.append(len(pictures))
        return torch.ones(len(pictures), 2)

    scorer = SlotScorer("s", encode, {}, max_batch=3)
    with FeatureReader({"s": scorer}, 8) as reader:
        reader.features([files[:7], files[7:]])
    assert sizes == [3, 3, 1, 3]


def test_each_picture_is_decoded_once_for_all_scorers_and_prepared_in_other_threads(
    files, monkeypatch
):
    decoded, threads = [], set()

    def counted(path):
        decoded.append(path)
        return read_png(path)

    def prepare(pictures):
        threads.add(threading.get_ident())
        return list(pictures)

    monkeypatch.setattr("uae.evaluation.unified_bench.features.read_png", counted)
    scorers = {
        name: SlotScorer(name, lambda p: torch.ones(len(p), 2), {}, prepare=prepare)
        for name in ("a", "b")
    }
    with FeatureReader(scorers, 4) as reader:
        reader.features([files[:4]], upcoming=files[4:6])
        reader.features([files[4:6]])
    assert sorted(decoded) == sorted(files[:6])
    assert threading.get_ident() not in threads


def test_a_file_that_is_no_picture_is_named(files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    scorer = SlotScorer("s", lambda p: torch.ones(len(p), 2), {})
    with (
        FeatureReader({"s": scorer}, 4) as reader,
        pytest.raises(EvaluationError, match=r"bad\.png"),
    ):
        reader.features([[files[0], bad]])


def test_a_feature_without_direction_is_an_error(files):
    scorer = SlotScorer("s", lambda p: torch.zeros(len(p), 2), {})
    with (
        FeatureReader({"s": scorer}, 4) as reader,
        pytest.raises(EvaluationError, match=r"'s' gives no finite feature"),
    ):
        reader.features([files[:2]])


def test_pictures_of_different_sizes_go_together(files, tmp_path, weights):
    wide = tmp_path / "wide.png"
    Image.open(files[0]).resize((90, 40)).save(wide)
    scorers = {name: load_scorer_slot(name, weights) for name in ("clip", "ssl", EFFICIENTNET)}
    with FeatureReader(scorers, 4) as reader:
        found = reader.features([[files[0], wide]])
    assert all(features.shape[0] == 2 for (features,) in found.values())
