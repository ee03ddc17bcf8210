import torch

from uae.base_weights.encoder import phrases_so_far

COMMA = 9


def test_each_position_holds_the_tokens_since_the_last_comma():
    ids = torch.tensor([[5, 6, COMMA, 7, 5, 5, COMMA, 8], [1, 1, 2, 3, 4, COMMA, COMMA, 1]])
    held = [
        [set(row.nonzero().flatten().tolist()) for row in text]
        for text in phrases_so_far(ids, COMMA)
    ]
    assert held[0] == [{5}, {5, 6}, {COMMA}, {7}, {5, 7}, {5, 7}, {COMMA}, {8}]
    assert held[1] == [{1}, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}, {COMMA}, {COMMA}, {1}]
