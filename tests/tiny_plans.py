"""Plans of the tiny model on GPUs with round numbers."""

from uae.models.tiny import tiny_recipe
from uae.planning.execution import Execution
from uae.planning.gpus import GIB, Gpu
from uae.planning.planner import STAGES, Assumptions, make_plan

AS_TRAINED = Execution(  # what a recipe without any key of full scale says
    dtype="float32",
    stored="float32",
    scorer="float32",
    recompute_blocks=False,
    sharding="replicated",
    caches="kept",
)
RATE, BANDWIDTH, LINK = 1e9, 1e9, 1e6
HUGE = Gpu("huge", 1000 * GIB, RATE, RATE, BANDWIDTH, LINK)


def recipe_of(base, *, only=None, **sections):
    """Return a tiny recipe; with `only`, of that stage alone."""
    for stage in STAGES:
        if only not in (None, stage):
            sections.setdefault(stage, {})["num_updates"] = 0
    return tiny_recipe(models={"base": base, **sections.pop("models", {})}, **sections)


def plan_of(base, *, gpu=HUGE, nodes=1, gpus=1, only=None, assumed=None, **sections):
    return make_plan(
        recipe_of(base, only=only, **sections),
        Assumptions(gpu=gpu, nodes=nodes, gpus_per_node=gpus, **(assumed or {})),
    )


def gpu_of(usable_bytes):
    return Gpu("small", int(usable_bytes / 0.92) + 1, RATE, RATE, BANDWIDTH, LINK)
