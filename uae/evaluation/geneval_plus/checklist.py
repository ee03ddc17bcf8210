"""What a judge is asked about a picture of GenEval++.

The rules are those of the published judge's instruction (github.com/yejy53/Echo-4o,
test_scripts/Eval-gpt-4.1-geneval++.py): every line of the checklist holds, the picture is one
photo-like scene, doubt is a no, and the answer is JSON. The words are our own, so the instruction
has a version and a hash, which results carry: other words are another judge. Differences:

- the published checklist says "larger" without saying than what; ours names the other object;
- "above" and "below" are called the upper and lower part of the picture;
- the picture stands before the text, not after it, and is not compressed to JPEG again.
"""

import hashlib

from uae.evaluation.geneval_plus.prompts import Exclude, Include, Prompt
from uae.evaluation.judges.base import ChatRequest
from uae.evaluation.pictures import Pixels

VERSION = "1"
INSTRUCTION = """\
You check pictures that a computer made from a text. You are given the picture, the text, and a
checklist. The verdict is 1 only if both rules hold; if you are in doubt, it is 0.

Rule 1. Every line of the checklist is fulfilled: the right objects, exactly as many of each as the
line says, of the right colour, in the right part of the picture (by where their pixels are), and of
the right size compared with each other.
Rule 2. The picture is one natural, coherent scene that looks like a photograph: no drawing, sketch,
cartoon or anime, no collage, and not several panels.

Answer with one JSON object and nothing else:
{"correct": 1 or 0, "reason": "what is missing or wrong"}"""
_PARTS = {"left": "left", "right": "right", "above": "upper", "below": "lower"}


def checklist(prompt: Prompt) -> str:
    """Return one line for each thing that the picture must, or must not, hold."""
    lines = [_include(entry, prompt) for entry in prompt.include]
    lines += [_exclude(entry) for entry in prompt.exclude]
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


def _include(entry: Include, prompt: Prompt) -> str:
    parts = [f"{entry.name}: exactly {entry.count}"]
    if entry.color is not None:
        parts.append(f"colour: {entry.color}")
    if entry.size is not None:
        others = [other.name for other in prompt.include if other is not entry]
        parts.append(f"{entry.size} than the {others[0]}")
    if entry.region is not None:
        parts.append(f"in the {_PARTS[entry.region]} part of the picture")
    return "; ".join(parts)


def _exclude(entry: Exclude) -> str:
    return f"{entry.name}: at most {entry.count - 1}"


def question(prompt: Prompt) -> str:
    """Return the text that stands after the picture."""
    return f"Text: {prompt.text}\n\nChecklist:\n{checklist(prompt)}"


def request(prompt: Prompt, picture: Pixels) -> ChatRequest:
    """Return what a judge is asked about one picture."""
    return ChatRequest((picture,), question(prompt), INSTRUCTION)


def instruction_identity() -> dict[str, str]:
    """Return version and hash of the words in which judges are asked."""
    example = Prompt(
        "size_spatial_attr",
        "a text",
        (Include("cat", 2, "red", "larger", "left"), Include("dog", 1, "blue", "smaller", "below")),
        (Exclude("cat", 3),),
    )
    words = f"{INSTRUCTION}\n{question(example)}"
    sha256 = hashlib.sha256(words.encode()).hexdigest()
    return {"instruction": f"geneval_plus/{VERSION}", "instruction_sha256": sha256}
