"""Write loss_curves.txt anew: ten updates of every stage on a tiny random model.

Run `python tests/golden/regenerate_loss_curves.py` only when a change is meant to change the
curves, and give the reason in the commit.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from stage_world import STAGES, World, make_world, rows, stage_recipe, train  # noqa: E402

CURVES = HERE / "loss_curves.txt"
COLUMNS = ("loss", "grad_norm", "reward/mean")
HEADER = f"{'stage':30}{'step':>5}" + "".join(f"{name:>16}" for name in COLUMNS)


def compute_curves(world: World, folder: Path) -> list[str]:
    """Return one line for each stage and update."""
    lines = [HEADER]
    for stage in STAGES:
        recipe = stage_recipe(world, stage, num_updates=10, checkpoint_every=10)
        train(stage, recipe, world, folder / stage, log_dir=folder / f"{stage}-log")
        for row in rows(folder / f"{stage}-log"):
            values = "".join(f"{row[n]:16.7g}" if n in row else f"{'-':>16}" for n in COLUMNS)
            lines.append(f"{stage:30}{row['step']:5d}{values}")
    return lines


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        CURVES.write_text("\n".join(compute_curves(world, Path(folder))) + "\n")
