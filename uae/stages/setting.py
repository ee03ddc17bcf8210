"""What every stage starts from: recipe, model, data, and named random draws."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from uae.data.dataset import Dataset, Samples
from uae.errors import ModelError
from uae.fingerprints import folder_sha256, json_sha256
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import Stage, bundle_sha, weights_root
from uae.models.lora import LoraHost
from uae.models.precision import take_originals
from uae.models.recomputation import recompute_blocks
from uae.recipe import LoraRecipe, Recipe, TrainedStage
from uae.rewards.combine import Rewards
from uae.rewards.reconstruction import ReconstructionScorer, load_scorer
from uae.rewards.scorer_files import find_scorer
from uae.seeds import make_generator
from uae.stages.stage_data import StageData, open_data
from uae.training.distribution import World, current_world
from uae.training.numerics import exact_numerics
from uae.training.sharding import Shards, keep_frozen_lowered, meeting_place, move, shard
from uae.training.share import Share

if TYPE_CHECKING:
    from uae.store.s3 import Store

CHUNK = 32  # samples that go through a frozen model at once while a cache is filled


@dataclass(frozen=True)
class Setting:
    """A stage's recipe, model and data."""

    stage: Stage
    recipe: Recipe
    model: AutoEncoder
    data: StageData
    share: Share  # of every batch: this process's samples
    device: torch.device
    inputs: dict[str, str]  # identities of data and model, for checkpoints
    model_in: Path
    shards: Shards = field(default_factory=lambda: Shards(current_world()))

    @property
    def section(self) -> TrainedStage:
        """The stage's section of the recipe."""
        section: TrainedStage = getattr(self.recipe, self.stage)
        return section

    @property
    def train(self) -> Samples:
        """The training split; where it is streamed, this process's samples of an update."""
        return self.data.train

    @property
    def heldout(self) -> Dataset:
        """The split that is measured."""
        return self.data.heldout

    def batch(self, step: int) -> tuple[list[int], list[int]]:
        """Return the training samples of an update, and those of them that are this process's."""
        if self.share.world.size > 1:
            self.share.assign(self.data.lengths(step))
        batch = self.data.batch(step)
        return batch, self.share.of(batch)

    def images(self, dataset: Samples, indices: Sequence[int]) -> Tensor:
        """Return pictures (B, 3, H, W), RGB in [0, 1], of the recipe's size."""
        pixels = dataset.pixels(indices, self.recipe.data.image_size)
        return torch.from_numpy(pixels).to(self.device)

    def ids(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of training samples."""
        return self.data.ids(indices)

    def used(self) -> list[int] | None:
        """Return the indices of all training samples that the stage's updates will see.

        None: there are too many to keep what is computed of them.
        """
        return self.data.used()

    def rows(
        self,
        dataset: Samples,
        indices: Sequence[int] | None,
        compute: Callable[[list[int]], tuple[Tensor, ...]],
    ) -> "Rows":
        """Compute rows of tensors for some samples, those aside that only other processes see.

        Where `indices` is None, they are computed when they are asked for.
        """
        if indices is None:
            return ComputedRows(compute, self.shards)
        with self.shards.gathered():
            return KeptRows(indices, compute, self.kept(dataset, indices), self.share.world)

    def kept(self, dataset: Samples, indices: Sequence[int] | None) -> list[int]:
        """Return those of some samples of which this process keeps what is computed: its own."""
        if indices is None:
            return []
        others = self._only_others_see if dataset is self.train else frozenset()
        return [index for index in indices if index not in others]

    @cached_property
    def _only_others_see(self) -> frozenset[int]:
        if self.share.world.size == 1:
            return frozenset()
        own: set[int] = set()
        for step in range(self.section.num_updates):
            batch, places = self.data.batch(step), self.share.places_of(self.data.lengths(step))
            own |= {batch[place] for place in places}
        return frozenset(self.used() or ()) - own

    def some_heldout(self, count: int) -> list[int]:
        """Return the indices of the held-out samples that are measured: the same every time."""
        generator = make_generator(self.recipe.seed, "heldout")
        order: list[int] = torch.randperm(len(self.heldout), generator=generator).tolist()
        return sorted(order[:count])

    def set_aside(self, count: int) -> tuple[Dataset, list[int]]:
        """Return training samples for early stopping, at most `count`."""
        return self.data.set_aside(count)

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
        models = self.recipe.models
        dtype = getattr(torch, models.scorer_dtype)
        root = weights_root(models.base, models.manifest)
        return load_scorer(name, root, device=self.device, dtype=dtype)

    def add_lora(self, host: LoraHost, name: str, recipe: LoraRecipe) -> dict[str, nn.Parameter]:
        """Add a trainable adapter and return its parameters."""
        with self.shards.gathered():  # an adapter is made for the whole weight
            host.add_lora(name, recipe, self.recipe.seed)
        return host.lora_parameters(name)

    def assemble(self) -> None:
        """Make the models whole and float32, before adapters are merged and the bundle is saved.

        The main process puts shared-out models together, and takes the weights that were kept in
        bfloat16 from the bundle that the stage started from. Nothing is computed after that.

        Raises:
            ModelError: If that bundle is no longer what it was.
        """
        self.shards.assemble(self.model)
        if self.recipe.models.frozen_dtype == "float32":
            return
        is_main = self.share.world.is_main
        move(self.model, torch.device("cpu" if is_main else "meta"))
        if is_main:
            if bundle_sha(self.model_in) != self.inputs["model"]:
                raise ModelError(
                    f"{self.model_in} has changed while the stage trained, and adapters are merged "
                    "into its weights: bring the old one back, and resume from the checkpoint"
                )
            take_originals(self.model, self.model_in)

    def save(self, model_out: Path) -> None:
        """Write the trained bundle, with the one that it started from as its parent.

        Of several processes, which all hold it, the main one writes.
        """
        if self.share.world.is_main:
            self.model.save(model_out, stage=self.stage, parent=self.inputs["model"])


@contextmanager
def open_setting(
    stage: Stage, recipe: Recipe, data: Path, model_in: Path, store: "Store | None" = None
) -> Iterator[Setting]:
    """Load what a stage needs, and compute reproducibly until the context ends.

    Args:
        stage: Name of the stage and of its section in the recipe.
        recipe: The whole recipe.
        data: Folder with the splits `train` and `heldout`, or what validation left of shards that
            are streamed.
        model_in: Bundle to start from.
        store: Opens shards in a bucket. None takes AWS_ENDPOINT_URL and the usual credentials
            from the environment.

    Raises:
        DataError: If a split is missing or damaged.
        ModelError: If the bundle is missing or damaged.
        TrainingError: If the processes that train together cannot share out a batch, or were given
            different things.
    """
    section: TrainedStage = getattr(recipe, stage)
    share = Share(stage, section, current_world())
    models = recipe.models
    with open_data(data, stage, recipe, share, store) as samples:
        inputs = {**samples.revisions, "model": bundle_sha(model_in)}
        scorer = section.scorer_used
        if scorer is not None:
            folder = find_scorer(scorer, weights_root(models.base, models.manifest))
            inputs["scorer"] = folder_sha256(folder)
        share.world.require_same(
            {"recipe": json_sha256(recipe.model_dump(mode="json")), **inputs},
            advice="give all of them the same",
        )
        with (
            exact_numerics(models.num_threads, is_rounded=models.computes_in_bfloat16) as device,
            _loaded(stage, recipe, model_in, share.world, device) as (model, shards),
        ):
            yield Setting(stage, recipe, model, samples, share, device, inputs, model_in, shards)


@contextmanager
def _loaded(
    stage: Stage, recipe: Recipe, model_in: Path, world: World, device: torch.device
) -> Iterator[tuple[AutoEncoder, Shards]]:
    """Load the model, whole or shared out as the recipe says."""
    is_lowered = recipe.models.frozen_dtype == "bfloat16"
    is_whole = recipe.models.sharding == "replicated"
    # What is not kept as it is read is brought into its form on the CPU.
    first = device if is_whole and not is_lowered else torch.device("cpu")
    model = _as_in_recipe(AutoEncoder.load(model_in, device=first), recipe)
    if recipe.models.recompute_blocks:
        recompute_blocks(model)
    if not is_whole:
        with meeting_place(world):
            yield model, shard(model, stage, recipe, world, device)
        return
    if is_lowered:
        keep_frozen_lowered(model, stage, recipe)
        move(model, device)
    yield model, Shards(world)


def _as_in_recipe(model: AutoEncoder, recipe: Recipe) -> AutoEncoder:
    """Condition and draw as the recipe says, whatever the bundle was trained with before."""
    model.condition_source = recipe.models.condition_source
    model.image_size = recipe.data.image_size
    model.condition_tokens = recipe.models.condition_tokens or model.condition_tokens
    changes = {
        "condition_source": model.condition_source,
        "condition_tokens": model.condition_tokens,
        "image_size": model.image_size,
    }
    model.info = model.info.model_copy(update=changes)
    model.decoder.latent_shape(model.image_size)  # refuses a size that the decoder cannot draw
    return model


class Rows(Protocol):
    """Rows of one or more tensors for some samples."""

    def of(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return each tensor's rows for these samples, in this order.

        Processes that share models out ask equally often.
        """


class ComputedRows:
    """Rows that are computed when they are asked for, and not kept."""

    def __init__(self, compute: Callable[[list[int]], tuple[Tensor, ...]], shards: Shards) -> None:
        """Compute nothing yet."""
        self._compute, self._shards = compute, shards

    def of(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """See `Rows`."""
        with torch.no_grad(), self._shards.gathered():
            parts = [self._compute(chunk) for chunk in chunks(indices)]
        return tuple(torch.cat(rows) for rows in zip(*parts, strict=True))


class KeptRows:
    """Rows of one or more tensors for some samples, computed once.

    The chunks in which they are computed depend on the samples alone, so that a resumed run
    holds the same numbers to the bit, and so does each of several processes, which take turns.
    """

    def __init__(
        self,
        indices: Sequence[int],
        compute: Callable[[list[int]], tuple[Tensor, ...]],
        kept: Sequence[int],
        world: World,
    ) -> None:
        """Compute the rows of `indices`, and keep those of `kept`, in the same order."""
        self.kept = list(kept)
        self._place = {index: place for place, index in enumerate(kept)}
        parts, cut = [], chunks(indices)
        with torch.no_grad():
            for chunk, tensors in zip(cut, world.in_turns(cut, compute), strict=True):
                rows = [row for row, index in enumerate(chunk) if index in self._place]
                parts.append([tensor[rows] for tensor in tensors])
        self._tensors = [torch.cat(rows) for rows in zip(*parts, strict=True)]

    def of(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return each tensor's rows for these samples, in this order."""
        places = [self._place[index] for index in indices]
        return tuple(tensor[places] for tensor in self._tensors)


def whole_rewards(share: Share, rewards: Rewards) -> Rewards:
    """Put the rewards of all processes' rollouts together, in the order of the batch."""
    total_N, *parts = share.whole(rewards.total_N, *rewards.parts.values())
    return Rewards(total_N, dict(zip(rewards.parts, parts, strict=True)))


def chunks(indices: Sequence[int]) -> list[list[int]]:
    """Cut indices into lists that fit through a frozen model at once."""
    return [list(indices[i : i + CHUNK]) for i in range(0, len(indices), CHUNK)]
