"""The starter decoder: diffusers' SD3 transformer, trained through the connector.

It reads the frozen encoder's hidden states of captions, mostly complete ones, and learns the
rectified flow of the VAE's latents, and names on the way what each cell shows (`scene_maps`).
Terse captions are among them, so that it fills in at random what it is not told. In a second phase
most captions are partial: prompts by people, and GenEval's, say the colour but not the place.
Hidden states and latents do not change, so both are computed once for a phase.
"""

import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from uae.base_weights import encoder as encoder_weights
from uae.base_weights import vae as vae_weights
from uae.base_weights.measure import measure_decoder
from uae.base_weights.pixels import batch_indices, to_pixels
from uae.base_weights.processes import in_processes
from uae.base_weights.scene_maps import CellNames, scene_maps
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption, partial_caption, terse_caption
from uae.data.starter.scenes import Split
from uae.flow_matching.schedule import draw_training_times
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import BundleInfo
from uae.models.connector import Connector
from uae.models.decoder import Decoder, flow_matching_scheduler
from uae.models.encoder import Encoder
from uae.seeds import derive_seed

NAME = "decoder"
SEED = 31
NUM_PROCESSES = 2
BATCH_SIZE = 32  # in each process
POOL_SIZE = 40_000  # scenes of each process
CONDITION_TOKENS = 56
IMAGE_SIZE = 64
WIDTH = 160
POOLED_WIDTH = 32
SHIFT = 3.0
EMPTY_SHARE = 0.04  # no caption at all, for classifier-free guidance
NAMING_BLOCK = 1  # of four: the second half of the transformer is left to paint
NAMING_WEIGHT = 0.2
SETTINGS = TrainerSettings(
    num_steps=4_500,  # almost every object is right; the loop's stages train on from here
    schedule_steps=8_000,
    learning_rate=1e-3,
    warmup_steps=100,
    final_learning_rate=1e-5,
    ema_decay=0.998,
    bf16=True,
)


@dataclass(frozen=True)
class Phase:
    """What the decoder reads for so many steps; the captions that are left are terse."""

    name: str
    draws: str  # the name of its random draws
    complete_share: float
    partial_share: float
    settings: TrainerSettings


PHASES = (
    Phase("complete", NAME, 0.75, 0.0, SETTINGS),
    Phase(
        "partial",
        f"{NAME}/partial",
        0.4,
        0.4,
        replace(
            SETTINGS,
            num_steps=1_200,
            schedule_steps=None,
            learning_rate=4e-4,
            warmup_steps=20,
            final_learning_rate=5e-5,
        ),
    ),
)


@dataclass(frozen=True)
class Pool:
    """Frozen inputs: latents, hidden states of each scene's captions, and which are real."""

    latents_NCHW: Tensor  # float32
    hidden_NTD: Tensor  # bfloat16
    lengths_N: Tensor  # real tokens
    maps_N2HW: Tensor  # what each latent cell shows, and its colour
    empty_1TD: Tensor
    empty_length: int


def build_decoder() -> tuple[SD3Transformer2DModel, Connector]:
    """Return the untrained transformer and connector, initialised from the seed."""
    torch.manual_seed(SEED)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=8,
        out_channels=8,
        num_layers=4,
        num_attention_heads=4,
        attention_head_dim=WIDTH // 4,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    return transformer, Connector(encoder_weights.WIDTH, 4 * WIDTH, WIDTH)


