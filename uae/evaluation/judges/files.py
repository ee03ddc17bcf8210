"""Where the benchmarks' scorers and judges lie, by their files alone; torch is not imported."""

from pathlib import Path

from uae.errors import ModelError
from uae.rewards.scorer_files import (
    CONFIG_FILE,
    find_scorer,
    known_scorers,
    no_scorer,
    scorer_folder,
)

EFFICIENTNET = "efficientnet-lite0"  # its weights come in a package
_TRANSFORMERS_CONFIG = "config.json"
_PROCESSOR_CONFIG = "preprocessor_config.json"


def find_slot_scorer(name: str, weights_root: Path) -> Path | None:
    """Return the folder of the scorer that a slot of Unified-Bench names.

    None for `efficientnet-lite0`, which needs no folder.

    Raises:
        ModelError: If there is none or a file is missing, naming the scorers there are.
    """
    if name == EFFICIENTNET:
        return None
    folder = scorer_folder(name, weights_root)
    known = [*known_scorers(weights_root, _TRANSFORMERS_CONFIG, CONFIG_FILE), EFFICIENTNET]
    if not folder.is_dir():
        raise no_scorer(name, weights_root, known)
    if is_transformers(folder):
        if not (folder / _PROCESSOR_CONFIG).is_file():
            raise ModelError(f"scorer {name!r}: {folder} lacks {_PROCESSOR_CONFIG}")
        return folder
    if (folder / CONFIG_FILE).is_file():
        return find_scorer(name, weights_root)
    raise ModelError(
        f"scorer {name!r}: {folder} has neither {_TRANSFORMERS_CONFIG} nor {CONFIG_FILE}; give a "
        f"name among {known} or a folder in the layout of transformers or open_clip"
    )


def is_transformers(folder: Path) -> bool:
    """Return whether transformers' `save_pretrained` wrote a folder, not open_clip."""
    return (folder / _TRANSFORMERS_CONFIG).is_file()


def named_folder(name_or_path: str, weights_root: Path) -> Path:
    """Return the folder that a detector's or a judge's name means: in the weights, or any other."""
    folder = weights_root / name_or_path
    return folder if folder.is_dir() else Path(name_or_path)


def check_detector(folder: Path) -> None:
    """Refuse a folder that holds no detector.

    Raises:
        ModelError: Naming the file that is missing.
    """
    _check_model(folder, "detector")


def check_judge(folder: Path) -> None:
    """Refuse a folder that holds no yes/no judge.

    Raises:
        ModelError: Naming the file that is missing.
    """
    _check_model(folder, "judge")


def _check_model(folder: Path, kind: str) -> None:
    if not is_transformers(folder):
        raise ModelError(f"no {kind} in {folder}: it needs config.json and its weights")
