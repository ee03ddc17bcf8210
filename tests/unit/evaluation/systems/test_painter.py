import inspect
import json
import re
import shutil
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_stable_diffusion import clip_tokenizer, tiny_stable_diffusion

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.base import Failure, PictureRequest
from uae.evaluation.systems.painter import Painter, guidance_arguments, pipeline_class
from uae.evaluation.systems.tiny_composed import tiny_qwen_image, tiny_sana
from uae.evaluation.systems.truncation import TruncationWatch
from uae.recipe.systems import CaptioningRecipe, ComposedSystemRecipe

CPU = torch.device("cpu")
_CUT = r"the text is cut: (\d+) of (\d+) tokens are read"
TEXTS = ["a red cat", 'a blue dog at the top left, the word "SUN"', ""]


def recipe(**changes):
    fields = {"kind": "composed", "name": "p", "captioner": None, "painter": "p"}
    fields |= {"dtype": "float32", "num_steps": 2, "guidance_scale": 4.5, "image_size": 32}
    captioning = CaptioningRecipe(prompt="?", max_new_tokens=1, temperature=0.0)
    return ComposedSystemRecipe(**(fields | {"captioning": captioning} | changes))


def paint(painter, *texts, seed=0, overlong="error"):
    return painter.paint([PictureRequest(text, seed, "b/a.png", overlong) for text in texts])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("painters")
    return {
        "sana": tiny_sana(root / "sana"),
        "qwen": tiny_qwen_image(root / "qwen"),
        "stochastic": tiny_qwen_image(root / "stochastic", stochastic=True),
        "safe": tiny_stable_diffusion(root / "safe", unsafe=False),
        "unsafe": tiny_stable_diffusion(root / "unsafe", unsafe=True),
    }


@pytest.fixture(scope="module", params=["sana", "qwen", "stochastic", "safe"])
def painter(request, folders):
    return Painter.load(folders[request.param], recipe(), CPU)


def test_a_picture_depends_on_its_own_text_and_seed_to_the_last_bit(painter):
    requests = [PictureRequest(text, seed, "b/a.png") for seed, text in enumerate(TEXTS)]
    state = torch.manual_seed(1).get_state()
    together = painter.paint(requests)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    for request, picture in zip(requests, together, strict=True):
        assert picture.shape == (32, 32, 3)
        assert np.array_equal(picture, painter.paint([request])[0])
        assert not np.array_equal(picture, painter.paint([request._replace(seed=9)])[0])
    assert not np.array_equal(together[0], paint(painter, TEXTS[1])[0])


@pytest.mark.parametrize("name", ["sana", "qwen", "safe"])
def test_the_longest_text_that_is_not_refused_is_read_to_its_end(folders, name):
    painter = Painter.load(folders[name], recipe(), CPU)
    fits, too_long = 1, 1000
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        (found,) = paint(painter, "a " * middle + "cat")
        fits, too_long = (fits, middle) if isinstance(found, Failure) else (middle, too_long)
    assert fits > 30
    # The last word matters in the longest text that is taken, and no more well above it.
    assert not same(painter, "a " * fits + "cat", "a " * fits + "dog")
    assert same(painter, "a " * (too_long + 9) + "cat", "a " * (too_long + 9) + "dog")
    before, failed, after = paint(painter, "a cat", "a " * too_long + "cat", "a dog")
    read, whole = map(int, re.fullmatch(_CUT, failed.reason).groups())
    assert 30 < read < whole
    assert np.array_equal(np.stack([before, after]), np.stack(paint(painter, "a cat", "a dog")))


def same(painter, one, other):
    a, b = paint(painter, one, other, overlong="truncate")
    return np.array_equal(a, b)


def test_a_text_is_read_where_one_encoder_reads_all_of_it():
    short, long = clip_tokenizer(8), clip_tokenizer(20)
    pipeline = SimpleNamespace(components={"tokenizer": short, "tokenizer_2": long, "vae": None})
    watch = TruncationWatch(pipeline)
    assert not watch.saw_anything

    def read(*texts):
        watch.begin()
        for tokenizer in (short, long):
            limit = tokenizer.model_max_length
            tokenizer(list(texts), truncation=True, max_length=limit, padding="max_length")
        return watch.saw_anything, watch.cut

    assert read("a b c", "") == (True, None)
    assert read("a b c d e f g h", "") == (True, None)  # 10 tokens with begin and end
    assert read("a " * 18) == (True, None)
    assert read("", "a " * 19) == (True, (20, 21))  # what the longer one reads
    watch.begin()
    assert (watch.saw_anything, watch.cut) == (False, None)


def test_a_watched_tokenizer_stays_what_it_was():
    watched, plain = clip_tokenizer(20), clip_tokenizer(20)
    TruncationWatch(SimpleNamespace(components={"tokenizer": SimpleNamespace(tokenizer=watched)}))
    assert isinstance(watched, type(plain))
    assert type(watched).__name__ == type(plain).__name__
    assert watched("a b", max_length=3, truncation=True) == plain(
        "a b", max_length=3, truncation=True
    )


