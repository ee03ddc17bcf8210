"""The starter VAE: diffusers' AutoencoderKL, 64 x 64 x 3 pixels to 8 x 8 x 8 latents."""

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from uae.base_weights.pixels import batch_indices, to_pixels
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training

NAME = "vae"
SEED = 11
BATCH_SIZE = 16
POOL_SIZE = 60_000
KL_WEIGHT = 1e-4  # per latent; 1e-2, even for a while, leaves pictures blurred for good
EDGE_WEIGHT = 0.5  # on differences between neighbouring pixels: keeps outlines sharp
SETTINGS = TrainerSettings(
    num_steps=9_000, learning_rate=1.5e-3, warmup_steps=100, ema_decay=0.999, bf16=True
)


def build_vae() -> AutoencoderKL:
    """Return the untrained VAE, initialised from the seed."""
    torch.manual_seed(SEED)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0,
    )


def reconstruction_loss(vae: AutoencoderKL, images_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
    """Return mean absolute and squared error + edges + KL of images in [-1, 1]."""
    posterior = vae.encode(images_BCHW).latent_dist
    mean, std = posterior.mean.float(), posterior.std.float()
    output = vae.decode(mean + std * noise_BCHW).sample.float()
    pixels = functional.l1_loss(output, images_BCHW) + functional.mse_loss(output, images_BCHW)
    rows, columns = (
        functional.l1_loss(output.diff(dim=dim), images_BCHW.diff(dim=dim)) for dim in (2, 3)
    )
    kl: Tensor = 0.5 * (mean**2 + std**2 - 1 - 2 * std.log()).mean()
    return pixels + EDGE_WEIGHT * (rows + columns) + KL_WEIGHT * kl


def train(work: Path) -> AutoencoderKL:
    """Train, or continue, the VAE in `work`; its latents are scaled to unit variance."""
    images, _ = scene_pool(POOL_SIZE, SEED)
    heldout, _ = scene_pool(512, SEED, split="heldout")
    vae = build_vae()

    def loss_fn(step: int) -> Tensor:
        indices, generator = batch_indices(SEED, NAME, step, len(images), BATCH_SIZE)
        noise = torch.randn(BATCH_SIZE, 8, 8, 8, generator=generator)
        return reconstruction_loss(vae, to_pixels(images[indices]) * 2 - 1, noise)

    def validate() -> dict[str, float]:
        return {"heldout/psnr": measure_psnr(vae, to_pixels(heldout))}

    run_training(
        NAME,
        work / NAME,
        modules={"vae": vae},
        loss_fn=loss_fn,
        settings=SETTINGS,
        checkpoint_every=500,
        validate=validate,
    )
    return vae


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, images_BCHW: Tensor) -> float:
    """Return the peak signal-to-noise ratio of reconstructions, in dB, of images in [0, 1]."""
    latents = vae.encode(images_BCHW * 2 - 1).latent_dist.mean
    output = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    return float(-10 * torch.log10(functional.mse_loss(output, images_BCHW)))


def load(work: Path) -> AutoencoderKL:
    """Return the VAE of the latest checkpoint, its scaling factor measured."""
    vae = build_vae()
    load_trained(work / NAME, {"vae": vae})
    vae.eval().requires_grad_(False)
    images, _ = scene_pool(512, SEED)
    with torch.no_grad():
        latents = vae.encode(to_pixels(images) * 2 - 1).latent_dist.mean
    vae.register_to_config(
        scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean())
    )
    return vae


def measure(work: Path) -> dict[str, float]:
    """Return the held-out figures of the latest checkpoint."""
    heldout, _ = scene_pool(512, SEED, split="heldout")
    return {"psnr_db": measure_psnr(load(work), to_pixels(heldout))}
