"""One trained stage as a step of a run, called as its component calls it, on small real files."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact_place import Place
from stage_world import World, stage_recipe

from uae.launch.location import RunLocation
from uae.launch.resources import Launch
from uae.launch.stage import run_stage
from uae.recipe_files import dump_recipe
from uae.store.s3 import Store

STAGE = "pretrain_decoder"


def launch(**changes: Any) -> Launch:
    """What a stage gets; two processes on each of two nodes unless changed."""
    values = {
        "launcher": "trainjob", "num_nodes": 2, "max_restarts": 3, "accelerators": 2,
        "cpu": "4", "memory": "16Gi", "shared_memory": "4Gi", "timeout_seconds": 3600,
        "accelerator": "nvidia.com/gpu", "queue": "uae", "cost_center": "research",
        "weights_claim": "uae-weights",
        "image": "registry.test/uae-trainer:0.1.0",
    }  # fmt: skip
    return Launch.model_validate(values | changes)


TORCHRUN = launch(launcher="pod", num_nodes=1, accelerators=1)


@dataclass
class StageStep:
    """The step `pretrain_decoder` of one run."""

    world: World
    folder: Path
    run: str
    store: Store
    data: Place
    secrets: tuple[str, ...] = ()
    model_in: Place | None = None

    def __post_init__(self) -> None:
        self.recipe = dump_recipe(stage_recipe(self.world, STAGE, num_updates=2))
        names = ("model", "logs", "curves", "metrics")
        self.outputs = {name: Place(str(self.folder / name)) for name in names}

    def updates(self, num_updates: int, **section: Any) -> None:
        section["num_updates"] = num_updates
        self.recipe = dump_recipe(stage_recipe(self.world, STAGE, **section))

    def __call__(self, how: Launch | None = None, **more: Any) -> dict[str, Place]:
        """Run the step in this process; the arguments are the component's."""
        run_stage(**self._values(how) | more, **self._places)
        return self.outputs

    def start(self, how: Launch) -> subprocess.Popen[str]:
        """Start the step in a process of its own, as a pod does."""
        places = {name: place and vars(place) for name, place in self._places.items()}
        given = self.folder / "step.json"
        given.write_text(json.dumps({"values": self._values(how), "places": places}))
        return subprocess.Popen(
            [sys.executable, Path(__file__).parent / "step_process.py", given],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _values(self, how: Launch | None) -> dict[str, Any]:
        launched = how.to_json() if how else ""
        named = {"name": STAGE, "recipe": self.recipe, "run": self.run, "launch": launched}
        return {"tolerations": [], "node_selector": {}} | named

    @property
    def _places(self) -> dict[str, Place | None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        out = {f"{name}_out" if name == "model" else name: p for name, p in self.outputs.items()}
        return {"data": self.data, "model_in": self.model_in, **out}

    @property
    def prefix(self) -> str:
        return RunLocation.parse(self.run).prefix

    @property
    def record(self) -> dict[str, Any]:
        values: dict[str, Any] = self.store.get_json(f"{self.prefix}/steps/{STAGE}.json")
        return values
