"""Train a unified multimodal model as an auto-encoder whose bottleneck is language."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from uae.inference import PictureModel


def load(path: str | PathLike[str], device: str = "cpu") -> PictureModel:
    """Load a trained model; it has `caption`, `generate` and `reconstruct`.

    Args:
        path: An exported model or any model bundle; "starter" is the shipped base model.
        device: Where to run, such as "cpu" or "cuda".

    Raises:
        ModelError: If the folder is not a complete model bundle.

    Example:
        >>> model = uae.load("runs/my-run/model")  # doctest: +SKIP
        >>> again = model.reconstruct(Image.open("cat.jpg"))[0]  # doctest: +SKIP
        >>> again.image.save("again.png")  # doctest: +SKIP
    """
    from pathlib import Path

    from uae.inference import load_model
    from uae.models.bundle import resolve_base

    folder = resolve_base("starter") if str(path) == "starter" else Path(path)
    return load_model(folder, device)