def pooled_projection() -> Tensor:
    """Return the constant pooled embedding: what CLIP says of the empty text at full scale."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(POOLED_WIDTH, generator=generator)


def assemble(
    encoder: Encoder, transformer: SD3Transformer2DModel, connector: Connector, work: Path
) -> AutoEncoder:
    """Return the auto-encoder that these parts make with the trained VAE."""
    decoder = Decoder(
        transformer, vae_weights.load(work), pooled_projection(), flow_matching_scheduler(SHIFT)
    )
    info = BundleInfo(
        stage="base",
        condition_source="reencode_text",
        condition_tokens=CONDITION_TOKENS,
        image_size=IMAGE_SIZE,
        parent=None,
    )
    return AutoEncoder(encoder, connector, decoder, info)


@torch.no_grad()
def build_pool(
    auto_encoder: AutoEncoder, phase: Phase, num_scenes: int, split: Split, seed: int
) -> Pool:
    """Draw scenes and captions, and encode both once."""
    images, facts = scene_pool(num_scenes, seed, split=split)
    rng = random.Random(seed)
    captions = [_caption(truth, phase, rng) for truth in facts]
    latents = torch.cat(
        [
            auto_encoder.decoder.encode_images(to_pixels(images[i : i + 128]))
            for i in range(0, num_scenes, 128)
        ]
    )
    hidden = torch.zeros(num_scenes, CONDITION_TOKENS, encoder_weights.WIDTH, dtype=torch.bfloat16)
    lengths = torch.zeros(num_scenes, dtype=torch.long)
    for start in range(0, num_scenes, 128):
        part, mask = auto_encoder.encoder.hidden_states(captions[start : start + 128])
        hidden[start : start + 128, : part.shape[1]] = part.bfloat16()
        lengths[start : start + 128] = mask.sum(1)
    empty, mask = auto_encoder.encoder.hidden_states([""])
    padded = functional.pad(empty, (0, 0, 0, CONDITION_TOKENS - empty.shape[1]))
    return Pool(latents, hidden, lengths, scene_maps(facts), padded.bfloat16(), int(mask.sum()))


def _caption(facts: SceneFacts, phase: Phase, rng: random.Random) -> str:
    drawn = rng.random()
    if drawn < phase.complete_share:
        return complete_caption(facts, rng)
    if drawn < phase.complete_share + phase.partial_share:
        return partial_caption(facts, rng)
    return terse_caption(facts, rng)


def train(work: Path) -> None:
    """Train, or continue, transformer and connector in `work`."""
    in_processes(NUM_PROCESSES, _train_part, work)


def _train_part(rank: int, work: Path) -> None:
    transformer, connector = build_decoder()
    model = assemble(encoder_weights.load(work), transformer, connector, work)
    transformer.requires_grad_(True)
    connector.requires_grad_(True)
    names = CellNames(transformer, NAMING_BLOCK, WIDTH)
    for phase in PHASES:
        _train_phase(phase, model, names, rank, work)


def _train_phase(phase: Phase, model: AutoEncoder, names: CellNames, rank: int, work: Path) -> None:
    part = f"{phase.draws}/{rank}"

    @cache
    def pool() -> Pool:  # minutes: not for a phase that is complete
        return build_pool(
            model, phase, POOL_SIZE, "train", derive_seed(SEED, phase.draws, "pool", rank)
        )

    judged = cache(lambda: build_pool(model, phase, 256, "heldout", SEED))

    def loss_fn(step: int) -> Tensor:
        picked, generator = batch_indices(SEED, part, step, POOL_SIZE, BATCH_SIZE)
        indices = torch.from_numpy(picked)
        # In bfloat16 the fused attention's backward pass takes a third of the step on a CPU.
        with sdpa_kernel(SDPBackend.MATH):
            flow = flow_loss(model, pool(), indices, generator)
        return flow + NAMING_WEIGHT * names.loss(pool().maps_N2HW[indices])

    run_training(
        f"{NAME}/{phase.name}",
        work / NAME / phase.name,
        modules={
            "transformer": model.decoder.transformer,
            "connector": model.connector,
            "names": names,
        },
        loss_fn=loss_fn,
        settings=phase.settings,
        checkpoint_every=500,
        validate=lambda: validation_losses(model, judged()),
    )


def flow_loss(
    model: AutoEncoder,
    pool: Pool,
    indices_B: Tensor,
    generator: torch.Generator,
    caption_indices_B: Tensor | None = None,
) -> Tensor:
    """Return the flow-matching loss of pool entries, read with their own captions or others'."""
    said = indices_B if caption_indices_B is None else caption_indices_B
    data = pool.latents_NCHW[indices_B]
    count = len(data)
    noise = torch.randn(data.shape, generator=generator)
    times = draw_training_times(
        count, logit_mean=0.0, logit_std=1.0, shift=SHIFT, generator=generator
    )
    t = times[:, None, None, None]
    hidden, lengths = pool.hidden_NTD[said].float(), pool.lengths_N[said].clone()
    silent = torch.rand(count, generator=generator) < EMPTY_SHARE
    hidden[silent], lengths[silent] = pool.empty_1TD.float(), pool.empty_length
    real = torch.arange(CONDITION_TOKENS) < lengths[:, None]
    context = model.connector(hidden) * real[..., None]
    velocity = model.decoder.velocity((1 - t) * data + t * noise, times, context)
    return functional.mse_loss(velocity.float(), noise - data)


def validation_losses(model: AutoEncoder, judged: Pool) -> dict[str, float]:
    """Return the loss with the right and with shuffled captions: is the condition used?"""
    indices = torch.arange(len(judged.latents_NCHW))
    losses = {}
    for name, captions in (("right", indices), ("shuffled", indices.roll(1))):
        generator = torch.Generator().manual_seed(SEED)
        losses[f"heldout/loss_{name}"] = flow_loss(
            model, judged, indices, generator, captions
        ).item()
    return losses


def load(work: Path) -> AutoEncoder:
    """Return the auto-encoder with the latest checkpoints of all its parts."""
    transformer, connector = build_decoder()
    load_trained(
        work / NAME / PHASES[-1].name, {"transformer": transformer, "connector": connector}
    )
    return assemble(
        encoder_weights.load(work),
        transformer.eval().requires_grad_(False),
        connector.eval().requires_grad_(False),
        work,
    )


def publish(work: Path, bundle: Path) -> dict[str, dict[str, float]]:
    """Write the whole auto-encoder in 16 bit; return the decoder's accuracy by attribute."""
    load(work).save(bundle, stage="base", parent=None, dtype=torch.float16)
    return measure_decoder(AutoEncoder.load(bundle), num_scenes=200)
