import pytest
import torch

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.bundle import BundleSystem, paint_pictures, write_captions

TEXTS = ["a red cat", 'a blue dog at the top left, the word "SUN"', ""]


@pytest.fixture(scope="module")
def system(weights):
    from uae.models.tiny import tiny_recipe

    return BundleSystem.load(weights / "autoencoder", tiny_recipe().evaluation)


def test_a_picture_depends_on_its_own_text_and_seed_only(system):
    together = system.generate(TEXTS, seeds=[1, 2, 3])
    alone = system.generate(TEXTS[1:2], seeds=[2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=0)
    other = system.generate(TEXTS[1:2], seeds=[3])
    assert (other - alone).abs().max() > 1e-3


def test_batches_join_in_order(system):
    pictures = paint_pictures(system, TEXTS, [1, 2, 3], batch_size=2)
    again = paint_pictures(system, TEXTS, [1, 2, 3], batch_size=3)
    assert len(pictures) == 3
    for a, b in zip(pictures, again, strict=True):
        assert abs(a.astype(int) - b).max() <= 1  # a value may round the other way
    captions = write_captions(system, pictures, batch_size=2, seed=0)
    assert captions == write_captions(system, pictures, batch_size=2, seed=9)  # greedy
    assert len(captions) == 3


def test_an_overlong_prompt_is_an_error_and_an_overlong_own_caption_is_cut(system):
    long = "x " * 400
    with pytest.raises(ModelError, match="too long"):
        system.generate([long], seeds=[0])
    assert system.generate([long], seeds=[0], overlong="truncate").shape == (1, 3, 32, 32)


def test_identity_names_the_weights_and_a_missing_bundle_is_refused(system, tmp_path):
    assert system.identity["kind"] == "uae"
    assert len(system.identity["sha256"]) == 64
    with pytest.raises(ModelError):
        BundleSystem.load(tmp_path, system.settings)


def test_a_picture_with_nan_is_an_error(system):
    class Broken:
        def generate(self, texts, *, seeds, overlong):
            return torch.tensor([0.0, float("nan")]).reshape(2, 1, 1, 1).expand(2, 3, 4, 4)

    with pytest.raises(EvaluationError, match=r"\[1\] of the batch"):
        paint_pictures(Broken(), ["a", "b"], [0, 1], batch_size=2)
