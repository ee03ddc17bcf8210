import torch

from uae.training.numerics import exact_numerics


def test_products_around_bfloat16_blocks_are_made_in_tf32_and_no_others():
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    with exact_numerics(1):
        assert products.fp32_precision == before
    with exact_numerics(1, is_rounded=True):
        assert products.fp32_precision == "tf32"
    assert products.fp32_precision == before != "tf32"
