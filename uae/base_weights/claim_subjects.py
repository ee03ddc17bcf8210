"""What is true of a question's subject: richer than yes or no, for training the judge only.

A yes or no teaches at most one bit, so a judge taught by them alone stays at chance for long. A
linear head reads, off the hidden state that the answer comes from, where the asked class stands,
its colours, sizes and number (or the background and the word): to get these right the state must
have found the subject in the picture, after which yes and no are soon learnt.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from uae.data.facts import SceneFacts
from uae.data.starter.vocabulary import BACKGROUNDS, COLORS, PLACES, SIZES, WORDS
from uae.evaluation.claims import Claim

MAX_NUMBER = 4
NUM_CLASS_TRUTHS = len(PLACES) + len(COLORS) + len(SIZES) + MAX_NUMBER
NUM_TRUTHS = NUM_CLASS_TRUTHS + len(BACKGROUNDS) + len(WORDS)
UNASKED = -1.0


def subject_truths(claim: Claim, facts: SceneFacts) -> list[float]:
    """Return 1, 0 or UNASKED for each truth.

    Of a class: places, colours, sizes, at least 1 .. 4 of them. Of the picture: background, word.
    """
    if claim.kind == "background":
        about_picture = [float(facts.background == value) for value in BACKGROUNDS]
        return [UNASKED] * NUM_CLASS_TRUTHS + about_picture + [UNASKED] * len(WORDS)
    if claim.kind == "word":
        words = [float(facts.word == value) for value in WORDS]
        return [UNASKED] * (NUM_CLASS_TRUTHS + len(BACKGROUNDS)) + words
    subject = claim.name or claim.value
    same = [thing for thing in facts.objects if thing.name == subject]
    truths = [float(any(o.place == value for o in same)) for value in PLACES]
    truths += [float(any(o.color == value for o in same)) for value in COLORS]
    truths += [float(any(o.size == value for o in same)) for value in SIZES]
    truths += [float(len(same) >= number) for number in range(1, MAX_NUMBER + 1)]
    return truths + [UNASKED] * (NUM_TRUTHS - NUM_CLASS_TRUTHS)


class SubjectHead(nn.Module):
    """Reads the truths off the hidden state before the answer; thrown away after training."""

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(width, NUM_TRUTHS)
        self._hidden_QD: Tensor | None = None
        model.get_submodule("lm_head").register_forward_pre_hook(self._keep)

    def loss(self, truths: Sequence[Sequence[float]]) -> Tensor:
        """Return the mean binary cross entropy of the last forward pass's questions."""
        assert self._hidden_QD is not None
        logits_QA = self.read(self._hidden_QD).float()
        truths_QA = torch.tensor(truths, device=logits_QA.device)
        asked = truths_QA != UNASKED
        self._hidden_QD = None
        return functional.binary_cross_entropy_with_logits(logits_QA[asked], truths_QA[asked])

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._hidden_QD = inputs[0][:, -1]
