import numpy as np
import pytest
import torch
from transformers.models.mask2former.image_processing_mask2former import Mask2FormerImageProcessor
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerForUniversalSegmentationOutput,
)

from uae.data.starter.vocabulary import CLASSES
from uae.errors import ModelError
from uae.evaluation.geneval.detector import Mask2FormerDetector, instances


def test_score_is_class_probability_times_mean_mask_probability():
    # one query: class logits (ln 3, 0, 0) are probabilities (.6, .2, .2), the last one "nothing"
    class_logits = torch.tensor([[3.0, 1.0, 1.0]]).log()
    mask_logits = torch.full((1, 4, 4), -5.0)
    mask_logits[0, 1:3, 2] = torch.tensor([3.0, 1.0]).log()[0]  # probability 3 / 4
    (found,) = instances(class_logits, mask_logits, ["cat", "dog"], size=(4, 4))
    assert found.name == "cat"
    assert found.score == pytest.approx(0.6 * 0.75, abs=1e-5)
    assert found.box == (2.0, 1.0, 3.0, 3.0)
    assert found.mask.sum() == 2


def test_empty_masks_and_low_scores_are_dropped():
    class_logits = torch.tensor([[9.0, 0.0], [-9.0, 0.0]])
    empty = torch.full((2, 4, 4), -5.0)
    assert instances(class_logits, empty, ["cat"], size=(4, 4)) == []
    full = -empty
    assert len(instances(class_logits, full, ["cat"], size=(4, 4))) == 1


def test_one_query_may_stand_for_two_classes():
    class_logits = torch.tensor([[5.0, 5.0, -5.0]])
    found = instances(class_logits, torch.full((1, 2, 2), 5.0), ["cat", "dog"], size=(8, 8))
    assert {d.name for d in found} == {"cat", "dog"}
    assert {d.box for d in found} == {(0.0, 0.0, 8.0, 8.0)}


def test_agrees_with_the_post_processing_of_transformers():
    """At 384 pixels and one candidate for each query both follow the same rule."""
    generator = torch.Generator().manual_seed(0)
    num_queries, names = 8, ["a", "b", "c", "d"]
    class_logits = 3 * torch.randn(1, num_queries, len(names) + 1, generator=generator)
    mask_logits = torch.nn.functional.interpolate(
        4 * torch.randn(1, num_queries, 6, 6, generator=generator), size=(384, 384)
    )
    output = Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=class_logits, masks_queries_logits=mask_logits
    )
    (theirs,) = Mask2FormerImageProcessor().post_process_instance_segmentation(
        output, threshold=0.3, target_sizes=[(384, 384)], return_binary_maps=True
    )
    ours = instances(class_logits[0], mask_logits[0], names, size=(384, 384))
    expected = sorted((i["score"], names[i["label_id"]]) for i in theirs["segments_info"])
    found = sorted((round(d.score, 6), d.name) for d in ours)
    assert expected
    assert [name for _, name in found] == [name for _, name in expected]
    assert [s for s, _ in found] == pytest.approx([s for s, _ in expected], abs=2e-6)


def test_detections_do_not_depend_on_the_batch(weights):
    detector = Mask2FormerDetector.load(weights / "detector", batch_size=2)
    assert detector.classes == CLASSES
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    together = detector.detect(pictures)
    assert len(together) == 3
    alone = detector.detect(pictures[2:])[0]
    assert [d.name for d in together[2]] == [d.name for d in alone]


def test_absent_detector_is_named(tmp_path):
    with pytest.raises(ModelError, match="no detector"):
        Mask2FormerDetector.load(tmp_path, batch_size=1)
