"""The card of the base weights: what each model is, how good, from what; made from measurements."""

import json
from pathlib import Path
from typing import Any

PARTS = {  # of the auto-encoder: folder -> what it is
    "vae": "diffusers AutoencoderKL, 64 x 64 x 3 pixels to 8 x 8 x 8 latents",
    "encoder": "transformers Qwen2.5-VL: writes and reads captions",
    "transformer": "diffusers SD3 transformer: draws from captions",
}
SHIPPED = {  # folder with metrics.json -> what it is
    "scorers/clip": "open_clip: the reward's scorer",
    "scorers/longclip": "open_clip, other seed, complete captions: held out from the reward",
    "scorers/ssl": "transformers ViT, trained without captions: held out from the reward",
    "detector": "transformers SegFormer, connected regions: GenEval's detector",
    "judge": "transformers Qwen2.5-VL: answers DPG-Bench's questions with yes or no",
}
PRETRAINED = "scorers/efficientnet-lite0"
HEAD = """# Card of the starter base weights

Small models of the same classes as at full scale, trained from nothing on scenes composed from
the artwork in `../artwork` (MIT licence, Microsoft Corporation). The weights carry the same
licence. `make base-weights` makes them again; every seed stands in `uae/base_weights/`.

`clip` was trained across a change of its batches: the command makes slightly different weights
than these.

All figures are measured on compositions that no model was trained on. Captioner: share of true
attributes that captions mention, and of what they state, the share that is true ("see" is before
it learnt to be terse). Decoder: share of objects whose class, colour, size are right at their
place, read by comparison with the artwork (`uae/data/starter/reader.py`), no learned model
involved.
"""


def write(weights: Path) -> None:
    """Write `card.md` from the `metrics.json` beside each model."""
    parts = [HEAD]
    figures = json.loads((weights / "autoencoder-metrics.json").read_text(encoding="utf-8"))
    for name, what in PARTS.items():
        parts.append(
            f"\n## autoencoder/{name}\n\n{what}; "
            f"{_megabytes(weights / 'autoencoder' / name):.1f} MB.\n"
        )
        parts.append(_table(figures["decoder" if name == "transformer" else name]))
    for name, what in SHIPPED.items():
        path = weights / name / "metrics.json"
        if not path.exists():
            continue
        parts.append(f"\n## {name}\n\n{what}; {_megabytes(weights / name):.1f} MB.\n")
        parts.append(_table(json.loads(path.read_text(encoding="utf-8"))))
    pretrained = weights / f"{PRETRAINED}.metrics.json"
    if pretrained.exists():
        parts.append(f"\n## {PRETRAINED}\n\nImageNet weights of a package: not shipped here.\n")
        parts.append(_table(json.loads(pretrained.read_text(encoding="utf-8"))))
    (weights / "card.md").write_text("\n".join(parts), encoding="utf-8")


def _table(figures: dict[str, Any]) -> str:
    if all(isinstance(value, dict) for value in figures.values()):
        columns = list(dict.fromkeys(key for row in figures.values() for key in row))
        lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        lines += [
            f"| {name} | " + " | ".join(_number(row.get(c)) for c in columns) + " |"
            for name, row in figures.items()
        ]
    else:
        lines = ["| figure | value |", "|---|---|"]
        lines += [f"| {name} | {_number(value)} |" for name, value in figures.items()]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
