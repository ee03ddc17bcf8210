"""Which samples a page holds with pictures and evidence: a rule that looks at no score."""

from collections.abc import Sequence


def spread_ids(ids: Sequence[str], count: int) -> set[str]:
    """Choose `count` ids, evenly spread from the first to the last; all where there are fewer.

    Every task and category of a prompt list is met in its proportion, and no system can be shown at
    its best or its worst.
    """
    if len(ids) <= count:
        return set(ids)
    return {ids[index * len(ids) // count] for index in range(count)}


def choice_in_words(count: int, num_samples: int) -> str:
    """Say on the page which samples were chosen."""
    if count == 0:
        return f"No pictures and no evidence are embedded; all {num_samples} samples are listed."
    if count >= num_samples:
        return f"Pictures and evidence of all {num_samples} samples are embedded."
    return (
        f"Pictures and evidence of {count} of {num_samples} samples are embedded: evenly spread "
        "over the list of prompts, the same for every system, whatever their scores. "
        f"All {num_samples} are listed."
    )
