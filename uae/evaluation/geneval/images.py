"""GenEval's folder layout: 00000/metadata.jsonl and 00000/samples/0000.png for each prompt."""

import json
from collections.abc import Sequence
from pathlib import Path

from uae.data.geneval import Prompt
from uae.errors import EvaluationError
from uae.evaluation.pictures import write_png
from uae.evaluation.systems.bundle import System, paint_pictures
from uae.recipe import Recipe
from uae.seeds import derive_seed


def paint_folder(recipe: Recipe, system: System, prompts: Sequence[Prompt], folder: Path) -> None:
    """Paint `geneval_images_per_prompt` pictures for each prompt into the official layout."""
    settings = recipe.evaluation
    places = [
        (number, image)
        for number in range(len(prompts))
        for image in range(settings.geneval_images_per_prompt)
    ]
    seeds = [picture_seed(recipe, number, image) for number, image in places]
    texts = [prompts[number].text for number, _ in places]
    pictures = paint_pictures(system, texts, seeds, batch_size=settings.batch_size)
    for (number, image), picture in zip(places, pictures, strict=True):
        write_png(picture, sample_path(folder, number, image))
    for number, prompt in enumerate(prompts):
        row = json.dumps(prompt.to_json()) + "\n"
        (folder / f"{number:05d}" / "metadata.jsonl").write_text(row, encoding="utf-8")


def sample_path(folder: Path, number: int, image: int) -> Path:
    """Return where the official layout keeps a prompt's picture."""
    return folder / f"{number:05d}" / "samples" / f"{image:04d}.png"


def picture_seed(recipe: Recipe, number: int, image: int) -> int:
    """Return the seed of one prompt's picture."""
    return derive_seed(recipe.seed, "geneval", number, image)


def check_folder(folder: Path, prompts: Sequence[Prompt], per_prompt: int) -> None:
    """Refuse a folder that does not hold exactly what the prompts ask for.

    Raises:
        EvaluationError: Naming every difference.
    """
    wanted = {
        sample_path(folder, number, image)
        for number in range(len(prompts))
        for image in range(per_prompt)
    }
    present = set(folder.glob("[0-9]*/samples/*.png"))
    faults = [f"missing {path.relative_to(folder)}" for path in sorted(wanted - present)]
    faults += [f"superfluous {path.relative_to(folder)}" for path in sorted(present - wanted)]
    for number, prompt in enumerate(prompts):
        metadata = folder / f"{number:05d}" / "metadata.jsonl"
        if not metadata.is_file():
            faults.append(f"missing {metadata.relative_to(folder)}")
        elif json.loads(metadata.read_text(encoding="utf-8")) != prompt.to_json():
            faults.append(f"{metadata.relative_to(folder)} is another prompt than {prompt.text!r}")
    if faults:
        raise EvaluationError(f"{folder} cannot be scored: " + "; ".join(faults))
