"""Zero-shot colour classification of detected objects with an open_clip model, by GenEval's rules.

The object is cropped to its box, everything outside its mask is painted #999, and the crop is
compared with the mean text embedding of a few templates for each colour. The published script does
this in half precision on a GPU; here it is single precision.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from uae.errors import ModelError
from uae.evaluation.geneval.rules import Detection
from uae.evaluation.pictures import Pixels
from uae.models.bundle import bundle_sha, loading
from uae.rewards.scorer_files import CONFIG_FILE, WEIGHTS_FILE

OUTSIDE = 0x99
OFFICIAL_TEMPLATES = (
    "a photo of a {color} {name}",
    "a photo of a {color}-colored {name}",
    "a photo of a {color} object",
)


class OpenClipColors:
    """A colour classifier stored in open_clip's local-dir layout, tokenizer included."""

    def __init__(
        self,
        model: Any,
        transform: Any,
        tokenizer: Any,
        *,
        colors: Sequence[str],
        templates: Sequence[str],
        identity: dict[str, str],
        batch_size: int,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.transform, self.tokenizer = transform, tokenizer
        self.colors, self.templates = tuple(colors), tuple(templates)
        self.identity = identity
        self.batch_size = batch_size
        self._texts: dict[str, Tensor] = {}
        self._device = next(model.parameters()).device

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        colors: Sequence[str],
        templates: Sequence[str],
        batch_size: int,
        device: torch.device | str = "cpu",
    ) -> "OpenClipColors":
        """Read a classifier.

        Raises:
            ModelError: If the folder is missing, or its weights do not fit its configuration.
        """
        for file in (CONFIG_FILE, WEIGHTS_FILE):  # without the latter open_clip would unpickle
            if not (folder / file).is_file():
                raise ModelError(f"no colour classifier in {folder}: it needs {file}")
        name = f"local-dir:{folder.resolve()}"
        with loading(folder):
            model, transform = open_clip.create_model_from_pretrained(name, precision="fp32")
            tokenizer = open_clip.get_tokenizer(name)
        identity = {
            "kind": "open_clip",
            "sha256": bundle_sha(folder),
            "colors": ", ".join(colors),
            "templates": " | ".join(templates),
        }
        return cls(
            model.to(device),
            transform,
            tokenizer,
            colors=colors,
            templates=templates,
            identity=identity,
            batch_size=batch_size,
        )

    @torch.inference_mode()
    def classify(self, objects: Sequence[tuple[Pixels, Detection]]) -> list[str]:
        """Return the colour of each object."""
        names: list[str] = []
        for start in range(0, len(objects), self.batch_size):
            batch = objects[start : start + self.batch_size]
            crops = torch.stack([self.transform(masked_crop(*pair)) for pair in batch])
            images_BD = self.model.encode_image(crops.to(self._device), normalize=True)
            texts_BKD = torch.stack([self._text_features(d.name) for _, d in batch])
            best_B = torch.einsum("bd,bkd->bk", images_BD, texts_BKD).argmax(dim=1)
            names.extend(self.colors[index] for index in best_B.tolist())
        return names

    def _text_features(self, name: str) -> Tensor:
        """Return one unit vector for each colour, (K, D)."""
        if name not in self._texts:
            texts = [t.format(color=c, name=name) for c in self.colors for t in self.templates]
            tokens = self.tokenizer(texts).to(self._device)
            features = self.model.encode_text(tokens, normalize=True)
            per_color = features.unflatten(0, (len(self.colors), len(self.templates)))
            self._texts[name] = normalize(per_color.mean(dim=1), dim=-1)
        return self._texts[name]


def masked_crop(picture: Pixels, detection: Detection) -> Image.Image:
    """Cut out an object's box, painting what is outside its mask #999."""
    x0, y0, x1, y1 = (round(side) for side in detection.box)
    crop = picture[y0:y1, x0:x1]
    if detection.mask is not None:
        crop = np.where(detection.mask[y0:y1, x0:x1, None], crop, np.uint8(OUTSIDE))
    return Image.fromarray(crop)
