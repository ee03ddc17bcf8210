"""One update of the trained parameters: minibatches, accumulation, and the checks."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from uae.errors import TrainingError
from uae.objectives.loss import Loss, require_first_ratio
from uae.training.batches import split_batch
from uae.training.loop import Run

PartLosses = Callable[[slice, Sequence[slice]], Iterable[Loss]]
"""Gives the losses of one backward pass's samples, among those of the whole minibatch.

The losses of all parts of a minibatch add up to the minibatch's loss, so that accumulation
changes memory and not the result.
"""


def update_parameters(
    run: Run,
    step: int,
    part_losses: PartLosses,
    sample_ids: Sequence[str],
    *,
    ratio_tolerance: float | None = None,
) -> dict[str, float]:
    """Take one optimizer step for each minibatch.

    Args:
        run: The run whose optimizer steps.
        step: Number of the update.
        part_losses: The objective; see `PartLosses`.
        sample_ids: Of the whole batch.
        ratio_tolerance: How far the first minibatch's ratio may be from 1, and the KL of
            update 0 from 0. None for losses without a ratio; a KL must then be exactly 0.

    Returns:
        The objective's and the optimizer's metrics, averaged; `loss` is that of a minibatch.

    Raises:
        TrainingError: If a ratio, KL, loss or gradient is not what it must be.
    """
    minibatches = split_batch(run.section)
    recorded: list[Mapping[str, float]] = []
    total = 0.0
    for number, parts in enumerate(minibatches):
        for part in parts:
            for loss in part_losses(part, parts):
                if number == 0:
                    _check_first(loss, step, ratio_tolerance)
                run.optimizer.backward(loss.loss, sample_ids[part])
                total += loss.loss.item()
                recorded.append(loss.metrics)
        ids = sample_ids[parts[0].start : parts[-1].stop]
        recorded.append(run.optimizer.step(step, ids))
    return _averaged(recorded) | {"loss": total / len(minibatches)}


def _check_first(loss: Loss, step: int, ratio_tolerance: float | None) -> None:
    """Nothing has moved since the rollout; before update 0, nothing since the reference."""
    if ratio_tolerance is not None:
        require_first_ratio(loss, ratio_tolerance)
    kl = loss.metrics.get("kl", 0.0)
    tolerance = ratio_tolerance or 0.0
    if step == 0 and not abs(kl) <= tolerance:
        raise TrainingError(
            f"the KL to the start of the stage is {kl:.3g} before the first update and must be "
            "0: the adapter does not start as the identity, or the reference is another model"
        )


def _averaged(recorded: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every metric over the rows that have it; of a largest value, the largest."""
    found: dict[str, list[float]] = {}
    for metrics in recorded:
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
    return {
        name: max(values) if "max" in name else sum(values) / len(values)
        for name, values in found.items()
    }
