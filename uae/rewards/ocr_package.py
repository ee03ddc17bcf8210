"""Whether text in pictures can be read: the packages of the extra `ocr`, by name, not imported."""

from importlib.util import find_spec

from uae.errors import ModelError

PACKAGES = ("rapidocr", "onnxruntime")


def check_ocr_package() -> None:
    """Refuse to read text without what reads it.

    Raises:
        ModelError: Naming the packages that are missing, and how to install them.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"reading text in pictures needs {' and '.join(missing)}: install with "
            ".venv/bin/pip install -c constraints.txt -e '.[ocr]', or take the truth from the "
            "facts (rewards.transcription.truth: facts)"
        )
