"""What each cell of a scene shows, as labels: the decoder learns faster when it must also name it.

The flow's own loss says little about a caption while the picture is almost noise. Naming class
and colour of every latent cell from the transformer's middle layer is a direct signal there, in
the manner of representation alignment (REPA, arXiv:2410.06940) with the scene's truth in place
of a vision encoder's features. The heads are thrown away after training.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from uae.data.facts import SceneFacts
from uae.data.starter.vocabulary import BACKGROUNDS, CLASSES, COLORS, IMAGE_SIZE, WORDS

THINGS = (*CLASSES, *WORDS, "background")
HUES = (*COLORS, *BACKGROUNDS)
CELLS = 8  # a side, as many as latents
CELL_PIXELS = IMAGE_SIZE // CELLS
WORD_ROWS = slice(5, 7)  # where words are written
WORD_COLUMNS = slice(1, 7)


def scene_maps(facts: Sequence[SceneFacts]) -> Tensor:
    """Return (N, 2, 8, 8) labels: what stands in each cell, and its colour.

    A cell shows an object when its centre lies in the object's box.
    """
    maps = np.empty((len(facts), 2, CELLS, CELLS), dtype=np.int64)
    centres = (np.arange(CELLS) + 0.5) * CELL_PIXELS
    for labels, truth in zip(maps, facts, strict=True):
        labels[0], labels[1] = THINGS.index("background"), HUES.index(truth.background)
        for thing in truth.objects:
            x0, y0, x1, y1 = thing.box
            inside = np.ix_((centres > y0) & (centres < y1), (centres > x0) & (centres < x1))
            labels[0][inside] = THINGS.index(thing.name)
            labels[1][inside] = HUES.index(thing.color)
        if truth.word is not None:
            labels[0, WORD_ROWS, WORD_COLUMNS] = len(CLASSES) + WORDS.index(truth.word)
    return torch.from_numpy(maps)


class CellNames(nn.Module):
    """Linear heads on a transformer block's picture tokens, read by a forward hook."""

    def __init__(self, transformer: nn.Module, block: int, width: int) -> None:
        super().__init__()
        self.what = nn.Linear(width, len(THINGS))
        self.hue = nn.Linear(width, len(HUES))
        self._tokens: Tensor | None = None
        blocks = transformer.get_submodule("transformer_blocks")
        blocks.get_submodule(str(block)).register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, output: tuple[Tensor, Tensor]) -> None:
        self._tokens = output[1]

    def loss(self, maps_B2HW: Tensor) -> Tensor:
        """Return the cross-entropy of the last forward pass's cells: what, and of what colour."""
        if self._tokens is None:
            raise RuntimeError("the transformer has not run since the last loss")
        tokens, self._tokens = self._tokens, None
        labels = maps_B2HW.flatten(2)
        what, hue = (
            cross_entropy(head(tokens).transpose(1, 2).float(), labels[:, index])
            for index, head in enumerate((self.what, self.hue))
        )
        return what + hue
