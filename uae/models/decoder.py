"""The decoder: SD3's transformer and VAE, conditioned on the connector's output.

Convention: t = 1 is noise, t = 0 is data, velocity = noise - data. The text encoders of SD3 are
not used; the pooled embedding they would give is one constant vector, as in arXiv:2509.09666.

Shape letters: B pictures, T condition tokens, D width; C, H, W of latents or pictures.
"""

from pathlib import Path
from typing import Any, Self

import torch
from diffusers import __version__ as diffusers_version
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from safetensors.torch import save_file
from torch import Tensor

from uae.errors import ModelError
from uae.flow_matching.ode import VelocityFn
from uae.models.bundle import check_loading_info, loading, read_json, read_tensors, write_json
from uae.models.lora import LoraHost

LORA_TARGETS = r".*\.attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
POOLED = "pooled_projection"
_TIMESTEPS = 1000  # SD3 counts time from 0 to 1000
_TOKENS = 200_000  # that go through the transformer at once while large batches are drawn
_VAE_PIXELS = 8 * 512**2  # that go through SD3's VAE at once, at 3 KB each


class Decoder(LoraHost):
    """SD3's transformer, VAE and schedule; adapters on the transformer's joint attention."""

    def __init__(
        self, transformer: Any, vae: Any, pooled_D: Tensor, scheduler: dict[str, Any]
    ) -> None:
        super().__init__(transformer, LORA_TARGETS)
        self.transformer = transformer.eval()
        self.vae = vae.eval()
        self.pooled_D = pooled_D
        self.scheduler = scheduler
        self.shift = float(scheduler["shift"])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pooled_D.device

    def velocity(self, latents_BCHW: Tensor, t: Tensor | float, context_BTD: Tensor) -> Tensor:
        """Predict noise - data at time t (one for all, or (B,)): (B, C, H, W)."""
        count = len(latents_BCHW)
        if isinstance(t, Tensor):
            times = t.to(latents_BCHW.device, torch.float32).expand(count)
        else:  # filled on the device: a copy from main memory would wait for it
            times = latents_BCHW.new_full((count,), t, dtype=torch.float32)
        velocity: Tensor = self.transformer(
            hidden_states=latents_BCHW,
            encoder_hidden_states=context_BTD,
            pooled_projections=self.pooled_D.expand(count, -1),
            timestep=times * _TIMESTEPS,
            return_dict=False,
        )[0]
        return velocity

    def velocity_fn(
        self,
        context_BTD: Tensor,
        *,
        guidance_scale: float = 1.0,
        negative_1TD: Tensor | None = None,
        is_bounded: bool = False,
    ) -> VelocityFn:
        """Bind a condition, and classifier-free guidance when the scale is above 1.

        Args:
            context_BTD: The condition.
            guidance_scale: 1 is no guidance, at half the cost.
            negative_1TD: The empty caption's condition; needed for guidance.
            is_bounded: Let at most 128 pictures of 512 x 512 through at once, or as many tokens:
                for drawing large batches without gradients.

        Raises:
            ValueError: If guidance has no negative condition.
        """
        velocity = self._bounded_velocity if is_bounded else self.velocity
        if guidance_scale == 1:
            return lambda latents, t: velocity(latents, t, context_BTD)
        if negative_1TD is None:
            raise ValueError(f"{guidance_scale=} needs the empty caption's condition")
        both = torch.cat([negative_1TD.expand_as(context_BTD), context_BTD])

        def guided(latents: Tensor, t: float) -> Tensor:
            negative, positive = velocity(torch.cat([latents, latents]), t, both).chunk(2)
            return negative + guidance_scale * (positive - negative)

        return guided

    def _bounded_velocity(self, latents_BCHW: Tensor, t: float, context_BTD: Tensor) -> Tensor:
        patch = self.transformer.config.patch_size
        tokens = latents_BCHW[0, 0].numel() // patch**2 + context_BTD.shape[1]
        size = max(_TOKENS // tokens, 1)
        parts = zip(torch.split(latents_BCHW, size), torch.split(context_BTD, size), strict=True)
        return torch.cat([self.velocity(latents, t, context) for latents, context in parts])

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the latents of a square picture.

        Raises:
            ModelError: If the VAE and the transformer's patches do not divide the picture.
        """
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        if image_size % (factor * self.transformer.config.patch_size):
            raise ModelError(
                f"image_size {image_size} is no multiple of the VAE's factor {factor} x the "
                f"transformer's patch {self.transformer.config.patch_size}"
            )
        side = image_size // factor
        return self.transformer.config.in_channels, side, side

    def encode_images(self, images_BCHW: Tensor) -> Tensor:
        """Encode RGB in [0, 1] to latents of about unit variance.

        The posterior's mode is taken, not a sample: it can be cached, and its variance is tiny.
        """
        scaled_BCHW, config = images_BCHW.to(self.device) * 2 - 1, self.vae.config
        mode = torch.cat(
            [
                self.vae.encode(batch).latent_dist.mode()
                for batch in torch.split(scaled_BCHW, _pictures_at_once(*scaled_BCHW.shape[-2:]))
            ]
        )
        latents: Tensor = (mode - (config.shift_factor or 0.0)) * config.scaling_factor
        return latents

    def decode_latents(self, latents_BCHW: Tensor) -> Tensor:
        """Decode latents to RGB in [0, 1]; differentiable where it does not clip."""
        config = self.vae.config
        unscaled = latents_BCHW / config.scaling_factor + (config.shift_factor or 0.0)
        factor = 2 ** (len(config.block_out_channels) - 1)
        height, width = (side * factor for side in unscaled.shape[-2:])
        images_BCHW = torch.cat(
            [
                self.vae.decode(batch, return_dict=False)[0]
                for batch in torch.split(unscaled, _pictures_at_once(height, width))
            ]
        )
        return (images_BCHW / 2 + 0.5).clamp(0, 1)

    def save(self, bundle: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write transformer/, vae/, scheduler/ and the pooled embedding without adapters."""
        if self.adapters:
            raise ModelError(f"merge the decoder's adapters before saving: {self.adapters}")
        for name, module in (("transformer", self.transformer), ("vae", self.vae)):
            _save_diffusers(module, bundle / name, dtype)
        (bundle / "scheduler").mkdir(parents=True)
        write_json(bundle / "scheduler" / "scheduler_config.json", self.scheduler)
        save_file({POOLED: self.pooled_D.to(dtype).contiguous()}, bundle / f"{POOLED}.safetensors")

    @classmethod
    def load(cls, bundle: Path, device: str | torch.device = "cpu") -> Self:
        """Read a decoder, frozen, in float32.

        Raises:
            ModelError: If something is missing, unexpected or of another shape.
        """
        transformer = _load_diffusers(SD3Transformer2DModel, bundle / "transformer")
        vae = _load_diffusers(AutoencoderKL, bundle / "vae")
        shapes = {POOLED: (transformer.config.pooled_projection_dim,)}
        pooled = read_tensors(bundle / f"{POOLED}.safetensors", shapes)[POOLED]
        scheduler = read_json(bundle / "scheduler" / "scheduler_config.json")
        if scheduler.get("use_dynamic_shifting") or "shift" not in scheduler:
            raise ModelError(f"{bundle / 'scheduler'} must have a constant shift, got {scheduler}")
        return cls(transformer.to(device), vae.to(device), pooled.to(device), scheduler)


def _pictures_at_once(height: int, width: int) -> int:
    return max(_VAE_PIXELS // (height * width), 1)


def flow_matching_scheduler(shift: float) -> dict[str, Any]:
    """Return the configuration of diffusers' FlowMatchEulerDiscreteScheduler."""
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": _TIMESTEPS,
        "shift": shift,
        "use_dynamic_shifting": False,
    }


def _save_diffusers(module: Any, folder: Path, dtype: torch.dtype) -> None:
    folder.mkdir(parents=True)
    # Names with an underscore hold the path it was loaded from, and a set in no fixed order.
    config = {key: value for key, value in module.config.items() if key[0] != "_"}
    names = {"_class_name": type(module).__name__, "_diffusers_version": diffusers_version}
    write_json(folder / "config.json", names | config)
    state = {name: t.to(dtype).contiguous() for name, t in module.state_dict().items()}
    save_file(state, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def _load_diffusers(kind: Any, folder: Path) -> Any:
    with loading(folder):
        module, info = kind.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
        )
    check_loading_info(folder, info)
    return module.requires_grad_(False).eval()
