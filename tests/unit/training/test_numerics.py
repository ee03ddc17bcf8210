import torch

from uae.training.numerics import exact_numerics


def test_products_around_bfloat16_blocks_are_made_in_tf32_and_no_others():
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [kind.fp32_precision for kind in kinds]
    with exact_numerics(1):
        assert [kind.fp32_precision for kind in kinds] == ["ieee", "ieee"]
    with exact_numerics(1, is_rounded=True):
        assert [kind.fp32_precision for kind in kinds] == ["tf32", "tf32"]
    assert [kind.fp32_precision for kind in kinds] == before
