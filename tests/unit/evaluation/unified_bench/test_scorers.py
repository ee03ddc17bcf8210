import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data as photos
from torch.nn.functional import normalize
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTImageProcessor,
    DINOv3ViTModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from uae.errors import EvaluationError, ModelError
from uae.evaluation.unified_bench.scorers import (
    EFFICIENTNET,
    SlotScorer,
    load_scorer_slot,
    scorer_identity,
)

NAMES = ("clip", "ssl", EFFICIENTNET)
SIDE = 32
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
}
CROPPED = {
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
}
SQUEEZED = {"size": {"height": SIDE, "width": SIDE}}


def random_pictures(number, side=32):
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, size=(number, side, side, 3), dtype=np.uint8))


def shapes():
    """Pictures of different size, none square, none as large as a scorer wants it."""
    rng = np.random.default_rng(1)
    sizes = ((40, 70), (90, 33), (20, 25))
    return [rng.integers(0, 256, size=(*size, 3), dtype=np.uint8) for size in sizes]


def tiny_clip(context_length=77):
    text = CLIPTextConfig(**TEXT, max_position_embeddings=context_length).to_dict()
    vision = CLIPVisionConfig(**VISION).to_dict()
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    return CLIPModel(config), CLIPImageProcessor(**CROPPED)


def tiny_siglip():
    config = SiglipConfig(text_config=TEXT | {"max_position_embeddings": 16}, vision_config=VISION)
    return SiglipModel(config), SiglipImageProcessor(**SQUEEZED)


def tiny_dinov2():
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8
    )
    return Dinov2Model(config), BitImageProcessor(**CROPPED)


def tiny_dinov3():
    config = DINOv3ViTConfig(**VISION, num_register_tokens=4)
    return DINOv3ViTModel(config), DINOv3ViTImageProcessor(**SQUEEZED)


def image_embedding(model, pixels):
    """What the model's own forward compares with texts, by its parts."""
    pooled = model.vision_model(pixels).pooler_output
    return model.visual_projection(pooled) if hasattr(model, "visual_projection") else pooled


def cls_token(model, pixels):
    return model(pixels).last_hidden_state[:, 0]


FAMILIES = {
    "clip": (tiny_clip, image_embedding),
    "longclip": (lambda: tiny_clip(248), image_embedding),
    "siglip": (tiny_siglip, image_embedding),
    "dinov2": (tiny_dinov2, cls_token),
    "dinov3_vit": (tiny_dinov3, cls_token),
}


def saved(make, folder):
    torch.manual_seed(0)
    model, processor = make()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval(), processor


@pytest.mark.parametrize("name", NAMES)
def test_features_are_unit_length_and_do_not_depend_on_the_batch(name, weights):
    scorer = load_scorer_slot(name, weights)
    pictures = random_pictures(3)
    features = scorer.features(pictures, batch_size=3)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    alone = scorer.features(pictures[1:2], batch_size=1)
    torch.testing.assert_close(features[1:2], alone, atol=1e-5, rtol=0)
    assert scorer.identity["sha256"]
    assert scorer.name == name
    assert features.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_those_of_plain_transformers_calls(family, tmp_path):
    """The four published scorers' classes; the worst difference seen is 0."""
    make, expected = FAMILIES[family]
    model, processor = saved(make, tmp_path / family)
    scorer = load_scorer_slot(str(tmp_path / family), tmp_path)
    with torch.inference_mode():
        pixels = processor(images=shapes(), return_tensors="pt")["pixel_values"]
        features = normalize(expected(model, pixels), dim=1)
    found = scorer.features(shapes(), batch_size=8)
    torch.testing.assert_close(found, features, atol=1e-6, rtol=0)
    assert scorer.identity["kind"] == family.replace("long", "")
    assert scorer.name == family  # the folder's name, not its place on this machine


