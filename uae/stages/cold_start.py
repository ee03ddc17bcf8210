"""Cold start: encoder, connector and decoder learn together that the picture should come back.

The model captions a picture, draws it again from the caption, and the loss 1 - cos between a
frozen image encoder's features of the two is differentiated through the scorer, the VAE and
every step of the sampler.

With the condition source `reencode_text` the gradient reaches the encoder only as the reader of
the caption; the words themselves pass none. With `in_context`, the authors' form, it also
passes through the hidden states' view of the picture.

Differs from arXiv:2509.09666: the captions are those that the model writes greedily at the start
of the stage, so they are written once; the adapters are merged in float32 at the end.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from uae.data.dataset import Dataset
from uae.objectives.loss import Loss
from uae.recipe import Recipe, SamplerRecipe
from uae.rewards.reconstruction import ReconstructionScorer
from uae.stages.caption_book import CaptionBook, write_book
from uae.stages.setting import CHUNK, Setting, open_setting
from uae.training.checkpoint import Checkpoints
from uae.training.loop import Run
from uae.training.share import Part
from uae.training.update import PartLosses, update_parameters

STAGE: Final = "cold_start"


def train(
    recipe: Recipe,
    data: Path,
    model_in: Path,
    model_out: Path,
    *,
    checkpoints: Checkpoints | None = None,
    log_dir: Path | None = None,
) -> dict[str, float]:
    """Train all three parts on the semantic reconstruction loss; write the merged bundle.

    Args:
        recipe: Its section `cold_start` decides.
        data: Folder with the splits `train` and `heldout`.
        model_in: Bundle to start from.
        model_out: Where the trained bundle goes.
        checkpoints: Where to keep checkpoints and resume from; None keeps none.
        log_dir: Where metrics.jsonl and tensorboard/ go; None writes neither.

    Returns:
        The last update's metrics, and `start/heldout/reward` beside `heldout/reward`.

    Raises:
        DataError: If a split is missing or damaged.
        ModelError: If the bundle or the scorer is missing or damaged.
        TrainingError: If a number is not finite, or a checkpoint is of no use.
    """
    with open_setting(STAGE, recipe, data, model_in) as setting:
        scorer = setting.scorer(recipe.cold_start.scorer)
        originals = Originals(setting, scorer, setting.train, setting.used())
        heldout = Originals(setting, scorer, setting.heldout, setting.some_heldout(CHUNK))
        run = Run(
            STAGE,
            recipe,
            add_trained_parameters(setting),
            inputs=setting.inputs,
            measure=lambda: heldout_reward(setting, heldout),
            checkpoints=checkpoints,
            log_dir=log_dir,
        )
        with run:
            for step in run.steps():
                batch, own = setting.batch(step)
                losses = reconstruction_losses(setting, originals, own, step)
                metrics = update_parameters(run, step, losses, setting.ids(batch))
                run.record(metrics, num_images=len(batch))
        summary = run.finish()
        setting.assemble()
        setting.model.encoder.merge_lora(STAGE)
        setting.model.decoder.merge_lora(STAGE)
        setting.save(model_out)
    return summary


def add_trained_parameters(setting: Setting) -> dict[str, nn.Parameter]:
    """Add an adapter to encoder and decoder; return its parameters and the connector's."""
    section, model = setting.recipe.cold_start, setting.model
    model.connector.requires_grad_(True)
    parts = {
        "encoder": setting.add_lora(model.encoder, STAGE, section.encoder_lora),
        "connector": dict(model.connector.named_parameters()),
        "decoder": setting.add_lora(model.decoder, STAGE, section.decoder_lora),
    }
    return {f"{part}/{name}": p for part, found in parts.items() for name, p in found.items()}


class Originals:
    """Pictures with their captions and features, both computed once by the starting model."""

    def __init__(
        self,
        setting: Setting,
        scorer: ReconstructionScorer,
        dataset: Dataset,
        indices: Sequence[int],
    ) -> None:
        max_new_tokens = setting.recipe.cold_start.max_new_tokens
        self.dataset, self.indices, self.scorer = dataset, list(indices), scorer
        self.book: CaptionBook = write_book(
            setting, dataset, indices, max_new_tokens=max_new_tokens
        )
        self._features = setting.rows(
            dataset, indices, lambda i: (scorer.features(setting.images(dataset, i)),)
        )

    def score(self, indices: Sequence[int], reconstructions_BCHW: Tensor) -> Tensor:
        """Return the cosine (B,) between each picture and its reconstruction, differentiable."""
        (features,) = self._features.of(indices)
        return self.scorer.score(reconstructions_BCHW, features)


def reconstruction_losses(
    setting: Setting, originals: Originals, indices: Sequence[int], step: int
) -> PartLosses:
    """Return mean(1 - cos) of a batch, part by part, from noise drawn for this update."""
    share = setting.share
    noise_BCHW = share.rows(setting.noise(share.num_samples, step, "noise"))

    def part_losses(part: Part) -> Iterator[Loss]:
        rows = part.rows
        images = redrawn(setting, originals, indices[rows], noise_BCHW[rows], training=True)
        reward = originals.score(indices[rows], images).mean()
        yield Loss((1 - reward) / part.num_parts, {"reward/mean": reward.item()})

    return part_losses


def heldout_reward(setting: Setting, heldout: Originals) -> dict[str, float]:
    """Return the mean cosine on held-out pictures, from the same noise every time."""
    noise_BCHW = setting.noise(len(heldout.indices), "heldout")
    images = redrawn(setting, heldout, heldout.indices, noise_BCHW, training=False)
    return {"heldout/reward": heldout.score(heldout.indices, images).mean().item()}


def redrawn(
    setting: Setting,
    originals: Originals,
    indices: Sequence[int],
    noise_BCHW: Tensor,
    *,
    training: bool,
) -> Tensor:
    """Draw pictures again from their captions: (B, 3, H, W), RGB in [0, 1]."""
    model, num_steps = setting.model, setting.recipe.cold_start.num_sampling_steps
    images = setting.images(originals.dataset, indices)
    context = model.condition(originals.book.of(indices), images)
    sampler = SamplerRecipe(num_steps=num_steps, guidance_scale=1.0)
    return model.generate_from_condition(context, noise_BCHW, sampler, checkpoint=training)
