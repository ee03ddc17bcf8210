import math

import pytest
import torch

from uae.errors import EvaluationError, ModelError
from uae.evaluation.judges.answers import AnswerTokens, answer_tokens, p_yes
from uae.models.tokenizer import train_tokenizer


class Vocabulary:
    def __init__(self, *tokens):
        self.tokens = tokens

    def get_vocab(self):
        return {token: number for number, token in enumerate(self.tokens)}


def test_every_case_and_space_counts_and_nothing_else():
    tokens = ["yes", "Yes", "ĠYES", "▁no", "##no", "not", "Ġyesterday", "No", "y", "yes "]
    assert answer_tokens(Vocabulary(*tokens)) == AnswerTokens(yes=[0, 1, 2, 9], no=[3, 7])


def test_a_real_tokenizer_has_them_with_and_without_a_space():
    tokenizer = train_tokenizer(["yes no yes no " * 9], vocab_size=280)
    found = answer_tokens(tokenizer)
    assert sorted(tokenizer.decode(number) for number in found.yes) == [" yes", "yes"]
    assert sorted(tokenizer.decode(number) for number in found.no) == [" no", "no"]


def test_a_tokenizer_without_an_answer_is_refused():
    with pytest.raises(ModelError, match="no single token for 'no'"):
        answer_tokens(Vocabulary("yes", "n", "o"))
    with pytest.raises(ModelError, match="'yes' and 'no'"):
        answer_tokens(train_tokenizer(["a cat"], vocab_size=264))


def test_probability_is_a_ratio_of_sums():
    # yes: e^0 + e^0 = 2, no: e^0 = 1; then yes: 1 + 3, no: 4; another token does not matter
    logits = torch.tensor([[0.0, 0, 0, 9], [0, math.log(3), math.log(4), -9]])
    assert p_yes(logits, AnswerTokens([0, 1], [2])) == pytest.approx([2 / 3, 1 / 2])


def test_far_logits_do_not_overflow():
    logits = torch.tensor([[500.0, -500.0], [-500.0, 500.0]])
    assert p_yes(logits, AnswerTokens([0], [1])) == [1.0, 0.0]


def test_nan_is_no_answer():
    with pytest.raises(EvaluationError, match="NaN"):
        p_yes(torch.tensor([[float("nan"), 0.0]]), AnswerTokens([0], [1]))
