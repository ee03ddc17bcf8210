import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos
from transformers.models.dinov2.modeling_dinov2 import Dinov2Model

from uae.errors import EvaluationError, ModelError
from uae.evaluation.unified_bench.scorers import EFFICIENTNET, SlotScorer, load_scorer_slot

NAMES = ("clip", "ssl", EFFICIENTNET)


def random_pictures(number, side=32):
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, size=(number, side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_features_are_unit_length_and_do_not_depend_on_the_batch(name, weights):
    scorer = load_scorer_slot(name, weights)
    pictures = random_pictures(3)
    features = scorer.features(pictures, batch_size=3)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    alone = scorer.features(pictures[1:2], batch_size=1)
    torch.testing.assert_close(features[1:2], alone, atol=1e-5, rtol=0)
    assert scorer.identity["sha256"]
    assert features.dtype == torch.float32


def test_transformers_feature_is_the_cls_token_of_the_last_hidden_state(weights):
    (picture,) = random_pictures(1)
    model = Dinov2Model.from_pretrained(weights / "scorers" / "ssl").eval()
    settings = json.loads((weights / "scorers" / "ssl" / "preprocessor_config.json").read_text())
    pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("image_mean", "image_std"))
    with torch.inference_mode():
        cls = model(((pixels - mean) / std)[None]).last_hidden_state[:, 0]
    found = load_scorer_slot("ssl", weights).features([picture], batch_size=1)
    torch.testing.assert_close(found, cls / cls.norm(), atol=1e-5, rtol=0)


def test_efficientnet_weights_are_the_pretrained_ones(weights):
    """A crop of a photograph is nearer to its photograph than to another one."""
    scorer = load_scorer_slot(EFFICIENTNET, weights)
    cat, coffee = photos.chelsea(), photos.coffee()
    crop = np.asarray(Image.fromarray(cat[20:280, 60:400]))
    features = scorer.features([cat, crop, coffee], batch_size=3)
    assert features.shape == (3, 1280)
    assert features[0] @ features[1] > 0.6 > 0.4 > features[0] @ features[2]


def test_absent_incomplete_and_unfitting_scorers_are_named(weights, tmp_path):
    with pytest.raises(ModelError, match="absent"):
        load_scorer_slot("absent", weights)
    folder = tmp_path / "scorers" / "ssl"
    folder.mkdir(parents=True)
    for file in (weights / "scorers" / "ssl").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ModelError, match=r"layer\.1"):
        load_scorer_slot("ssl", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="preprocessor_config"):
        load_scorer_slot("ssl", tmp_path)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_feature_without_direction_is_an_error_never_a_score(value):
    scorer = SlotScorer("broken", lambda pictures: torch.full((len(pictures), 4), value), {})
    with pytest.raises(EvaluationError, match=r"'broken'.*\[0, 1\]"):
        scorer.features(random_pictures(2), batch_size=2)
