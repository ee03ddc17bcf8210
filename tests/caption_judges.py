"""How a server answers that judges pairs of captions: for `openai_server(answer=...)`."""

import json

from uae.evaluation.known_pictures import known_photographs

QUALITY = {"good": 2, "fair": 1, "poor": 0}


def quality(caption):
    """How well a caption describes: the tests' captions say so, photographs' are known."""
    if any(caption == photograph.caption for photograph in known_photographs()):
        return 2
    return QUALITY.get(caption.split(" ")[0], 0)


def shown(text):
    """Return the two captions in the order in which a judge sees them."""
    first = text.partition("<first>\n")[2].rpartition("\n</first>")[0]
    second = text.partition("<second>\n")[2].rpartition("\n</second>")[0]
    return first, second


def better(name, reason="so it is"):
    return json.dumps({"better": name, "reason": reason})


def oracle(pictures, text):
    first, second = map(quality, shown(text))
    return better("first" if first > second else "second" if second > first else "tie")


def first_lover(pictures, text):
    return better("first")
