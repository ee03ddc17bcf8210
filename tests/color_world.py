"""The smallest world in which the loop can learn: pictures of one colour, captions that name it.

The captioner has been taught to name any colour at random, the decoder nothing at all.
"""

import json
from pathlib import Path

import torch
from PIL import Image
from stage_world import COLORS, World, sharpen

from uae.data.dataset import load_dataset
from uae.models.autoencoder import AutoEncoder
from uae.models.captioning import caption_logits
from uae.models.tiny import tiny_autoencoder, tiny_clip
from uae.seeds import make_generator

NUM_LESSONS = 60


def make_color_world(folder: Path) -> World:
    for split in ("train", "heldout"):
        write_colors(folder / "data" / split, split)
    model = tiny_autoencoder()
    with torch.no_grad():  # random weights of this size can hardly prefer one token to another
        model.encoder.model.model.language_model.norm.weight *= 3
    teach_random_colors(model, folder / "data" / "train")
    model.save(folder / "weights" / "autoencoder", stage="base", parent=None)
    clip = tiny_clip(folder / "weights" / "scorers" / "clip")
    sharpen(clip / "open_clip_model.safetensors")
    return World(folder / "data", folder / "weights" / "autoencoder", clip)


def write_colors(folder: Path, split: str) -> None:
    folder.mkdir(parents=True)
    lines = []
    for color in COLORS:
        name = f"{split}-{color}"
        Image.new("RGB", (32, 32), color).save(folder / f"{name}.png")
        row = {"image_id": name, "image": f"{name}.png", "caption": color}
        lines.append(json.dumps(row | {"source": "test", "licence": "CC0-1.0"}) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines))


def teach_random_colors(model: AutoEncoder, data: Path) -> None:
    """Supervised training on captions that name a colour drawn at random."""
    encoder, tokenizer = model.encoder, model.encoder.tokenizer
    rows = [[*tokenizer(color).input_ids, tokenizer.eos_token_id] for color in COLORS]
    length = max(map(len, rows))
    padded = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows]
    ids = torch.tensor(padded)
    mask = torch.tensor([[n < len(row) for n in range(length)] for row in rows])
    images = torch.from_numpy(load_dataset(data).pixels(range(len(COLORS)), 32))
    encoder.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=3e-3)
    for lesson in range(NUM_LESSONS):
        draw = make_generator(0, "lessons", lesson)
        told = torch.randint(len(COLORS), (len(COLORS),), generator=draw)
        prompts = encoder.caption_prompt(images)
        features = encoder.image_features(prompts)
        log_probs = caption_logits(encoder, prompts, features, ids[told]).log_softmax(dim=-1)
        chosen = log_probs.gather(-1, ids[told][..., None]).squeeze(-1)
        optimizer.zero_grad()
        (-chosen[mask[told]].mean()).backward()
        optimizer.step()
    encoder.model.requires_grad_(False)
