"""From a token's logits to p(yes), for any tokenizer. Shape letters: Q questions, V vocabulary."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uae.errors import EvaluationError, ModelError

_SPACES = ("Ġ", "▁")  # how byte-level BPE and SentencePiece write the space before a word


class AnswerTokens(NamedTuple):
    """All tokens that say yes or no: "yes", "Yes", " yes" and so on."""

    yes: list[int]
    no: list[int]


def answer_tokens(tokenizer: Any) -> AnswerTokens:
    """Find every single token that says yes or no, whatever its case and the space before it.

    Raises:
        ModelError: If the vocabulary holds none for one of the two.
    """
    found: dict[str, list[int]] = {"yes": [], "no": []}
    for token, number in tokenizer.get_vocab().items():
        word = token
        for space in _SPACES:
            word = word.removeprefix(space)
        if word.strip().lower() in found:
            found[word.strip().lower()].append(number)
    missing = [word for word, numbers in found.items() if not numbers]
    if missing:
        raise ModelError(
            f"the judge's tokenizer has no single token for {' and '.join(map(repr, missing))}: "
            "its answers to yes/no questions have no probability"
        )
    return AnswerTokens(sorted(found["yes"]), sorted(found["no"]))


def p_yes(logits_QV: Tensor, tokens: AnswerTokens) -> list[float]:
    """Return p(yes) / (p(yes) + p(no)), each summed over its tokens.

    Raises:
        EvaluationError: If a probability is not finite: that is never a "no".
    """
    logits_QV = logits_QV.float()
    yes_Q, no_Q = (logits_QV[:, ids].logsumexp(dim=1) for ids in tokens)
    p_yes_Q = torch.sigmoid(yes_Q - no_Q)
    if not torch.isfinite(p_yes_Q).all():
        raise EvaluationError("the judge's probabilities hold NaN: its weights are broken")
    return [*p_yes_Q.tolist()]


def first_tokens(tokenizer: Any, forms: Sequence[str]) -> list[int]:
    """Return the distinct first tokens of an answer's forms, tokenised without special tokens."""
    return sorted({tokenizer(form, add_special_tokens=False)["input_ids"][0] for form in forms})


def p_first_token(logits_QV: Tensor, tokens: Sequence[Sequence[int]]) -> list[float]:
    """Return, for each question, the share of its tokens among the whole vocabulary.

    Raises:
        EvaluationError: If a probability is not finite.
    """
    p_QV = logits_QV.float().softmax(dim=-1)
    if not torch.isfinite(p_QV).all():
        raise EvaluationError("the judge's probabilities hold NaN: its weights are broken")
    return [float(p_V[list(ids)].sum()) for p_V, ids in zip(p_QV, tokens, strict=True)]
