"""The draws behind a rollout's tokens, the same in however many processes the captions are written.

One process that writes a whole batch draws, for each token, one number for every caption that its
batch still holds, and drops captions that have ended when enough have. Several processes that
write it together draw all of these numbers and use those of their own captions. For that they
tell each other, token by token, which captions have ended.

Shape letters: N captions of the whole batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from uae.models.captioning import SHRINK_BELOW, SharedLevels
from uae.recipe import CaptionRolloutRecipe
from uae.training.share import Share


@contextmanager
def token_draws(
    share: Share, generator: torch.Generator, recipe: CaptionRolloutRecipe
) -> Iterator[torch.Generator | SharedLevels]:
    """Return what draws the tokens of one rollout of this process's samples of a batch."""
    if share.world.size == 1:
        yield generator
        return
    draws = _TokenDraws(share, generator, recipe)
    yield draws
    draws.finish()


class _TokenDraws:
    def __init__(
        self, share: Share, generator: torch.Generator, recipe: CaptionRolloutRecipe
    ) -> None:
        self._share, self._generator = share, generator
        self._num_left = recipe.max_new_tokens
        count = share.num_samples * recipe.group_size
        self._own = share.rows(torch.arange(count))
        self._held = torch.arange(count)  # captions that one process would still hold

    def __call__(self, rows: Tensor, going: Tensor) -> Tensor:
        """See `SharedLevels`."""
        own_going = torch.zeros(len(self._own), dtype=torch.bool)
        own_going[rows.cpu()] = going.cpu()
        self._drop_ended(own_going)
        generator, size = self._generator, (len(self._held), 1)
        drawn = torch.rand(size, generator=generator, device=generator.device, dtype=torch.float64)
        levels_N1 = torch.zeros(
            len(self._own) * self._share.world.size, 1, dtype=torch.float64, device=drawn.device
        )
        levels_N1[self._held] = drawn
        return levels_N1[self._own[rows.cpu()]]

    def finish(self) -> None:
        """Keep answering the other processes until their captions have ended too."""
        while self._num_left and len(self._held):
            self._drop_ended(torch.zeros(len(self._own), dtype=torch.bool))

    def _drop_ended(self, own_going: Tensor) -> None:
        """Learn which captions are still written, before a token is drawn."""
        self._num_left -= 1
        flags = "".join("01"[flag] for flag in own_going.tolist())
        everyone = [[flag == "1" for flag in found] for found in self._share.world.exchange(flags)]
        going_N = self._share.in_order([torch.tensor(found) for found in everyone])
        going = going_N[self._held]
        num_going = int(going.sum())
        if num_going == 0 or num_going <= SHRINK_BELOW * len(going):
            self._held = self._held[going]
