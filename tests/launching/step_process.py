"""A step in a process of its own, as in a pod of the control image: `python step_process.py FILE`.

That image has no tensor libraries.
"""

import json
import sys
from pathlib import Path

TENSOR_LIBRARIES = (
    "torch", "torchvision", "transformers", "diffusers", "peft", "open_clip", "timm",
)  # fmt: skip


def main(file: Path) -> None:
    sys.modules.update(dict.fromkeys(TENSOR_LIBRARIES))  # type: ignore[arg-type]  # None: no import
    from artifact_place import Place

    from uae.launch import job_follower
    from uae.launch.stage import run_stage

    job_follower.POLL_SECONDS = 0.05
    given = json.loads(file.read_text())
    places = {name: Place(**values) if values else None for name, values in given["places"].items()}
    run_stage(**given["values"], **places)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
