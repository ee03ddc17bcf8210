"""Which yes/no judge a folder holds."""

from pathlib import Path

import torch

from uae.errors import ModelError
from uae.evaluation.artwork_judge import ArtworkJudge
from uae.evaluation.judge import Judge, QwenJudge
from uae.evaluation.judge_files import JUDGE_FILE, check_judge
from uae.models.bundle import read_json


def load_judge(folder: Path, *, device: torch.device | str = "cpu") -> Judge:
    """Read a Qwen2.5-VL judge, or the starter domain's artwork reader.

    Raises:
        ModelError: If there is none, it is of another kind, or its weights do not fit.
    """
    check_judge(folder)
    if not (folder / JUDGE_FILE).is_file():
        return QwenJudge.load(folder, device=device)
    kind = read_json(folder / JUDGE_FILE).get("kind")
    if kind != ArtworkJudge.KIND:
        raise ModelError(f"{folder / JUDGE_FILE}: kind {kind!r} is not {ArtworkJudge.KIND!r}")
    return ArtworkJudge()
