"""Cold start: encoder, connector and decoder learn together that the picture should come back.

The model captions a picture, draws it again from the caption, and the loss 1 - cos between a
frozen image encoder's features of the two is differentiated through the scorer, the VAE and
every step of the sampler.

With the condition source `reencode_text` the gradient reaches the encoder only as the reader of
the caption; the words themselves pass none. With `in_context`, the authors' form, it also
passes through the hidden states' view of the picture.

Differs from arXiv:2509.09666: the captions are those that the model writes greedily at the start
of the stage, so they are written once, or without the adapters where samples are streamed; the
adapters are merged in float32 at the end.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from torch import Tensor, nn

from uae.data.dataset import Samples
from uae.models.captioning import WrittenCaptions
from uae.objectives.loss import Loss
from uae.recipe import Recipe, SamplerRecipe
from uae.rewards.reconstruction import ReconstructionScorer
from uae.stages.caption_book import captions_of, some_captions
from uae.stages.setting import CHUNK, Setting, open_setting
from uae.training.checkpoint import Checkpoints
from uae.training.loop import Run
from uae.training.share import Part
from uae.training.update import PartLosses, update_parameters

if TYPE_CHECKING:
    from uae.store.s3 import Store

STAGE: Final = "cold_start"


def train(
    recipe: Recipe,
    data: Path,
    model_in: Path,
    model_out: Path,
    *,
    checkpoints: Checkpoints | None = None,
    log_dir: Path | None = None,
    store: "Store | None" = None,
) -> dict[str, float]:
    """Train all three parts on the semantic reconstruction loss; write the merged bundle.

    Args:
        recipe: Its section `cold_start` decides.
        data: Folder with the splits `train` and `heldout`.
        model_in: Bundle to start from.
        model_out: Where the trained bundle goes.
        checkpoints: Where to keep checkpoints and resume from; None keeps none.
        log_dir: Where metrics.jsonl and tensorboard/ go; None writes neither.
        store: Opens streamed shards in a bucket; see `open_setting`.

    Returns:
        The last update's metrics, and `start/heldout/reward` beside `heldout/reward`.

    Raises:
        DataError: If a split is missing or damaged.
        ModelError: If the bundle or the scorer is missing or damaged.
        TrainingError: If a number is not finite, or a checkpoint is of no use.
    """
    with open_setting(STAGE, recipe, data, model_in, store) as setting:
        scorer = setting.scorer(recipe.cold_start.scorer)
        originals = Originals(setting, scorer, setting.train, setting.used())
        shown = setting.some_heldout(CHUNK)
        heldout = Originals(setting, scorer, setting.heldout, shown)
        run = Run(
            STAGE,
            recipe,
            add_trained_parameters(setting),
            inputs=setting.inputs,
            share=setting.share,
            measure=lambda: heldout_reward(setting, scorer, heldout.of(shown)),
            checkpoints=checkpoints,
            log_dir=log_dir,
        )
        with run:
            for step in run.steps():
                batch, own = setting.batch(step)
                losses = reconstruction_losses(setting, scorer, originals.of(own), step)
                metrics = update_parameters(run, step, losses, setting.ids(batch))
                run.record(metrics | setting.data.metrics(), num_images=len(batch))
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


class Shown(NamedTuple):
    """Some pictures with what is known of them from the start."""

    images_BCHW: Tensor  # RGB in [0, 1]
    captions: WrittenCaptions
    features_BD: Tensor

    def part(self, rows: slice) -> "Shown":
        """Return some of them."""
        captions = some_captions(self.captions, rows)
        return Shown(self.images_BCHW[rows], captions, self.features_BD[rows])


class Originals:
    """Pictures with their captions and features, both those of the starting model."""

    def __init__(
        self,
        setting: Setting,
        scorer: ReconstructionScorer,
        dataset: Samples,
        indices: Sequence[int] | None,
    ) -> None:
        max_new_tokens = setting.recipe.cold_start.max_new_tokens
        self._setting, self._dataset = setting, dataset
        self._book = captions_of(setting, dataset, indices, max_new_tokens=max_new_tokens)
        self._features = setting.rows(
            dataset, indices, lambda i: (scorer.features(setting.images(dataset, i)),)
        )

    def of(self, indices: Sequence[int]) -> Shown:
        """Return some of the pictures."""
        (features,) = self._features.of(indices)
        images = self._setting.images(self._dataset, indices)
        return Shown(images, self._book.of(indices), features)


def reconstruction_losses(
    setting: Setting,
    scorer: ReconstructionScorer,
    shown: Shown,
    step: int,
) -> PartLosses:
    """Return mean(1 - cos) of a batch, part by part, from noise drawn for this update."""
    share = setting.share
    noise_BCHW = share.rows(setting.noise(share.num_samples, step, "noise"))

    def part_losses(part: Part) -> Iterator[Loss]:
        originals = shown.part(part.rows)
        images = redrawn(setting, originals, noise_BCHW[part.rows], training=True)
        reward = scorer.score(images, originals.features_BD).mean()
        yield Loss((1 - reward) / part.num_parts, {"reward/mean": reward.item()})

    return part_losses


def heldout_reward(
    setting: Setting, scorer: ReconstructionScorer, heldout: Shown
) -> dict[str, float]:
    """Return the mean cosine on held-out pictures, from the same noise every time."""
    noise_BCHW = setting.noise(len(heldout.images_BCHW), "heldout")
    images = redrawn(setting, heldout, noise_BCHW, training=False)
    return {"heldout/reward": scorer.score(images, heldout.features_BD).mean().item()}


def redrawn(setting: Setting, originals: Shown, noise_BCHW: Tensor, *, training: bool) -> Tensor:
    """Draw pictures again from their captions: (B, 3, H, W), RGB in [0, 1]."""
    model, num_steps = setting.model, setting.recipe.cold_start.num_sampling_steps
    context = model.condition(originals.captions, originals.images_BCHW)
    sampler = SamplerRecipe(num_steps=num_steps, guidance_scale=1.0)
    return model.generate_from_condition(context, noise_BCHW, sampler, checkpoint=training)
