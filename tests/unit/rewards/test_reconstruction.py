import json

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from uae.errors import ModelError, TrainingError
from uae.rewards.reconstruction import load_scorer

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16,
                       "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}  # fmt: skip


def write_scorer(folder, **preprocessing):
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    config = {**CONFIG, "preprocess_cfg": CONFIG["preprocess_cfg"] | preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = open_clip.CLIP(**CONFIG["model_cfg"]).state_dict()
    halves = {name: value.half().contiguous() for name, value in weights.items()}
    save_file(halves, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    write_scorer(root / "scorers" / "clip")
    return root


@pytest.fixture(scope="module")
def scorer(root):
    return load_scorer("clip", root)


def pictures(count, side=40, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_features_have_length_one_and_a_picture_is_like_itself(scorer):
    features = scorer.features(pictures(3))
    assert features.shape == (3, 16)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(scorer.score(pictures(3), features), torch.ones(3))


def test_another_picture_is_less_alike(scorer):
    references = scorer.features(pictures(2))
    assert (scorer.score(pictures(2, seed=1), references) < 0.9999).all()


def test_a_picture_scores_the_same_alone_as_in_a_batch(scorer):
    together = scorer.features(pictures(3))
    torch.testing.assert_close(scorer.features(pictures(3)[1:2]), together[1:2])


def test_gradient_reaches_the_pictures_and_no_weight(scorer):
    images = pictures(2, seed=1).requires_grad_()
    scorer.score(images, scorer.features(pictures(2))).sum().backward()
    assert images.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in scorer.parameters())


def test_bfloat16_changes_cosines_by_rounding_alone(root, scorer):
    rough = load_scorer("clip", root, dtype=torch.bfloat16)
    images = pictures(3, seed=1).requires_grad_()
    features = rough.features(pictures(3))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    found = rough.score(images, features)
    expected = scorer.score(images, scorer.features(pictures(3)))
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert not torch.equal(found, expected)
    found.sum().backward()
    assert images.grad.dtype == torch.float32
    assert images.grad.abs().sum() > 0


def test_gradient_agrees_with_finite_differences(scorer):
    references = scorer.features(torch.ones(1, 3, 32, 32))
    images = pictures(1, seed=2).requires_grad_()
    (gradient,) = torch.autograd.grad(scorer.score(images, references).sum(), images)
    direction = pictures(1, seed=3) - 0.5
    with torch.no_grad():
        up = scorer.score(images + 0.01 * direction, references)
        down = scorer.score(images - 0.01 * direction, references)
    assert (gradient * direction).sum().item() == pytest.approx((up - down).item() / 0.02, rel=0.02)


def test_weights_are_raised_to_float32(scorer):
    assert {weight.dtype for weight in scorer.parameters()} == {torch.float32}


def test_preprocessing_crops_the_middle_of_a_wide_picture(scorer):
    wide = torch.zeros(1, 3, 32, 64)
    wide[:, :, :, 16:48] = 1
    seen = scorer.preprocess(wide)
    assert seen.shape == (1, 3, 32, 32)
    expected = (1 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.3, 0.4])
    torch.testing.assert_close(seen[0, :, 5, 7], expected)


def test_a_nan_is_an_error_that_names_the_picture(scorer):
    images = pictures(3)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"pictures \[1\] of a batch of 3"):
        scorer.features(images)


def test_pictures_and_references_must_pair(scorer):
    with pytest.raises(ValueError, match="2 pictures against 3 references"):
        scorer.score(pictures(2), scorer.features(pictures(3)))


def test_a_scorer_can_be_a_folder_anywhere(tmp_path, root):
    folder = write_scorer(tmp_path / "mine")
    assert load_scorer(str(folder), root).name == "mine"


def test_an_unknown_scorer_names_those_that_exist(root):
    with pytest.raises(ModelError, match=r"no scorer 'dino' in .*scorers; there are: clip;"):
        load_scorer("dino", root)


def test_weights_that_do_not_fit_are_an_error(tmp_path):
    folder = write_scorer(tmp_path / "torn")
    file = folder / "open_clip_model.safetensors"
    weights = load_file(file)
    del weights["visual.proj"]
    save_file(weights, file)
    with pytest.raises(ModelError, match=r"visual\.proj"):
        load_scorer(str(folder), tmp_path)


def test_a_resize_mode_that_squashes_is_refused(tmp_path):
    folder = write_scorer(tmp_path / "squash", resize_mode="squash")
    with pytest.raises(ModelError, match="only square pictures with 'shortest'"):
        load_scorer(str(folder), tmp_path)
