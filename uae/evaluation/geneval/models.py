"""The models that judge, as a recipe names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from uae.data.geneval import Prompt
from uae.errors import EvaluationError
from uae.evaluation.geneval.base import ColorClassifier, Detector, Renamed
from uae.evaluation.geneval.colors import OFFICIAL_TEMPLATES, OpenClipColors
from uae.evaluation.geneval.detector_loading import load_detector
from uae.evaluation.geneval.vocabulary import VOCABULARIES, official_names
from uae.evaluation.judges.files import named_folder
from uae.recipe import GenevalRecipe
from uae.rewards.scorer_files import find_scorer


@dataclass(frozen=True)
class GenevalModels:
    """What looks at the pictures."""

    detector: Detector
    colors: ColorClassifier

    @property
    def identities(self) -> dict[str, dict[str, str]]:
        """What judged, for the result."""
        return {"detector": self.detector.identity, "colors": self.colors.identity}


def load_models(
    settings: GenevalRecipe, weights: Path, *, batch_size: int, device: torch.device | str
) -> GenevalModels:
    """Load the detector and the colour classifier; `weights` is where names are looked up.

    Raises:
        ModelError: If one is missing or its weights do not fit.
        EvaluationError: If the detector's classes are not those of the official vocabulary.
    """
    folder = named_folder(settings.detector, weights)
    detector = load_detector(folder, batch_size=batch_size, device=device)
    if settings.vocabulary == "official":
        detector = Renamed(detector, official_names(detector.classes), scheme="geneval")
    colors = OpenClipColors.load(
        find_scorer(settings.colors, weights),
        colors=VOCABULARIES[settings.vocabulary].colors,
        templates=OFFICIAL_TEMPLATES,
        batch_size=batch_size,
        device=device,
    )
    return GenevalModels(detector, colors)


def check_vocabulary(models: GenevalModels, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that ask for what the models can never find: they would count as wrong.

    Raises:
        EvaluationError: Naming the unknown classes and colours.
    """
    classes = {entry.name for prompt in prompts for entry in prompt.include}
    classes |= {entry.name for prompt in prompts for entry in prompt.exclude}
    classes -= set(models.detector.classes)
    colors = {entry.color for prompt in prompts for entry in prompt.include if entry.color}
    colors -= set(models.colors.colors)
    if classes or colors:
        raise EvaluationError(
            f"the prompts name classes {sorted(classes)} and colours {sorted(colors)} that the "
            f"detector or the colour classifier does not know: use models that fit the prompts"
        )
