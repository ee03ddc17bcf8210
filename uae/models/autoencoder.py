"""The auto-encoder: image -> caption -> image.

The condition is what the decoder sees of a caption. With `reencode_text` the caption is read
again as text, so nothing of the image passes but words. With `in_context` the hidden states of
the caption's tokens, which have seen the image, are taken: the form of the authors' cold start.

Captions are written with all active adapters and read with the caption adapters off.
Conditions always have `condition_tokens` tokens, zeros after the last real one: the decoder's
attention has no mask, so a length that depended on the batch would change the picture.

Shape letters: B or N captions, T condition tokens, L caption tokens, D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from uae.errors import ModelError
from uae.flow_matching.noise import draw_noise
from uae.flow_matching.ode import sample_ode
from uae.flow_matching.schedule import sampling_times
from uae.models.bundle import BundleInfo, Stage, read_info, write_json
from uae.models.captioning import (
    Captions,
    WrittenCaptions,
    continue_captions,
    write_captions,
)
from uae.models.connector import Connector
from uae.models.decoder import Decoder
from uae.models.encoder import Encoder
from uae.recipe import SamplerRecipe
from uae.replacement import replaced_atomically


class Reconstructions(NamedTuple):
    """Captions and the pictures drawn from them."""

    captions: list[str]
    images_BCHW: Tensor  # RGB in [0, 1]


class AutoEncoder:
    """Encoder, connector and decoder, and how the caption conditions the decoder.

    `caption_adapters` names the encoder's adapters that are off while captions are read. A
    stage that trains the writer alone appends its adapter's name; one that trains the shared
    encoder does not, and merges its adapter before saving.
    """

    def __init__(
        self, encoder: Encoder, connector: Connector, decoder: Decoder, info: BundleInfo
    ) -> None:
        self.encoder, self.connector, self.decoder = encoder, connector, decoder
        self.condition_source = info.condition_source
        self.condition_tokens = info.condition_tokens
        self.image_size = info.image_size
        self.info = info
        self.caption_adapters: list[str] = []
        expected = (encoder.width, decoder.transformer.config.joint_attention_dim)
        found = (connector.sizes["in_features"], connector.sizes["out_features"])
        if found != expected:
            raise ModelError(f"the connector maps {found[0]} to {found[1]}, not {expected}")
        decoder.latent_shape(info.image_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.device

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Switch the caption adapters off for a while."""
        with self.encoder.disabled(*self.caption_adapters):
            yield

    def connect(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Map hidden states to conditions of full length, zeros where the mask has no token."""
        context_BTD: Tensor = self.connector(hidden_BTD)
        zeroed = context_BTD * mask_BT[..., None].to(context_BTD.dtype)
        return torch.nn.functional.pad(zeroed, (0, 0, 0, self.condition_tokens - zeroed.shape[1]))

    def condition_from_captions(
        self, captions: Sequence[str], *, overlong: Literal["error", "truncate"] = "error"
    ) -> Tensor:
        """Read captions as text: conditions (B, T, D), independent of the batch's other captions.

        Args:
            captions: Texts; the empty one gives the negative condition of guidance.
            overlong: What to do with a caption that the condition cannot hold.

        Raises:
            ModelError: If a caption is too long and is to be refused.
        """
        with self.reading():
            hidden, mask = self.encoder.hidden_states(
                captions, max_tokens=self.condition_tokens, overlong=overlong
            )
        return self.connect(hidden, mask)

    def condition_in_context(
        self,
        images_PCHW: Tensor,
        completion_ids_NL: Tensor,
        mask_NL: Tensor,
        *,
        features_PTD: Tensor | None = None,
        image_of_N: Sequence[int] | None = None,
    ) -> Tensor:
        """Take the hidden states of caption tokens that have seen the image: (N, T, D).

        Args:
            images_PCHW: The images; each is read once, however many captions it has.
            completion_ids_NL: The captions' tokens, end of turn included.
            mask_NL: 1 for real tokens.
            features_PTD: What `Encoder.image_features` gave for the images, where it is known.
            image_of_N: Each caption's image. By default all have equally many, one after another.

        Raises:
            ModelError: If the captions have more tokens than the condition holds.
        """
        if completion_ids_NL.shape[1] > self.condition_tokens:
            raise ModelError(
                f"captions of {completion_ids_NL.shape[1]} tokens do not fit a condition of "
                f"{self.condition_tokens}; lower max_new_tokens"
            )
        prompts = self.encoder.caption_prompt(images_PCHW)
        if features_PTD is None:
            features_PTD = self.encoder.image_features(prompts)
        with self.reading():
            state = self.encoder.read_prompts(prompts, features_PTD)
            hidden = continue_captions(self.encoder, state, completion_ids_NL, image_of_N)
        return self.connect(hidden, mask_NL.bool())

    def condition(
        self,
        captions: Captions,
        images_PCHW: Tensor,
        *,
        features_PTD: Tensor | None = None,
        image_of_N: Sequence[int] | None = None,
    ) -> Tensor:
        """Condition on captions that this model has written, by the bundle's condition source.

        A caption that turns out too long when it is read again loses its last tokens: what is
        drawn is what the bottleneck can hold, and a rollout is not lost over one caption.
        The arguments are those of `condition_in_context`; with `reencode_text` only texts count.
        """
        if self.condition_source == "in_context":
            ids, mask = captions.completion_ids_NL, captions.mask_NL
            return self.condition_in_context(
                images_PCHW, ids, mask, features_PTD=features_PTD, image_of_N=image_of_N
            )
        return self.condition_from_captions(captions.texts, overlong="truncate")

    def negative_condition(self) -> Tensor:
        """Return the empty caption's condition (1, T, D), the negative of guidance."""
        if self.condition_source == "in_context":  # an empty answer has no tokens
            width = self.connector.sizes["out_features"]
            return torch.zeros(1, self.condition_tokens, width, device=self.device)
        return self.condition_from_captions([""])

    def generate_from_condition(
        self,
        context_BTD: Tensor,
        noise_BCHW: Tensor,
        sampler: SamplerRecipe,
        *,
        checkpoint: bool = False,
    ) -> Tensor:
        """Sample pictures with the ODE: RGB in [0, 1], differentiable unless under no_grad.

        Args:
            context_BTD: The condition.
            noise_BCHW: Standard normal latents, shape of `Decoder.latent_shape`.
            sampler: Steps and guidance.
            checkpoint: Recompute activations in the backward pass, to save memory.
        """
        guided = sampler.guidance_scale > 1
        velocity_fn = self.decoder.velocity_fn(
            context_BTD,
            guidance_scale=sampler.guidance_scale,
            negative_1TD=self.negative_condition() if guided else None,
        )
        times = sampling_times(sampler.num_steps, self.decoder.shift)
        latents = sample_ode(velocity_fn, noise_BCHW, times, checkpoint=checkpoint)
        return self.decoder.decode_latents(latents)

    def draw_noise(self, num_images: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal latents (B, C, H, W) from a generator on any device."""
        shape = (num_images, *self.decoder.latent_shape(self.image_size))
        return draw_noise(shape, generator, self.device)

    @torch.no_grad()
    def caption(
        self,
        images_BCHW: Tensor,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Write one caption for each image; temperature 0 is greedy."""
        return self._write(images_BCHW, max_new_tokens, temperature, generator).texts

    @torch.no_grad()
    def generate(
        self, captions: Sequence[str], *, generator: torch.Generator, sampler: SamplerRecipe
    ) -> Tensor:
        """Draw one picture for each caption: (B, 3, H, W), RGB in [0, 1].

        Raises:
            ModelError: If a caption is too long for the condition.
        """
        context = self.condition_from_captions(captions)
        noise = self.draw_noise(len(captions), generator)
        return self.generate_from_condition(context, noise, sampler)

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        generator: torch.Generator,
        sampler: SamplerRecipe,
        max_new_tokens: int,
        temperature: float = 0.0,
    ) -> Reconstructions:
        """Caption each image and draw it again from the caption alone.

        With `in_context` the decoder gets the caption's hidden states, not only its words.
        """
        written = self._write(images_BCHW, max_new_tokens, temperature, generator)
        context = self.condition(written, images_BCHW)
        noise = self.draw_noise(len(images_BCHW), generator)
        images = self.generate_from_condition(context, noise, sampler)
        return Reconstructions(written.texts, images)

    def save(
        self,
        path: Path,
        *,
        stage: Stage,
        parent: str | None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Write the bundle; an earlier one at `path` is replaced only once all is written.

        Args:
            path: The bundle's folder.
            stage: Which stage made it.
            parent: `bundle_sha` of the bundle that the stage started from.
            dtype: Of the weights on disk; adapters are always float32.

        Raises:
            ModelError: If an adapter is neither merged nor one of `caption_adapters`.
        """
        unmerged = set(self.encoder.adapters) - set(self.caption_adapters)
        if unmerged:
            raise ModelError(f"merge the encoder's adapters before saving: {sorted(unmerged)}")
        info = self.info.model_copy(update={"stage": stage, "parent": parent})
        with replaced_atomically(path) as folder:
            write_json(folder / "model.json", info.model_dump(mode="json"))
            self.encoder.save(folder / "encoder", dtype)
            for index, name in enumerate(self.caption_adapters):
                self.encoder.save_lora(name, folder / "caption_adapters" / str(index))
            self.connector.save(folder / "connector", dtype)
            self.decoder.save(folder, dtype)

    @classmethod
    def load(cls, path: Path, *, device: str | torch.device = "cpu") -> Self:
        """Read a bundle: frozen, in evaluation mode, float32.

        Raises:
            ModelError: If anything is missing, unexpected or of another shape.
        """
        info = read_info(path)
        model = cls(
            Encoder.load(path / "encoder", device),
            Connector.load(path / "connector").to(device),
            Decoder.load(path, device),
            info,
        )
        folders = (path / "caption_adapters").glob("*")
        for folder in sorted(folders, key=lambda folder: int(folder.name)):
            name = f"caption_{folder.name}"
            model.encoder.load_lora(name, folder)
            model.caption_adapters.append(name)
        return model

    def _write(
        self,
        images_BCHW: Tensor,
        max_new_tokens: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> WrittenCaptions:
        prompts = self.encoder.caption_prompt(images_BCHW)
        return write_captions(
            self.encoder,
            prompts,
            self.encoder.image_features(prompts),
            group_size=1,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            generator=generator,
        )
