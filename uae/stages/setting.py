"""What every stage starts from: recipe, model, data, and named random draws."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from uae.data.dataset import Dataset, load_dataset
from uae.fingerprints import folder_sha256
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import Stage, bundle_sha, weights_root
from uae.recipe import Recipe, TrainedStage
from uae.rewards.reconstruction import ReconstructionScorer, load_scorer
from uae.rewards.scorer_files import find_scorer
from uae.seeds import make_generator
from uae.training.batches import SampleOrder
from uae.training.numerics import exact_numerics

CHUNK = 32  # samples that go through a frozen model at once while a cache is filled


@dataclass(frozen=True)
class Setting:
    """A stage's recipe, model and data."""

    stage: Stage
    recipe: Recipe
    model: AutoEncoder
    train: Dataset
    heldout: Dataset
    order: SampleOrder  # of `train`
    device: torch.device
    inputs: dict[str, str]  # identities of data and model, for checkpoints

    def images(self, dataset: Dataset, indices: Sequence[int]) -> Tensor:
        """Return pictures (B, 3, H, W), RGB in [0, 1], of the recipe's size."""
        pixels = dataset.pixels(indices, self.recipe.data.image_size)
        return torch.from_numpy(pixels).to(self.device)

    def ids(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of training samples."""
        return [self.train[index].image_id for index in indices]

    def used(self) -> list[int]:
        """Return the indices of all training samples that the stage's updates will see."""
        section: TrainedStage = getattr(self.recipe, self.stage)
        return self.order.used(section.num_updates)

    def some_heldout(self, count: int) -> list[int]:
        """Return the indices of the held-out samples that are measured: the same every time."""
        generator = make_generator(self.recipe.seed, "heldout")
        order: list[int] = torch.randperm(len(self.heldout), generator=generator).tolist()
        return sorted(order[:count])

    def set_aside(self, count: int) -> list[int]:
        """Return the indices of training samples for early stopping, at most `count`."""
        return self.order.set_aside[:count]

    def generator(self, *names: str | int) -> torch.Generator:
        """Return the generator of one named draw, on the CPU: the same on every machine."""
        return make_generator(self.recipe.seed, self.stage, *names)

    def noise(self, count: int, *names: str | int) -> Tensor:
        """Draw initial latents (count, C, H, W) at t = 1."""
        return self.model.draw_noise(count, self.generator(*names))

    def noise_by_id(self, ids: Sequence[str], count: int, *names: str | int) -> Tensor:
        """Draw `count` initial latents for each sample, (P, count, C, H, W), keyed by its id."""
        return torch.stack([self.noise(count, *names, sample_id) for sample_id in ids])

    def scorer(self, name: str) -> ReconstructionScorer:
        """Load an image scorer of the base weights, or from a folder."""
        return load_scorer(name, weights_root(self.recipe.models.base), device=self.device)

    def save(self, model_out: Path) -> None:
        """Write the trained bundle, with the one that it started from as its parent."""
        self.model.save(model_out, stage=self.stage, parent=self.inputs["model"])


@contextmanager
def open_setting(stage: Stage, recipe: Recipe, data: Path, model_in: Path) -> Iterator[Setting]:
    """Load what a stage needs, and compute reproducibly until the context ends.

    Args:
        stage: Name of the stage and of its section in the recipe.
        recipe: The whole recipe.
        data: Folder with the splits `train` and `heldout`.
        model_in: Bundle to start from.

    Raises:
        DataError: If a split is missing or damaged.
        ModelError: If the bundle is missing or damaged.
    """
    section: TrainedStage = getattr(recipe, stage)
    train, heldout = load_dataset(data / "train"), load_dataset(data / "heldout")
    inputs = {
        "train": train.revision,
        "heldout": heldout.revision,
        "model": bundle_sha(model_in),
    }
    scorer = section.scorer_used
    if scorer is not None:
        folder = find_scorer(scorer, weights_root(recipe.models.base))
        inputs["scorer"] = folder_sha256(folder)
    with exact_numerics(recipe.models) as device:
        model = _as_in_recipe(AutoEncoder.load(model_in, device=device), recipe)
        aside = recipe.num_set_aside
        order = SampleOrder(len(train), section.batch_size, recipe.seed, stage, num_set_aside=aside)
        yield Setting(stage, recipe, model, train, heldout, order, device, inputs)


def _as_in_recipe(model: AutoEncoder, recipe: Recipe) -> AutoEncoder:
    """Condition and draw as the recipe says, whatever the bundle was trained with before."""
    model.condition_source = recipe.models.condition_source
    model.image_size = recipe.data.image_size
    changes = {"condition_source": model.condition_source, "image_size": model.image_size}
    model.info = model.info.model_copy(update=changes)
    model.decoder.latent_shape(model.image_size)  # refuses a size that the decoder cannot draw
    return model


class Rows:
    """Rows of one or more tensors for some samples, computed once.

    The chunks in which they are computed depend on the samples alone, so that a resumed run
    holds the same numbers to the bit.
    """

    def __init__(
        self, indices: Sequence[int], compute: Callable[[list[int]], tuple[Tensor, ...]]
    ) -> None:
        self._place = {index: place for place, index in enumerate(indices)}
        with torch.no_grad():
            computed = [compute(chunk) for chunk in chunks(indices)]
        self._tensors = [torch.cat(parts) for parts in zip(*computed, strict=True)]

    def of(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return each tensor's rows for these samples, in this order."""
        places = [self._place[index] for index in indices]
        return tuple(tensor[places] for tensor in self._tensors)


def chunks(indices: Sequence[int]) -> list[list[int]]:
    """Cut indices into lists that fit through a frozen model at once."""
    return [list(indices[i : i + CHUNK]) for i in range(0, len(indices), CHUNK)]
