"""Stage 1: the decoder learns to draw what long captions say.

The frozen encoder reads a caption; the connector turns its hidden states into the decoder's
condition; connector and decoder learn the velocity of the straight path from the picture's
latents to noise (flow matching).

Differs from arXiv:2509.09666: the frozen halves run only once, before the first update (the
VAE's latents and the encoder's hidden states are kept, unless samples are streamed), and training
times are shifted as the sampler's are.

Shape letters: B pairs, T condition tokens, D width, C, H, W of latents.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from uae.data.dataset import Samples
from uae.flow_matching.path import interpolate
from uae.flow_matching.schedule import draw_training_times
from uae.models.autoencoder import AutoEncoder
from uae.models.captioning import continue_captions
from uae.objectives.loss import Loss
from uae.recipe import Recipe
from uae.stages.setting import CHUNK, Setting, open_setting
from uae.training.checkpoint import Checkpoints
from uae.training.loop import Run
from uae.training.share import Part
from uae.training.update import PartLosses, update_parameters

if TYPE_CHECKING:
    from uae.store.s3 import Store

STAGE: Final = "pretrain_decoder"
_NUM_VALIDATED = 2 * CHUNK


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
    """Pretrain connector and decoder on captions, and write the bundle to `model_out`.

    Args:
        recipe: Its section `pretrain_decoder` decides; `lora: null` trains the whole decoder.
        data: Folder with the splits `train` and `heldout`.
        model_in: Bundle to start from.
        model_out: Where the trained bundle goes.
        checkpoints: Where to keep checkpoints and resume from; None keeps none.
        log_dir: Where metrics.jsonl and tensorboard/ go; None writes neither.
        store: Opens streamed shards in a bucket; see `open_setting`.

    Returns:
        The last update's metrics. `validation/loss` well below `validation/loss_shuffled`,
        where pictures have exchanged their captions, shows that the condition is used.

    Raises:
        DataError: If a split is missing or damaged.
        ModelError: If the bundle is missing or damaged.
        TrainingError: If a number is not finite, or a checkpoint is of no use.
    """
    with open_setting(STAGE, recipe, data, model_in, store) as setting:
        model = setting.model
        pairs, shown = Pairs(setting, setting.train, setting.used()), setting.data.some_captions()
        measured = setting.some_heldout(_NUM_VALIDATED)
        heldout = Pairs(setting, setting.heldout, measured).of(measured)
        run = Run(
            STAGE,
            recipe,
            trained_parameters(setting),
            inputs=setting.inputs,
            share=setting.share,
            measure=lambda: validation_losses(setting, heldout),
            checkpoints=checkpoints,
            log_dir=log_dir,
        )
        with run:
            for step in run.steps():
                batch, own = setting.batch(step)
                losses = flow_matching_losses(setting, pairs, own, step)
                metrics = update_parameters(run, step, losses, setting.ids(batch))
                run.record(metrics | setting.data.metrics(), num_images=len(batch))
        summary = run.finish() | {"truncated_captions_share": truncated_share(model, shown)}
        setting.assemble()
        if recipe.pretrain_decoder.lora is not None:
            model.decoder.merge_lora(STAGE)
        setting.save(model_out)
    return summary


def trained_parameters(setting: Setting) -> dict[str, nn.Parameter]:
    """Return the connector's parameters, and the decoder's or those of a new adapter on it."""
    model, lora = setting.model, setting.recipe.pretrain_decoder.lora
    connector = model.connector.requires_grad_(True).named_parameters()
    if lora is None:
        decoder = dict(model.decoder.transformer.requires_grad_(True).named_parameters())
    else:
        decoder = setting.add_lora(model.decoder, STAGE, lora)
    trained = {f"connector/{name}": parameter for name, parameter in connector}
    return trained | {f"decoder/{name}": parameter for name, parameter in decoder.items()}


class Pairs:
    """Pictures and captions after the frozen VAE and encoder."""

    def __init__(self, setting: Setting, dataset: Samples, indices: Sequence[int] | None) -> None:
        model = setting.model

        def compute(chunk: list[int]) -> tuple[Tensor, ...]:
            images = setting.images(dataset, chunk)
            captions = [dataset[index].caption for index in chunk]
            return (model.decoder.encode_images(images), *read_captions(model, captions, images))

        self._rows = setting.rows(dataset, indices, compute)

    def of(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents (B, C, H, W), hidden states (B, T, D) and their mask (B, T)."""
        latents, hidden, mask = self._rows.of(indices)
        return latents, hidden, mask


