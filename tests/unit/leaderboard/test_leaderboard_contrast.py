"""Texts can be told from what they stand on, by WCAG 2.2's contrast of 4.5 for text."""

import re

import pytest

from uae.leaderboard.page import inlined_css

LIGHT, DARK = re.findall(r":root \{(.*?)\}", inlined_css(), re.DOTALL)
ON_PAPER = (
    "ink",
    "muted",
    "accent",
    "good",
    "bad",
    "held",
    "reported",
    *(f"c{n}" for n in range(6)),
)
PAIRS = [(name, "paper") for name in ON_PAPER] + [
    ("good", "good-soft"), ("bad", "bad-soft"), ("held", "held-soft"), ("ink", "held-soft"),
    ("ink", "panel"), ("muted", "panel"), ("accent", "panel"),
]  # fmt: skip


def luminance(color):
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_texts_stand_out(scheme, text, ground):
    colors = dict(re.findall(r"--([\w-]+): (#\w{6});", scheme))
    assert contrast(colors[text], colors[ground]) >= 4.5
