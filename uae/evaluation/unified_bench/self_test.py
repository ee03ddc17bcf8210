"""Whether a scorer sees anything: on pictures of which it is known how alike they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture
from uae.evaluation.context import Context
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.pictures import Pixels
from uae.evaluation.self_test import SelfTest
from uae.evaluation.unified_bench.scorers import SlotScorer

NUM_SCENES = 16
TOLERANCE = 1e-4  # of a picture's cosine with itself
DARKER, SHIFT_SHARE = 0.95, 1 / 64  # of a copy


def self_test_pictures(data: Path) -> list[Pixels]:
    """Return drawn scenes and photographs."""
    scenes = load_benchmark_scenes(data).scenes[:NUM_SCENES]
    drawn = [scene_picture(facts) for _, facts in scenes]
    return drawn + [known.picture for known in known_photographs()]


def slightly_changed(picture: Pixels) -> Pixels:
    """Return a copy that anybody would call the same picture: a little darker, a little aside."""
    shift = max(1, round(picture.shape[1] * SHIFT_SHARE))
    moved = np.concatenate([picture[:, :1].repeat(shift, axis=1), picture[:, :-shift]], axis=1)
    return (moved * DARKER).round().astype(np.uint8)


def check_scorers(scorers: Mapping[str, SlotScorer], context: Context) -> dict[str, Any]:
    """Refuse scorers that do not agree with what is known.

    Raises:
        EvaluationError: With the accuracy of every slot.
    """
    pictures = self_test_pictures(context.data)
    check = self_test(scorers, pictures, batch_size=context.judging.batch_size)
    check.require(context.judging.min_self_test_accuracy)
    return check.to_json()


def self_test(
    scorers: Mapping[str, SlotScorer], pictures: Sequence[Pixels], *, batch_size: int
) -> SelfTest:
    """Compare every picture with itself, with a changed copy, and with the next picture.

    A group is a slot. It is right that a picture is itself and nearer to its copy than to another
    picture, and wrong that the other one is as near. A scorer that always gives the same feature
    fails, and so does one whose preprocessing makes all pictures alike.
    """
    check = SelfTest("the scorers")
    copies = [slightly_changed(picture) for picture in pictures]
    for slot, scorer in scorers.items():
        first_BD, again_BD, copy_BD = (
            scorer.features(shown, batch_size=batch_size) for shown in (pictures, pictures, copies)
        )
        itself_B = (first_BD * again_BD).sum(dim=1)
        copy_B = (first_BD * copy_BD).sum(dim=1)
        other_B = (first_BD * first_BD.roll(-1, dims=0)).sum(dim=1)
        rows = zip(itself_B.tolist(), copy_B.tolist(), other_B.tolist(), strict=True)
        for itself, copy, other in rows:
            same = abs(itself - 1) <= TOLERANCE and copy > other
            check.add(slot, expected=True, answered=same)
            check.add(slot, expected=False, answered=other >= copy)
    return check
