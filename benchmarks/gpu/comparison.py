"""What was planned beside what was measured, for a stage and for each of its phases.

Operations are those of `uae plan`: the hardware's, what is computed again in the backward pass
included. Times are means over the measured updates.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmarks.gpu.device import Device
from benchmarks.gpu.watching import BETWEEN, START
from benchmarks.measurement import Measurement
from uae.planning.plan import PhasePlan, StagePlan

TOLERANCE = 0.15  # of a prediction
UFG = "understanding_for_generation"
LEAST_UFG_PICTURES = 1.5  # a second
LEAST_DECODER_SHARE = 45.0  # % of the measured bfloat16 rate
_DECODER_PHASES = ("draw", "train")  # of UfG: they are the decoder, forward and backward


@dataclass(frozen=True)
class Pair:
    """A planned number and the measured one, None where there is none."""

    planned: float | None
    measured: float | None

    @property
    def deviation(self) -> float | None:
        """Of the measured number from the planned one, as a share of the latter."""
        if not self.planned or self.measured is None:
            return None
        return self.measured / self.planned - 1

    @property
    def is_outside(self) -> bool:
        """Whether it is further off than it should be."""
        return self.deviation is not None and abs(self.deviation) > TOLERANCE


@dataclass(frozen=True)
class PhaseFigures:
    """One phase of an update; those that only one side knows have no numbers of the other."""

    name: str
    flops: int
    floor_seconds: float | None
    seconds: float | None
    share: float | None  # of the measured rate, of operations or where these bind of bytes
    bytes: Pair  # held at most, what the stage holds all the time included


class StageFigures:
    """One stage."""

    def __init__(self, plan: StagePlan, found: dict[str, Any] | None, device: Device | None):
        """Put together what is known.

        Args:
            plan: From `uae plan`.
            found: From `stage_process.measure`; None where nothing was measured.
            device: Where; None as well.
        """
        self.plan, self.found, self.device = plan, found, device
        self._updates: list[dict[str, Any]] = found["updates"] if found else []
        self._peaks: dict[str, dict[str, int]] = (found and found["peaks"]) or {}

    @property
    def name(self) -> str:
        """The stage's."""
        return self.plan.stage

    @property
    def seconds(self) -> Pair:
        """Of an update."""
        found = fmean(update["seconds"] for update in self._updates) if self._updates else None
        return Pair(self.plan.update_seconds, found)

    @property
    def rollouts_per_second(self) -> Pair:
        """Captions, trajectories or pairs."""
        found = self.seconds.measured
        count = self.plan.batches.rollouts
        return Pair(self.plan.rollouts_per_second, count / found if found else None)

    @property
    def bytes(self) -> Pair:
        """The most that the stage's tensors take, its start and held-out measurements included."""
        found = max((peak["allocated"] for peak in self._peaks.values()), default=None)
        return Pair(self.plan.memory_bytes, found)

    @property
    def reserved_bytes(self) -> int | None:
        """The most that the allocator took for these tensors."""
        return max((peak["reserved"] for peak in self._peaks.values()), default=None)

    @property
    def between_bytes(self) -> int | None:
        """The most of it before and between updates, measuring held-out samples included."""
        found = [self._peaks[name]["allocated"] for name in (START, BETWEEN) if name in self._peaks]
        return max(found, default=None)

    @property
    def fraction(self) -> float | None:
        """Share of the GPU's nominal rates that is reached: what `uae plan --fraction` means."""
        found = self.seconds.measured
        return self.plan.update_floor_seconds / found if found else None

    @property
    def share(self) -> float | None:
        """Share of the measured bfloat16 rate that the whole update reaches."""
        return self._share_of_rate(self.plan.update_flops, self.seconds.measured)

    @property
    def decoder_share(self) -> float | None:
        """In UfG, share of the rate that the decoder reaches, forward and backward."""
        if self.name != UFG:
            return None
        phases = [phase for phase in self.phases if phase.name in _DECODER_PHASES]
        seconds = sum(phase.seconds or 0.0 for phase in phases)
        return self._share_of_rate(sum(phase.flops for phase in phases), seconds)

    @property
    def phases(self) -> list[PhaseFigures]:
        """Those of an update, in the plan's order; then those that are not planned."""
        planned: dict[str, list[PhasePlan]] = {}
        for phase in self.plan.phases:
            planned.setdefault(phase.name, []).append(phase)
        seen = {name for update in self._updates for name in update["phases"]}
        names = [*planned, *sorted(seen - planned.keys())]
        return [self._phase(name, planned.get(name, [])) for name in names]

    def pairs(self) -> dict[str, Pair]:
        """Return what is held to the prediction."""
        return {
            "seconds of an update": self.seconds,
            "pictures per second": self.rollouts_per_second,
            "bytes at most": self.bytes,
        }

    def targets(self) -> list[Measurement]:
        """Return what is held to a target."""
        if self.name != UFG or self.rollouts_per_second.measured is None:
            return []
        rate, share = self.rollouts_per_second.measured, 100 * (self.decoder_share or 0.0)
        return [
            Measurement("UfG, pictures trained", rate, "1/s", at_least=LEAST_UFG_PICTURES),
            Measurement(
                "UfG, decoder forward and backward, of the bfloat16 rate",
                share,
                "%",
                at_least=LEAST_DECODER_SHARE,
            ),
        ]

    def _phase(self, name: str, planned: list[PhasePlan]) -> PhaseFigures:
        seconds = None
        if self._updates:
            seconds = fmean(update["phases"].get(name, 0.0) for update in self._updates)
        flops, read = sum(p.flops for p in planned), sum(p.bytes_read for p in planned)
        share = self._share_of_rate(flops, seconds)
        if any(p.is_memory_bound for p in planned) and self.device and seconds:
            share = read / seconds / self.device.bytes_per_second
        held = sum(self.plan.held_bytes.values())
        most = max((held + sum(p.memory_bytes.values()) for p in planned), default=None)
        peak = self._peaks.get(name)
        return PhaseFigures(
            name,
            flops,
            sum(p.floor_seconds for p in planned) if planned else None,
            seconds,
            share,
            Pair(most, peak["allocated"] if peak else None),
        )

    def _share_of_rate(self, flops: int, seconds: float | None) -> float | None:
        if not seconds or self.device is None or not flops:
            return None
        return flops / seconds / self.device.flops
