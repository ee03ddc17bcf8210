"""How many training samples early stopping takes: one rule for validation and for training."""

from uae.errors import DataError

MIN_SAMPLES = 10  # from which one can be set aside: a tenth at most


def count_set_aside(num_samples: int, num_asked: int) -> int:
    """Return how many training samples no stage trains on.

    Args:
        num_samples: Size of the training split.
        num_asked: The recipe's `num_set_aside`; 0 sets none aside.

    Raises:
        DataError: If there are too few to set one aside.
    """
    if num_asked and num_samples < MIN_SAMPLES:
        raise DataError(
            f"early stopping sets a tenth of the training pictures aside, {num_asked} at most, "
            f"which takes {MIN_SAMPLES} or more; there are only {num_samples}; add pictures, or "
            "write `early_stopping: null`"
        )
    return min(num_asked, num_samples // MIN_SAMPLES)
