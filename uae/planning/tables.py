"""A plan as text for a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from uae.planning.gpus import GIB
from uae.planning.plan import PhasePlan, Plan, StagePlan

_TERA = 1e12
_NAMES = {
    "pretrain_decoder": "Stage 1",
    "cold_start": "cold start",
    "generation_for_understanding": "GfU",
    "understanding_for_generation": "UfG",
}
_SHARDING = {
    "replicated": "models whole in every process",
    "trained": "trained models shared out",
    "all": "all models shared out",
}


def print_plan(plan: Plan, console: Console) -> None:
    """Print what is assumed, then batches, memory, work and time of every stage."""
    for line in _assumed(plan):
        console.print(line, highlight=False, soft_wrap=True)
    if plan.stages:
        for table in (_batches(plan), _memory(plan), _main_memory(plan), _work(plan), _time(plan)):
            console.print(table)
    for line in _closing(plan):
        console.print(line, highlight=False, soft_wrap=True)


def _assumed(plan: Plan) -> list[str]:
    execution = plan.execution
    blocks = "recomputed" if execution.recompute_blocks else "kept"
    return [
        f"{plan.recipe} on {plan.num_gpus} x {plan.gpu} ({plan.nodes} x {plan.gpus_per_node}), "
        f"{plan.gpu_bytes / GIB:.1f} GiB of each for tensors",
        f"blocks in {execution.dtype}, frozen ones kept in {execution.stored}, scorers in "
        f"{execution.scorer}, {_SHARDING[execution.sharding]}, activations of blocks {blocks}",
        f"data {execution.caches}, {plan.condition_tokens} condition tokens",
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table


def _stage_table(title: str, first: str, plan: Plan) -> Table:
    return _table(title, first, *(_NAMES[stage.stage] for stage in plan.stages))


def _batches(plan: Plan) -> Table:
    table = _stage_table("Batches", "", plan)
    rows = {
        "updates": [stage.num_updates for stage in plan.stages],
        "samples of an update": [s.batches.samples for s in plan.stages],
        "x group": [s.batches.group_size for s in plan.stages],
        "= rollouts of an update": [s.batches.rollouts for s in plan.stages],
        "optimizer steps": [s.batches.optimizer_steps for s in plan.stages],
        "samples of a process": [s.batches.samples_per_process for s in plan.stages],
        "samples of a pass": [s.batches.samples_per_pass for s in plan.stages],
        "passes of a process": [s.batches.passes_per_process for s in plan.stages],
    }
    for name, values in rows.items():
        table.add_row(name, *map(str, values))
    return table


def _memory(plan: Plan) -> Table:
    table = _stage_table("Memory of each GPU, GiB", "", plan)
    for name in _union(s.held_bytes for s in plan.stages):
        table.add_row(name, *(_gib(s.held_bytes.get(name, 0)) for s in plan.stages))
    peaks = [stage.peak_phase for stage in plan.stages]
    table.add_row("largest phase", *(peak.name for peak in peaks), style="italic")
    for name in _union(peak.memory_bytes for peak in peaks):
        table.add_row(f"  {name}", *(_gib(peak.memory_bytes.get(name, 0)) for peak in peaks))
    table.add_row("most at once", *(_gib(s.memory_bytes) for s in plan.stages), style="bold")
    return table


def _main_memory(plan: Plan) -> Table:
    table = _stage_table("Main memory of a node for weights, GiB", "", plan)
    loading = f"{plan.gpus_per_node} x, while models are loaded"
    table.add_row(loading, *map(_gib, plan.loading))
    table.add_row("main process, at the end", *(_gib(s.finishing_bytes) for s in plan.stages))
    return table


def _union(groups: object) -> list[str]:
    """Names in the order in which they come first, without those that are 0 everywhere."""
    found: dict[str, int] = {}
    for group in groups:  # type: ignore[attr-defined]
        for name, size in group.items():
            found[name] = max(found.get(name, 0), size)
    return [name for name, size in found.items() if size]


def _work(plan: Plan) -> Table:
    table = _table(
        "Work of one GPU in an update", "", "TFLOP", "in float32", "floor, s", "bound by", "GiB"
    )
    for stage in plan.stages:
        table.add_row(_NAMES[stage.stage], style="bold")
        for phase in stage.phases:
            if phase.flops or phase.bytes_read:
                _add_phase(table, phase, stage)
        if stage.exchange_seconds:
            table.add_row(
                "  add up gradients", "", "", f"{stage.exchange_seconds:.3g}", "exchange", ""
            )
    return table


def _add_phase(table: Table, phase: PhasePlan, stage: StagePlan) -> None:
    bound = "exchange" if phase.is_exchange_bound else "computing"
    bound = "memory" if phase.is_memory_bound else bound
    total = sum(stage.held_bytes.values()) + sum(phase.memory_bytes.values())
    table.add_row(
        f"  {phase.name}",
        f"{phase.flops / _TERA:.3g}",
        f"{phase.float32_flops / _TERA:.3g}",
        f"{phase.floor_seconds:.3g}",
        bound,
        _gib(total),
    )


def _time(plan: Plan) -> Table:
    table = _stage_table(f"Time, at {plan.fraction:.0%} of the GPU's rates", "", plan)
    rows = {
        "PFLOP of an update, all GPUs": [
            f"{s.update_flops * plan.num_gpus / 1e15:.3g}" for s in plan.stages
        ],
        "floor of an update, s": [f"{s.update_floor_seconds:.3g}" for s in plan.stages],
        "expected, s": [f"{s.update_seconds:.3g}" for s in plan.stages],
        "pictures per s, all GPUs": [f"{s.rollouts_per_second:.3g}" for s in plan.stages],
        "pictures per s and GPU": [
            f"{s.rollouts_per_second / plan.num_gpus:.3g}" for s in plan.stages
        ],
        "longest wait after SIGTERM, s": [f"{s.longest_wait_seconds:.3g}" for s in plan.stages],
        "hours": [f"{s.hours:.3g}" for s in plan.stages],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _closing(plan: Plan) -> list[str]:
    lines = []
    if plan.stages:
        lines.append(
            f"All stages, without evaluation: {plan.hours:.3g} hours, "
            f"{plan.hours * plan.num_gpus:.3g} GPU hours"
        )
    if plan.cost is not None:
        lines[-1] += f", {plan.cost:,.0f} at {plan.price_per_gpu_hour} for a GPU hour"
    return lines


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}" if size >= GIB / 100 else ("<0.01" if size else "0")
