"""Whether a text-to-image pipeline read a text to its end: most cut long ones and say nothing.

What a tokenizer was really asked is watched, rather than every pipeline's limits known: templates,
instructions before the text and their own maximum lengths are then all accounted for.
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from transformers.tokenization_utils_base import PreTrainedTokenizerBase


class Cut(NamedTuple):
    """How many of a text's tokens were read; special tokens and a template's count as well."""

    read: int
    whole: int


class TruncationWatch:
    """Watches the tokenizers of one pipeline."""

    def __init__(self, pipeline: Any) -> None:
        limit = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
        self._limit = limit.default if limit else None
        self._prefix = getattr(pipeline, "prompt_template_encode_start_idx", None)
        self._seen: dict[str, Cut | None] = {}  # of the tokenizers that were called
        for name, component in pipeline.components.items():
            tokenizer = getattr(component, "tokenizer", component)  # a processor holds one
            if isinstance(tokenizer, PreTrainedTokenizerBase):
                self._watch(name, tokenizer)

    def begin(self) -> None:
        """Forget what was seen."""
        self._seen.clear()

    @property
    def saw_anything(self) -> bool:
        """Whether a tokenizer was called since `begin`."""
        return bool(self._seen)

    @property
    def cut(self) -> Cut | None:
        """How much of a text was read, if every tokenizer that was called lost its end.

        Of several the one that read most. Where one encoder reads the whole text it is not lost:
        SD3 and FLUX give CLIP the first 77 tokens of what T5 reads to the end.
        """
        cuts = [cut for cut in self._seen.values() if cut is not None]
        if not cuts or len(cuts) < len(self._seen):
            return None
        return max(cuts, key=lambda cut: cut.read / cut.whole)

    def _watch(self, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        kind: Any = type(tokenizer)
        watch = self

        class Watched(kind):  # type: ignore[misc]
            def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
                read = super().__call__(text, *args, **kwargs)
                if text is not None:
                    special = kwargs.get("add_special_tokens", True)
                    whole = super().__call__(text, add_special_tokens=special, verbose=False)
                    watch._note(name, _lengths(read["input_ids"]), _lengths(whole["input_ids"]))
                return read

        Watched.__name__, Watched.__qualname__ = kind.__name__, kind.__qualname__
        tokenizer.__class__ = Watched  # this tokenizer alone; it stays one of its own class

    def _note(self, name: str, read: Sequence[int], whole: Sequence[int]) -> None:
        cuts = [Cut(*pair) for pair in zip(read, whole, strict=True) if pair[0] < pair[1]]
        if isinstance(self._prefix, int) and isinstance(self._limit, int):
            # Qwen-Image cuts what its encoder has read, behind the template's first tokens.
            behind = max(whole) - self._prefix
            cuts += [Cut(self._limit, behind)] if behind > self._limit else []
        before = self._seen.get(name)
        self._seen[name] = min([*cuts, *([before] if before else [])], default=None)


def _lengths(ids: Any) -> list[int]:
    """Return the lengths of the rows, padding included, which only makes them longer."""
    if hasattr(ids, "shape"):
        return [int(ids.shape[-1])] * (int(ids.shape[0]) if len(ids.shape) > 1 else 1)
    return [len(row) for row in ids] if ids and not isinstance(ids[0], int) else [len(ids)]
