import numpy as np
import pytest
import torch
from transformers.models.mask2former.image_processing_mask2former import Mask2FormerImageProcessor
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerForUniversalSegmentationOutput,
)

from uae.data.starter.vocabulary import CLASSES
from uae.errors import ModelError
from uae.evaluation.geneval.base import Detector, Renamed
from uae.evaluation.geneval.detector import Mask2FormerDetector, QueryOutput, instances
from uae.evaluation.geneval.rules import Detection


def unpadded(class_logits_QC, mask_logits_QHW, *, size):
    """What a model says about a picture that is neither padded nor resized."""
    return QueryOutput(class_logits_QC, mask_logits_QHW, padded=size, visible=size, size=size)


def test_score_is_class_probability_times_mean_mask_probability():
    # one query: class logits (ln 3, 0, 0) are probabilities (.6, .2, .2), the last one "nothing"
    class_logits = torch.tensor([[3.0, 1.0, 1.0]]).log()
    mask_logits = torch.full((1, 4, 4), -5.0)
    mask_logits[0, 1:3, 2] = torch.tensor([3.0, 1.0]).log()[0]  # probability 3 / 4
    (found,) = instances(unpadded(class_logits, mask_logits, size=(4, 4)), ["cat", "dog"])
    assert found.name == "cat"
    assert found.score == pytest.approx(0.6 * 0.75, abs=1e-5)
    assert found.box == (2.0, 1.0, 3.0, 3.0)
    assert found.mask.sum() == 2


def test_empty_masks_and_low_scores_are_dropped():
    class_logits = torch.tensor([[9.0, 0.0], [-9.0, 0.0]])
    empty = torch.full((2, 4, 4), -5.0)
    assert instances(unpadded(class_logits, empty, size=(4, 4)), ["cat"]) == []
    full = -empty
    assert len(instances(unpadded(class_logits, full, size=(4, 4)), ["cat"])) == 1


def test_one_query_may_stand_for_two_classes():
    class_logits = torch.tensor([[5.0, 5.0, -5.0]])
    mask_logits = torch.full((1, 2, 2), 5.0)
    found = instances(unpadded(class_logits, mask_logits, size=(8, 8)), ["cat", "dog"])
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
    ours = instances(unpadded(class_logits[0], mask_logits[0], size=(384, 384)), names)
    expected = sorted((i["score"], names[i["label_id"]]) for i in theirs["segments_info"])
    found = sorted((round(d.score, 6), d.name) for d in ours)
    assert expected
    assert [name for _, name in found] == [name for _, name in expected]
    assert [s for s, _ in found] == pytest.approx([s for s, _ in expected], abs=2e-6)


def test_padding_is_cut_off_before_the_mask_is_brought_to_the_pictures_size():
    # a 2 x 4 picture, enlarged to 4 x 8 and padded to 8 x 8: below row 4 there is nothing of it
    mask_logits = torch.full((1, 8, 8), -5.0)
    mask_logits[0, 2:, :4] = 5.0
    found = instances(
        QueryOutput(torch.tensor([[9.0, 0.0]]), mask_logits, (8, 8), (4, 8), (2, 4)), ["cat"]
    )
    assert [one.box for one in found] == [(0.0, 1.0, 2.0, 2.0)]
    assert found[0].mask.shape == (2, 4)


def test_a_score_needs_class_and_mask_to_be_sure():
    class_logits = torch.tensor([[9.0, 1.0]]).log()
    barely = torch.full((1, 4, 4), 1e-3)  # probability just above 1 / 2, so 0.45 in all
    assert len(instances(unpadded(class_logits, barely, size=(4, 4)), ["cat"])) == 1
    unsure = torch.tensor([[1.1, 1.0]]).log()  # 0.52 x 0.5
    assert instances(unpadded(unsure, barely, size=(4, 4)), ["cat"]) == []


class MouseEverywhere(Detector):
    identity, classes, batch_size = {"kind": "fixed"}, ("cat", "mouse"), 2

    def infer(self, pictures):
        assert len(pictures) <= self.batch_size
        return len(pictures)

    def objects(self, output):
        return [[Detection("mouse", 0.7, (0, 0, 1, 1), color="red")]] * output


def test_renamed_objects_keep_everything_else_batch_after_batch():
    renamed = Renamed(
        MouseEverywhere(), {"cat": "cat", "mouse": "computer mouse"}, scheme="geneval"
    )
    assert renamed.classes == ("cat", "computer mouse")
    assert renamed.identity == {"kind": "fixed", "names": "geneval"}
    picture = np.zeros((1, 1, 3), dtype=np.uint8)
    found = renamed.detect([picture] * 3)
    assert found == [[Detection("computer mouse", 0.7, (0, 0, 1, 1), color="red")]] * 3
    assert renamed.detect([]) == []


def test_what_the_model_says_of_a_picture_does_not_depend_on_the_batch(weights):
    detector = Mask2FormerDetector.load(weights / "detector", batch_size=3)
    assert detector.classes == CLASSES
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    together = detector.infer(pictures)
    (alone,) = detector.infer(pictures[2:])
    assert together[2][2:] == alone[2:]
    torch.testing.assert_close(together[2].class_logits_QC, alone.class_logits_QC)
    torch.testing.assert_close(together[2].mask_logits_QHW, alone.mask_logits_QHW)
    kept = instances(alone, detector.classes, min_score=0.0)
    assert kept
    assert detector.objects([alone]) == [[one for one in kept if one.score > 0.3]]


def test_absent_detector_is_named(tmp_path):
    with pytest.raises(ModelError, match="no detector"):
        Mask2FormerDetector.load(tmp_path, batch_size=1)
