"""Making the pieces: several at once, each after the one that it starts from."""

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from benchmarks.effect.pieces import Piece, Plan, make, read_record
from benchmarks.effect.scenes import Scenes
from uae.base_weights.processes import end_with_parent


def make_pieces(plan: Plan, root: Path, scenes: Scenes, jobs: int) -> None:
    """Make every piece that is not there yet, `jobs` at a time; one job needs no other process.

    Raises:
        RunError: If another process is making one of them.
        UaeError: If a stage or a benchmark refuses its input; what is being made is finished first.
    """
    left = {name: piece for name, piece in plan.pieces.items() if read_record(root / name) is None}
    if jobs == 1:
        for piece in left.values():
            _announce(piece, plan)
            make(piece, root, scenes)
        return
    done = set(plan.pieces) - set(left)
    running: dict[Future[None], str] = {}
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
        while left or running:
            for piece in _ready(left, done)[: jobs - len(running)]:
                _announce(piece, plan)
                del left[piece.name]
                running[pool.submit(make, piece, root, scenes)] = piece.name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done.add(running.pop(future))
                future.result()


def _announce(piece: Piece, plan: Plan) -> None:
    number = list(plan.pieces).index(piece.name) + 1
    print(f"[{number:2d}/{len(plan.pieces)}] {piece.label}", flush=True)


def _ready(left: dict[str, Piece], done: set[str]) -> list[Piece]:
    """Return what can be made now: in the plan's order, trainings before judgements."""
    ready = [p for p in left.values() if p.before is None or p.before.name in done]
    return sorted(ready, key=lambda piece: piece.is_bench)
