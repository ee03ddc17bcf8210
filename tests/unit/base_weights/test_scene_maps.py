import random

import pytest
import torch
from torch import nn

from uae.base_weights.scene_maps import HUES, THINGS, CellNames, scene_maps
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import place_object, sample_facts


def test_cells_inside_a_box_name_its_object_and_colour():
    cat = place_object(random.Random(0), "cat", "red", "large", "top left")
    what, hue = scene_maps([SceneFacts((cat,), "tan", None)])[0]
    assert THINGS[what[2, 2]] == "cat"
    assert HUES[hue[2, 2]] == "red"
    assert THINGS[what[6, 6]] == "background"
    assert HUES[hue[6, 6]] == "tan"
    x0, y0, x1, y1 = cat.box
    inside = sum(x0 < 8 * x + 4 < x1 and y0 < 8 * y + 4 < y1 for x in range(8) for y in range(8))
    assert int((what == THINGS.index("cat")).sum()) == inside


def test_a_word_is_named_where_it_is_written():
    fish = place_object(random.Random(0), "fish", "blue", "small", "top right")
    what, hue = scene_maps([SceneFacts((fish,), "black", "SEA")])[0]
    assert THINGS[what[6, 4]] == "SEA"
    assert HUES[hue[6, 4]] == "black"


class Block(nn.Module):
    def forward(self, tokens):
        return None, tokens


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer_blocks = nn.ModuleList([Block()])


def test_the_heads_learn_to_name_cells_from_a_block_and_refuse_a_stale_one():
    torch.manual_seed(0)
    maps = scene_maps([sample_facts(random.Random(seed)) for seed in range(4)])
    transformer = Transformer()
    names = CellNames(transformer, 0, 256)
    tokens = torch.randn(4, 64, 256)  # as many dimensions as cells: any labelling can be read
    optimizer = torch.optim.Adam(names.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        transformer.transformer_blocks[0](tokens)
        loss = names.loss(maps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    with pytest.raises(RuntimeError, match="has not run"):
        names.loss(maps)
