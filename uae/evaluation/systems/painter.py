"""Any text-to-image pipeline of diffusers, out of a local folder."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar
from transformers.utils.logging import disable_progress_bar as disable_transformers_bar

from uae.errors import EvaluationError, ModelError
from uae.evaluation.pictures import Pixels, to_pixels
from uae.evaluation.seeding import seeded
from uae.evaluation.systems.base import Failure, PictureRequest
from uae.evaluation.systems.truncation import Cut, TruncationWatch
from uae.models.bundle import loading, read_json
from uae.recipe import ComposedSystemRecipe
from uae.seeds import derive_seed

INDEX = "model_index.json"
_NEGATIVE = " "  # Qwen-Image's own; without a negative text `true_cfg_scale` has no effect
_FLAGS = ("nsfw_content_detected", "nsfw_detected")  # as pipelines with a safety checker call them


class Painter:
    """A pipeline that paints one text at a time.

    One at a time, because pipelines pad the texts of a batch to the longest and kernels round by
    the shape: only so does a picture depend on its own text and seed, to the last bit. All noise
    comes from the request's seed, drawn on the CPU: it is the same on every device. `image_size` is
    what the model paints; nothing is resized.
    """

    def __init__(self, pipeline: Any, recipe: ComposedSystemRecipe) -> None:
        self._pipeline, self._recipe = pipeline, recipe
        self.name = type(pipeline).__name__
        self._watch = TruncationWatch(pipeline)
        self._arguments = self._call_arguments()

    @classmethod
    def load(cls, folder: Path, recipe: ComposedSystemRecipe, device: torch.device) -> "Painter":
        """Read a pipeline.

        Raises:
            ModelError: If the folder holds none of diffusers' own, weights are pickled or missing,
                or it takes no text, or no guidance where the recipe asks for it.
        """
        pipeline_class(folder)
        disable_progress_bar()
        disable_transformers_bar()
        try:
            with loading(folder), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of `torch_dtype`'s coming name
                pipeline = DiffusionPipeline.from_pretrained(
                    folder,
                    torch_dtype=getattr(torch, recipe.dtype),
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                )
        except AttributeError as error:  # how diffusers says that it does not know a class
            raise ModelError(
                f"{folder} cannot be loaded: {error}; it may need a newer diffusers or transformers"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device), recipe)

    def paint(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return one picture for each text; none if it is cut and may not be, or is refused.

        Raises:
            EvaluationError: If it is unknown whether texts are cut, or a picture is not of the size
                that was asked for, or holds NaN.
        """
        return [self._paint(request) for request in requests]

    @torch.inference_mode()
    def _paint(self, request: PictureRequest) -> Pixels | Failure:
        generator = torch.Generator().manual_seed(derive_seed(request.seed, "noise"))
        self._watch.begin()
        # Seeded for schedulers that draw noise on their way without the generator.
        with seeded(derive_seed(request.seed, "steps"), self._pipeline.device):
            try:
                output = self._pipeline(prompt=request.text, generator=generator, **self._arguments)
            except ValueError as error:
                raise EvaluationError(f"{self.name} refuses {request.text!r}: {error}") from error
        if request.overlong == "error" and (cut := self._cut()) is not None:
            return Failure(f"the text is cut: {cut.read} of {cut.whole} tokens are read")
        if any(any(getattr(output, flag, None) or ()) for flag in _FLAGS):
            return Failure("refused by the pipeline's safety checker")
        return self._pixels(output.images)

    def _cut(self) -> Cut | None:
        if not self._watch.saw_anything:
            raise EvaluationError(
                f"{self.name} reads texts without a tokenizer of transformers: whether it cuts "
                "long ones is unknown"
            )
        return self._watch.cut

    def _pixels(self, images: Any) -> Pixels:
        side = self._recipe.image_size
        if tuple(images.shape) != (1, 3, side, side):
            raise EvaluationError(
                f"{self.name} painted {tuple(images.shape)} for one RGB picture of {side} x {side} "
                "pixels: give an image_size that it can paint"
            )
        return to_pixels(images.float())[0]

    def _call_arguments(self) -> dict[str, Any]:
        """Return what is the same for every picture, after the pipeline's signature."""
        takes = inspect.signature(type(self._pipeline).__call__).parameters
        needed = ("prompt", "generator", "height", "width", "num_inference_steps", "output_type")
        missing = [name for name in needed if name not in takes]
        if missing:
            raise ModelError(
                f"{self.name} is no text-to-image pipeline: it takes no {', '.join(missing)}"
            )
        arguments = {
            "height": self._recipe.image_size,
            "width": self._recipe.image_size,
            "num_inference_steps": self._recipe.num_steps,
            "output_type": "pt",
        }
        if "use_resolution_binning" in takes:
            arguments["use_resolution_binning"] = False  # it would resize
        denoiser = self._pipeline.components.get("transformer")
        distilled = bool(getattr(getattr(denoiser, "config", None), "guidance_embeds", False))
        return arguments | guidance_arguments(
            takes, self._recipe.guidance_scale, distilled=distilled, name=self.name
        )


def guidance_arguments(
    takes: Mapping[str, Any], scale: float, *, distilled: bool, name: str
) -> dict[str, Any]:
    """Return a guidance scale under the name that a pipeline has for it.

    A model that was distilled with guidance reads it as an input (FLUX.1-dev, Sana-Sprint):
    `guidance_scale`, or `distilled_guidance_scale`. Otherwise it is classifier-free guidance:
    `true_cfg_scale` with a negative text where there is such an argument (Qwen-Image), else
    `guidance_scale` (SD3.5, Sana, SDXL). Up to 1, most pipelines leave guidance out.

    Args:
        takes: The parameters of the pipeline's `__call__`.
        scale: From the recipe.
        distilled: Whether the denoiser's configuration has `guidance_embeds`.
        name: Of the pipeline.

    Raises:
        ModelError: If the pipeline has no guidance and the scale is above 1.
    """
    if distilled and "distilled_guidance_scale" in takes:
        return {"distilled_guidance_scale": scale}
    if "true_cfg_scale" in takes and not distilled:
        negative = {"negative_prompt": _NEGATIVE} if scale > 1 else {}
        return {"true_cfg_scale": scale} | negative
    if "guidance_scale" in takes:
        return {"guidance_scale": scale}
    if scale > 1:
        raise ModelError(f"{name} takes no guidance: guidance_scale {scale} must be 1")
    return {}


def pipeline_class(folder: Path) -> str:
    """Return the name of the class that a folder's model_index.json asks for; no code is loaded.

    Raises:
        ModelError: If there is no such file, or it asks for code of its own.
    """
    if not (folder / INDEX).is_file():
        raise ModelError(
            f"no pipeline in {folder}: it has no {INDEX}; give a folder in diffusers' layout"
        )
    name = read_json(folder / INDEX).get("_class_name")
    if not isinstance(name, str):
        raise ModelError(f"{folder / INDEX}: _class_name {name!r} is no class of diffusers' own")
    return name