def read_captions(
    model: AutoEncoder, captions: Sequence[str], images_BCHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the connector gets of given captions, by the model's condition source.

    Returns:
        Hidden states (B, T, D) and their mask (B, T), T = condition_tokens. What does not fit
        of a caption is cut off.
    """
    encoder, limit = model.encoder, model.condition_tokens
    with model.reading():
        if model.condition_source == "reencode_text":
            hidden, mask = encoder.hidden_states(captions, max_tokens=limit, overlong="truncate")
        else:
            ids, mask = _as_completions(model, captions)
            prompts = encoder.caption_prompt(images_BCHW)
            state = encoder.read_prompts(prompts, encoder.image_features(prompts))
            hidden = continue_captions(encoder, state, ids)
    missing = limit - hidden.shape[1]
    return pad(hidden, (0, 0, 0, missing)), pad(mask, (0, missing))


def flow_matching_losses(
    setting: Setting, pairs: Pairs, indices: Sequence[int], step: int
) -> PartLosses:
    """Return the flow-matching loss of a batch, part by part, at times drawn for this update."""
    section, share = setting.recipe.pretrain_decoder, setting.share
    noise_BCHW = share.rows(setting.noise(share.num_samples, step, "noise"))
    drawn = draw_training_times(
        share.num_samples,
        logit_mean=section.logit_mean,
        logit_std=section.logit_std,
        shift=setting.model.decoder.shift,
        generator=setting.generator(step, "times"),
    )
    t_B = share.rows(drawn).to(setting.device)
    latents, hidden, mask = pairs.of(indices)

    def part_losses(part: Part) -> Iterator[Loss]:
        rows = part.rows
        context = setting.model.connect(hidden[rows], mask[rows])
        seen = (latents[rows], context, noise_BCHW[rows], t_B[rows])
        loss = flow_matching_loss(setting.model, *seen)
        yield Loss(loss / part.num_parts, {})

    return part_losses


def flow_matching_loss(
    model: AutoEncoder, latents_BCHW: Tensor, context_BTD: Tensor, noise_BCHW: Tensor, t_B: Tensor
) -> Tensor:
    """Return the mean squared error of the velocity, whose target is noise - data."""
    x_BCHW = interpolate(latents_BCHW, noise_BCHW, t_B)
    velocity = model.decoder.velocity(x_BCHW, t_B, context_BTD).float()
    return ((velocity - (noise_BCHW - latents_BCHW)) ** 2).mean()


def validation_losses(setting: Setting, heldout: tuple[Tensor, Tensor, Tensor]) -> dict[str, float]:
    """Return the held-out loss with each picture's own caption and with its neighbour's."""
    latents, hidden, mask = heldout
    noise_BCHW = setting.noise(len(latents), "validation")
    # Evenly spread times, the same at every measurement: only the weights change the loss.
    t_B = (torch.arange(len(latents), device=setting.device) + 0.5) / len(latents)
    context = setting.model.connect(hidden, mask)
    losses = {
        name: flow_matching_loss(setting.model, latents, shown, noise_BCHW, t_B).item()
        for name, shown in (("loss", context), ("loss_shuffled", context.roll(1, dims=0)))
    }
    return {f"validation/{name}": value for name, value in losses.items()}


def _as_completions(model: AutoEncoder, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the tokens that the model would have written for these captions, and their mask."""
    tokenizer = model.encoder.tokenizer
    rows = model.encoder.token_ids(captions)
    rows = [[*ids[: model.condition_tokens - 1], tokenizer.eos_token_id] for ids in rows]
    length = max(map(len, rows))
    padded = [ids + [tokenizer.pad_token_id] * (length - len(ids)) for ids in rows]
    mask = [[True] * len(ids) + [False] * (length - len(ids)) for ids in rows]
    return torch.tensor(padded, device=model.device), torch.tensor(mask, device=model.device)


def truncated_share(model: AutoEncoder, captions: Sequence[str]) -> float:
    """Return the share of captions that have more tokens than the decoder reads."""
    in_context = model.condition_source == "in_context"
    room = model.condition_tokens - (1 if in_context else model.encoder.num_template_tokens)
    overlong = [len(ids) > room for ids in model.encoder.token_ids(captions)]
    return sum(overlong) / max(len(overlong), 1)
