"""One update of the trained parameters: minibatches, accumulation, and the checks.

The passes of a minibatch are shared out among the processes (`uae.training.share`). Their
gradients are added up before the optimizer moves, so every process moves alike.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from uae.errors import TrainingError
from uae.objectives.loss import Loss, require_first_ratio
from uae.training.distribution import World
from uae.training.loop import Run
from uae.training.share import Part

PartLosses = Callable[[Part], Iterable[Loss]]
"""Gives the losses of one backward pass's samples.

The losses of all parts of a minibatch, in all processes, add up to the minibatch's loss, so that
accumulation and processes change memory and time and not the result.
"""

Weighted = tuple[Mapping[str, float], int]  # metrics of a loss, and their weight


def update_parameters(
    run: Run,
    step: int,
    part_losses: PartLosses,
    sample_ids: Sequence[str],
    *,
    ratio_tolerance: float | None = None,
) -> dict[str, float]:
    """Take one optimizer step for each minibatch.

    Where a loss or gradient is not finite, in whichever process, all of them leave out this step
    and those of the minibatches that would follow: the update is skipped. Steps that earlier
    minibatches of the same rollout have taken stand.

    Args:
        run: The run whose optimizer steps.
        step: Number of the update.
        part_losses: The objective; see `PartLosses`.
        sample_ids: Of the whole batch.
        ratio_tolerance: How far the first minibatch's ratio may be from 1, and the KL of
            update 0 from 0. None for losses without a ratio; a KL must then be exactly 0.

    Returns:
        The objective's and the optimizer's metrics, averaged; `loss` is that of a minibatch. They
        are those of the whole batch in every process. Of a skipped update those that are finite,
        without `loss`.

    Raises:
        TrainingError: If a ratio or KL is not what it must be, or too many updates were skipped.
    """
    share, own_ids = run.share, run.share.of(sample_ids)
    run.heed_interruption()  # a rollout may have taken minutes
    minibatch_size = len(sample_ids) // len(share.minibatches)
    of_losses: list[Weighted] = []
    of_steps: list[Mapping[str, float]] = []
    total = 0.0
    for number, parts in enumerate(share.minibatches):
        not_finite: list[str] = []
        for part in parts:
            for loss in part_losses(part):
                value = run.optimizer.backward(loss.loss)  # also NaN: others share the passes
                if not math.isfinite(value):
                    not_finite += own_ids[part.rows]
                elif number == 0:
                    _check_first(loss, step, ratio_tolerance)
                total += value
                of_losses.append((loss.metrics, loss.weight))
                if number == 0:
                    run.heed_interruption()
        ids = sample_ids[number * minibatch_size : (number + 1) * minibatch_size]
        behind = partial(_behind, run, part_losses, parts, own_ids)
        taken = _step(run, step, ids, not_finite, behind)
        if taken is None:
            break
        of_steps.append(taken)
    of_losses_everywhere, total = _of_all_processes(share.world, of_losses, total)
    metrics = _averaged([*of_losses_everywhere, *of_steps])
    if run.skipped.has(step):
        return {name: value for name, value in metrics.items() if math.isfinite(value)}
    return metrics | {"loss": total / len(share.minibatches)}


def _step(
    run: Run,
    step: int,
    sample_ids: Sequence[str],
    not_finite: Sequence[str],
    behind_gradient: Callable[[], list[str]],
) -> Mapping[str, float] | None:
    """Take a minibatch's optimizer step, or none in any process if a number is not finite.

    Args:
        run: The run.
        step: Number of the update.
        sample_ids: Of the minibatch.
        not_finite: Those of this process with such a loss.
        behind_gradient: Finds those of this process with such a gradient.
    """
    world = run.share.world
    found = {name for names in world.exchange(list(not_finite)) for name in names}
    if found:
        run.optimizer.clear()
        run.skip("loss", [name for name in sample_ids if name in found])
        return None
    world.add_up_gradients(list(run.trained.values()))
    metrics = run.optimizer.step(step)  # the norm is the same to the bit in all processes
    if metrics is None:
        found = {name for names in world.exchange(behind_gradient()) for name in names}
        # None where only the sum is too large: then all of them are behind it.
        run.skip("gradient", [name for name in sample_ids if name in found] or sample_ids)
    return metrics


def _behind(
    run: Run, part_losses: PartLosses, parts: Sequence[Part], own_ids: Sequence[str]
) -> list[str]:
    """Return this process's samples behind a gradient that is not finite: makes each pass again.

    Of weights that are shared out, a piece's gradient is the sum over the processes. Then all
    processes' samples of that pass are named.
    """
    found: list[str] = []
    for part in parts:
        for loss in part_losses(part):
            run.optimizer.backward(loss.loss)
        whole, pieces = run.optimizer.is_finite()
        run.optimizer.clear()
        if not (whole and all(run.share.world.exchange(pieces))):
            found += own_ids[part.rows]
    return found


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


def _of_all_processes(
    world: World, of_losses: Sequence[Weighted], total: float
) -> tuple[list[Mapping[str, float]], float]:
    """Return each loss's metrics over all processes, weighted, and the sum of their totals."""
    everyone = world.exchange([of_losses, total])
    if len(everyone) == 1:
        return [metrics for metrics, _ in of_losses], total
    same_place = zip(*(rows for rows, _ in everyone), strict=True)
    return [_weighted_mean(rows) for rows in same_place], sum(one for _, one in everyone)


def _weighted_mean(rows: Sequence[Weighted]) -> dict[str, float]:
    total_weight = sum(weight for _, weight in rows)
    return {
        name: max(metrics[name] for metrics, _ in rows)
        if _is_largest(name)
        else sum(metrics[name] * weight for metrics, weight in rows) / total_weight
        for name in rows[0][0]
    }


def _averaged(recorded: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every metric over the rows that have it; of a largest value, the largest."""
    found: dict[str, list[float]] = {}
    for metrics in recorded:
        for name, value in metrics.items():
            found.setdefault(name, []).append(value)
    return {
        name: max(values) if _is_largest(name) else sum(values) / len(values)
        for name, values in found.items()
    }


def _is_largest(name: str) -> bool:
    return "max" in name
