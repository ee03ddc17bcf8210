"""The differentiable preprocessing against open_clip's own, which works on Pillow pictures."""

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from uae.rewards.reconstruction import ReconstructionScorer

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 1, "layers": 1}


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (90, 50), (20, 20), (32, 32)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_features_are_those_of_open_clip(shape, interpolation):
    torch.manual_seed(0)
    model = open_clip.CLIP(32, VISION, TEXT).eval()
    settings = PreprocessCfg(size=32, interpolation=interpolation)
    scorer = ReconstructionScorer("clip", model.visual, vars(settings))
    ramp = torch.linspace(0, 1, shape[0])[:, None] * torch.linspace(1, 0.2, shape[1])[None]
    noise = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    pixels = ((0.7 * ramp + 0.3 * noise) * 255).round().to(torch.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))

    theirs = image_transform_v2(settings, is_train=False)(picture)[None]
    ours = scorer.preprocess(pixels[None] / 255)
    # Pillow rounds to 8 bits, twice; worst case seen: 1.3 of 255.
    assert ((ours - theirs).abs() * scorer.std * 255).max().item() < 1.5
    with torch.no_grad():
        their_features = torch.nn.functional.normalize(model.encode_image(theirs))
        alike = scorer.score(pixels[None] / 255, their_features)
    assert alike.item() > 0.9999
