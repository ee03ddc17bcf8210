import numpy as np
import pytest
import torch

from uae.errors import ModelError
from uae.evaluation.judges.starter import (
    IMAGE_TOKEN,
    StarterJudge,
    answer_ids,
    answer_logits,
    build_questions,
)
from uae.models.tokenizer import train_tokenizer

QUESTIONS = ["Is there a cat?", "Is there a large red cat at the top left?", "Is it?"]
PICTURE_OF = [0, 1, 0]


@pytest.fixture(scope="module")
def judge(weights):
    return StarterJudge.load(weights / "judge")


@pytest.fixture(scope="module")
def pictures():
    return list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))


def test_the_answer_follows_the_last_token_and_pictures_stand_once(judge, pictures):
    inputs = build_questions(
        judge.tokenizer, judge.image_processor, pictures, QUESTIONS, PICTURE_OF
    )
    texts = judge.tokenizer.batch_decode(inputs.input_ids_QT)
    for text, question in zip(texts, QUESTIONS, strict=True):
        assert text.count(IMAGE_TOKEN) == 16  # 8 x 8 patches, four to a token
        assert question in text
        assert text.endswith("<|im_start|>assistant\n")
    assert inputs.image_grid_thw.tolist() == [[1, 8, 8]] * 2
    assert inputs.attention_mask_QT[:, -1].tolist() == [1, 1, 1]


@torch.no_grad()
def test_logits_equal_a_plain_forward_of_each_question_alone(judge, pictures):
    """Transformers' own path: no padding, the picture given again for every question."""
    together = answer_logits(
        judge.model,
        build_questions(judge.tokenizer, judge.image_processor, pictures, QUESTIONS, PICTURE_OF),
    )
    for row, (question, picture) in enumerate(zip(QUESTIONS, PICTURE_OF, strict=True)):
        one = build_questions(
            judge.tokenizer, judge.image_processor, [pictures[picture]], [question], [0]
        )
        plain = judge.model(
            input_ids=one.input_ids_QT,
            attention_mask=one.attention_mask_QT,
            pixel_values=one.pixel_values,
            image_grid_thw=one.image_grid_thw,
            mm_token_type_ids=(one.input_ids_QT == judge.model.config.image_token_id).int(),
        )
        torch.testing.assert_close(together[row], plain.logits[0, -1], atol=2e-5, rtol=0)


def test_probability_is_of_yes_among_yes_and_no(judge, pictures):
    p_yes = judge.probabilities(pictures, QUESTIONS, PICTURE_OF)
    inputs = build_questions(
        judge.tokenizer, judge.image_processor, pictures, QUESTIONS, PICTURE_OF
    )
    yes, no = answer_logits(judge.model, inputs)[:, judge.yes_no].exp().unbind(dim=1)
    torch.testing.assert_close(torch.tensor(p_yes), yes / (yes + no), atol=1e-6, rtol=0)


def test_pictures_of_several_sizes_are_answered_in_order(judge, pictures):
    large = np.repeat(np.repeat(pictures[1], 2, axis=0), 2, axis=1)
    mixed = judge.probabilities([large, pictures[0]], [QUESTIONS[0], QUESTIONS[1]], [1, 0])
    (small_alone,) = judge.probabilities([pictures[0]], [QUESTIONS[0]], [0])
    (large_alone,) = judge.probabilities([large], [QUESTIONS[1]], [0])
    assert mixed == pytest.approx([small_alone, large_alone], abs=1e-6)


def test_the_answer_depends_on_the_picture(judge, pictures):
    p_yes = judge.probabilities(pictures, [QUESTIONS[0]] * 2, [0, 1])
    assert p_yes[0] != p_yes[1]


def test_gradients_reach_the_weights(judge, pictures):
    model = judge.model
    weight = model.model.language_model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    inputs = build_questions(
        judge.tokenizer, judge.image_processor, pictures, QUESTIONS, PICTURE_OF
    )
    answer_logits(model, inputs)[:, judge.yes_no[0]].sum().backward()
    assert weight.grad.abs().max() > 0
    weight.requires_grad_(False).grad = None


def test_a_tokenizer_without_whole_answers_is_refused():
    with pytest.raises(ModelError, match="as one token"):
        answer_ids(train_tokenizer(["a cat"], vocab_size=264))


def test_absent_judge_is_named(tmp_path):
    with pytest.raises(ModelError, match="no judge"):
        StarterJudge.load(tmp_path)