def test_clip_gives_its_embedding_not_the_cls_token(tmp_path):
    model, processor = saved(tiny_clip, tmp_path / "clip")
    found = load_scorer_slot(str(tmp_path / "clip"), tmp_path).features(shapes(), batch_size=3)
    assert found.shape == (3, 12)  # projection_dim, not hidden_size
    # what CLIP's own forward gives is the same embedding
    pixels = processor(images=shapes(), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        whole = model(input_ids=torch.ones(1, 3, dtype=torch.long), pixel_values=pixels)
    torch.testing.assert_close(found, whole.image_embeds, atol=1e-6, rtol=0)


def test_clip_saved_by_an_older_version_with_position_ids_loads(tmp_path):
    """As openai/clip-vit-large-patch14 is published."""
    saved(tiny_clip, tmp_path / "clip")
    before = load_scorer_slot(str(tmp_path / "clip"), tmp_path).features(shapes(), batch_size=3)
    file = tmp_path / "clip" / "model.safetensors"
    ids = {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
    }
    save_file(load_file(file) | ids, file, metadata={"format": "pt"})
    after = load_scorer_slot(str(tmp_path / "clip"), tmp_path).features(shapes(), batch_size=3)
    assert torch.equal(before, after)


def test_a_longer_text_model_needs_its_length_in_the_configuration(tmp_path):
    """As in repositories that store LongCLIP under CLIP's configuration."""
    saved(lambda: tiny_clip(248), tmp_path / "longclip")
    path = tmp_path / "longclip" / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["max_position_embeddings"] = 77
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"position_embedding.*max_position_embeddings"):
        load_scorer_slot(str(tmp_path / "longclip"), tmp_path)


def test_open_clip_features_are_those_of_its_own_transform_and_model(weights):
    """The worst difference seen is 0: the same library computes both."""
    folder = weights / "scorers" / "clip"
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        inputs = torch.stack([transform(Image.fromarray(picture)) for picture in shapes()])
        features = model.encode_image(inputs, normalize=True)
    found = load_scorer_slot("clip", weights).features(shapes(), batch_size=3)
    torch.testing.assert_close(found, features, atol=1e-6, rtol=0)


def test_long_clip_by_open_clip_is_clip_with_a_longer_text_model(weights, tmp_path):
    """Its second table of positions is added as the published code adds it; images see neither."""
    folder = tmp_path / "longclip-l"
    folder.mkdir()
    for file in (weights / "scorers" / "clip").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["context_length"] = 248
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = load_file(folder / "open_clip_model.safetensors")
    width = state["text.positional_embedding" if "text.positional_embedding" in state else
                  "positional_embedding"].shape[1]  # fmt: skip
    checkpoint = state | {
        "positional_embedding": torch.randn(248, width),
        "positional_embedding_res": torch.randn(248, width),
    }
    kept = 20  # the first positions are CLIP's own
    late = checkpoint.pop("positional_embedding_res")
    early = checkpoint["positional_embedding"]
    checkpoint["positional_embedding"] = torch.cat([early[:kept], late[kept:]])
    save_file(checkpoint, folder / "open_clip_model.safetensors")
    long, short = (load_scorer_slot(name, weights) for name in (str(folder), "clip"))
    features = long.features(shapes(), batch_size=3)
    assert torch.equal(features, short.features(shapes(), batch_size=3))
    assert long.name == "longclip-l"


def test_efficientnet_weights_are_the_pretrained_ones(weights):
    """A crop of a photograph is nearer to its photograph than to another one."""
    scorer = load_scorer_slot(EFFICIENTNET, weights)
    cat, coffee = photos.chelsea(), photos.coffee()
    crop = np.asarray(Image.fromarray(cat[20:280, 60:400]))
    features = scorer.features([cat, crop, coffee], batch_size=3)
    assert features.shape == (3, 1280)
    assert features[0] @ features[1] > 0.6 > 0.4 > features[0] @ features[2]


def test_the_same_weights_in_another_folder_are_the_same_judge(weights, tmp_path):
    shutil.copytree(weights / "scorers" / "clip", tmp_path / "scorers" / "renamed")
    moved = scorer_identity("renamed", tmp_path)
    assert moved == scorer_identity("clip", weights)
    assert moved.keys() == {"kind", "sha256"}


def test_identity_is_known_from_the_files_alone(weights, tmp_path):
    for name in NAMES:
        assert scorer_identity(name, weights) == load_scorer_slot(name, weights).identity
    assert len({scorer_identity(name, weights)["sha256"] for name in NAMES}) == len(NAMES)
    with pytest.raises(ModelError, match="absent"):
        scorer_identity("absent", weights)


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
