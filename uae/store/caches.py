"""Where this machine keeps copies of what lies in buckets and on hubs: weights and shards.

It outlives the step that made them, so that later ones find them. A step gives its processes a
folder of their own for temporary files, which ends with it; so it also tells them this one.
"""

import os
import tempfile
from pathlib import Path

CACHES_VARIABLE = "UAE_CACHES"  # says only where they lie, never what is in them


def caches_folder() -> Path:
    """Return the folder: the system's for temporary files unless `UAE_CACHES` names another."""
    return Path(os.environ.get(CACHES_VARIABLE) or tempfile.gettempdir())