@pytest.mark.parametrize(
    ("pipeline", "distilled", "expected"),
    [
        ("SanaPipeline", False, {"guidance_scale": 4.0}),
        ("StableDiffusion3Pipeline", False, {"guidance_scale": 4.0}),
        ("QwenImagePipeline", False, {"true_cfg_scale": 4.0, "negative_prompt": " "}),
        ("FluxPipeline", True, {"guidance_scale": 4.0}),
        ("FluxPipeline", False, {"true_cfg_scale": 4.0, "negative_prompt": " "}),
        ("HunyuanImagePipeline", True, {"distilled_guidance_scale": 4.0}),
    ],
)
def test_guidance_has_the_name_that_the_pipeline_gives_it(pipeline, distilled, expected):
    takes = inspect.signature(getattr(diffusers, pipeline).__call__).parameters
    assert guidance_arguments(takes, 4.0, distilled=distilled, name=pipeline) == expected


def test_without_guidance_there_is_no_negative_text():
    takes = inspect.signature(diffusers.QwenImagePipeline.__call__).parameters
    assert guidance_arguments(takes, 1.0, distilled=False, name="q") == {"true_cfg_scale": 1.0}
    assert guidance_arguments({}, 1.0, distilled=False, name="q") == {}
    with pytest.raises(ModelError, match="takes no guidance"):
        guidance_arguments({}, 2.0, distilled=False, name="q")


@pytest.mark.parametrize("name", ["sana", "qwen", "safe"])
def test_guidance_steps_and_size_reach_the_pipeline(folders, name):
    (before,) = paint(Painter.load(folders[name], recipe(), CPU), "a cat")
    for change in ({"guidance_scale": 9.0}, {"guidance_scale": 1.0}, {"num_steps": 3}):
        (after,) = paint(Painter.load(folders[name], recipe(**change), CPU), "a cat")
        assert not np.array_equal(before, after), change
    (large,) = paint(Painter.load(folders[name], recipe(image_size=64), CPU), "a cat")
    assert large.shape == (64, 64, 3)


def test_what_the_safety_checker_refuses_is_missing(folders):
    painter = Painter.load(folders["unsafe"], recipe(), CPU)
    refused = Failure("refused by the pipeline's safety checker")
    assert paint(painter, "a cat", "a dog") == [refused, refused]


def test_a_size_that_the_pipeline_cannot_paint_is_an_error(folders):
    with pytest.raises(EvaluationError, match=r"SanaPipeline refuses 'a cat': .*divisible by 32"):
        paint(Painter.load(folders["sana"], recipe(image_size=48), CPU), "a cat")
    with pytest.raises(EvaluationError, match=r"painted \(1, 3, 32, 32\) .* of 36 x 36"):
        paint(Painter.load(folders["qwen"], recipe(image_size=36), CPU), "a cat")


def test_a_picture_with_nan_is_an_error(folders, tmp_path):
    folder = shutil.copytree(folders["sana"], tmp_path / "broken")
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({k: t * float("nan") for k, t in load_file(path).items()}, path, {"format": "pt"})
    with pytest.raises(EvaluationError, match="NaN"):
        paint(Painter.load(folder, recipe(), CPU), "a cat")


def test_the_precision_is_the_recipes(folders):
    half = Painter.load(folders["sana"], recipe(dtype="bfloat16"), CPU)
    assert half._pipeline.transformer.dtype == torch.bfloat16
    (picture,), (exact,) = (
        paint(p, "a cat") for p in (half, Painter.load(folders["sana"], recipe(), CPU))
    )
    assert 0 < np.abs(picture.astype(int) - exact).mean() < 8


def change_index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_only_safetensors_and_only_diffusers_own_code(folders, tmp_path):
    with pytest.raises(ModelError, match="no pipeline"):
        pipeline_class(tmp_path)

    own = change_index(shutil.copytree(folders["sana"], tmp_path / "own"), _class_name=["own", "P"])
    (own / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match="no class of diffusers' own"):
        Painter.load(own, recipe(), CPU)

    part = shutil.copytree(folders["sana"], tmp_path / "part")
    change_index(part, transformer=["own", "T"])
    (part / "transformer" / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Painter.load(part, recipe(), CPU)

    pickled = shutil.copytree(folders["sana"], tmp_path / "pickled")
    weights = pickled / "transformer" / "diffusion_pytorch_model"
    weights.with_suffix(".safetensors").rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        Painter.load(pickled, recipe(), CPU)

    for number, change in enumerate(({"_class_name": "NoSuch"}, {"vae": ["diffusers", "NoSuch"]})):
        unknown = change_index(shutil.copytree(folders["sana"], tmp_path / str(number)), **change)
        with pytest.raises(ModelError, match=r"cannot be loaded: .*NoSuch"):
            Painter.load(unknown, recipe(), CPU)


def test_what_does_not_paint_from_text_is_refused(tmp_path):
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
    )
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="takes no prompt, height, width"):
        Painter.load(tmp_path, recipe(), CPU)


def test_a_pipeline_whose_reading_cannot_be_watched_is_refused(folders):
    painter = Painter.load(folders["sana"], recipe(), CPU)
    painter._watch = TruncationWatch(SimpleNamespace(components={}))
    with pytest.raises(EvaluationError, match="whether it cuts"):
        paint(painter, "a cat")
    assert paint(painter, "a cat", overlong="truncate")[0].shape == (32, 32, 3)
