"""`uae plan`: what a recipe needs, before a GPU is taken."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from uae.commands.options import Commands, count, positive, writable
from uae.errors import TrainingError
from uae.planning.gpus import DEFAULT_GPU, GPUS, custom_gpu

if TYPE_CHECKING:
    from uae.planning.execution import Execution
    from uae.planning.gpus import Gpu
    from uae.recipe import Recipe

_OUT = "write the plan there too, .json; default: it is only printed"


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    plan = commands.add_parser(
        "plan", help="say what a recipe needs on given GPUs: memory, work, time, cost"
    )
    plan.add_argument("--recipe", default="starter", help="name or file; default: %(default)s")
    plan.add_argument("--nodes", type=count, default=1, help="machines; default: %(default)s")
    plan.add_argument(
        "--gpus-per-node", type=count, default=1, help="of each machine; default: %(default)s"
    )
    _add_gpu(plan)
    plan.add_argument(
        "--fraction",
        type=_fraction,
        default=0.4,
        help="share of the GPU's rates that is expected to be reached; default: %(default)s",
    )
    plan.add_argument(
        "--price-per-gpu-hour", type=positive, help="in any currency; default: no cost is printed"
    )
    plan.add_argument(
        "--samples", type=count, help="of the training split; default: every update sees new ones"
    )
    plan.add_argument(
        "--caption-tokens",
        type=count,
        help="mean length of captions, for times; default: the longest that the recipe allows",
    )
    plan.add_argument(
        "--condition-tokens",
        type=count,
        help="of a condition; default: the recipe's, or those of the base weights",
    )
    _add_execution(plan)
    plan.add_argument("--out", type=writable(".json"), help=_OUT)
    plan.set_defaults(command=_plan)


def _add_gpu(plan: argparse.ArgumentParser) -> None:
    plan.add_argument("--gpu", choices=list(GPUS), help=f"default: {DEFAULT_GPU}")
    plan.add_argument(
        "--gpu-memory", type=positive, help="GiB of another GPU; default: that of --gpu"
    )
    plan.add_argument(
        "--gpu-tflops",
        type=positive,
        help="of another GPU: its dense rate in the type that blocks compute in; default: that of "
        "--gpu",
    )
    plan.add_argument(
        "--gpu-bandwidth",
        type=positive,
        help="of another GPU's memory, TB per second; default: that of --gpu",
    )


def _add_execution(plan: argparse.ArgumentParser) -> None:
    dtypes = ("float32", "bfloat16")
    plan.add_argument("--dtype", choices=dtypes, help="of blocks' computing; default: the recipe's")
    plan.add_argument(
        "--stored",
        choices=dtypes,
        help="of blocks that are not trained; default: the recipe's models.frozen_dtype",
    )
    plan.add_argument(
        "--recompute-blocks",
        choices=("yes", "no"),
        help="activations of blocks in the backward pass; default: the recipe's",
    )
    plan.add_argument(
        "--sharding",
        choices=("replicated", "trained", "all"),
        help="whose blocks are cut over the processes; default: the recipe's",
    )
    plan.add_argument(
        "--caches",
        choices=("kept", "streamed"),
        help="latents, hidden states and conditions of all samples in memory, or made anew; "
        "default: streamed where the recipe streams its data",
    )


def _plan(options: argparse.Namespace) -> None:
    from rich.console import Console

    from uae.planning.planner import Assumptions, make_plan
    from uae.planning.tables import print_plan
    from uae.recipe_files import load_recipe

    recipe = load_recipe(options.recipe)
    gpu = _gpu(options)
    assumptions = Assumptions(
        gpu=gpu,
        nodes=options.nodes,
        gpus_per_node=options.gpus_per_node,
        fraction=options.fraction,
        execution=_execution(options, recipe),
        condition_tokens=options.condition_tokens,
        caption_tokens=options.caption_tokens,
        num_samples=options.samples,
        price_per_gpu_hour=options.price_per_gpu_hour,
    )
    plan = make_plan(recipe, assumptions)
    print_plan(plan, Console())
    if options.out is not None:
        options.out.write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
        print(options.out)
    if plan.refusals:
        raise TrainingError("this cannot work:\n" + "\n".join(f"  {r}" for r in plan.refusals))


def _gpu(options: argparse.Namespace) -> Gpu:
    own = (options.gpu_memory, options.gpu_tflops, options.gpu_bandwidth)
    if not any(own):
        return GPUS[options.gpu or DEFAULT_GPU]
    if options.gpu is not None or not all(own):
        raise TrainingError(
            "another GPU needs --gpu-memory, --gpu-tflops and --gpu-bandwidth, all three, and no "
            f"--gpu; or give --gpu with one of {', '.join(GPUS)}"
        )
    return custom_gpu(*own)


def _execution(options: argparse.Namespace, recipe: Recipe) -> Execution:
    from uae.planning.execution import execution_of

    names = ("dtype", "stored", "sharding", "caches")
    changes = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in changes.items() if value is not None}
    if options.recompute_blocks is not None:
        given["recompute_blocks"] = options.recompute_blocks == "yes"
    execution = execution_of(recipe).model_copy(update=given)
    contradiction = execution.contradiction()
    if contradiction is not None:
        raise TrainingError(f"--dtype, --stored and --sharding contradict: {contradiction}")
    return execution


def _fraction(text: str) -> float:
    value = positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a share, above 0 and at most 1")
    return value
