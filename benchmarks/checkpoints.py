"""How fast checkpoints reach the bucket, and how long training waits for them.

    python -m benchmarks.checkpoints --mib 1024 --processes 1 2

The bucket is the embedded server's, on this machine. A checkpoint of `--mib` in all is saved by one
process and by several, from the call to its manifest; beside it the plain minio client uploads one
object of the same size, from a file that is there already. Both by turns; the fastest counts.

Then a model is trained in one process, a checkpoint every `--every` updates, and the time is
counted for which training waits: for copies in memory, and for the checkpoint before.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import minio
import psutil
import torch
from torch import Tensor, nn

from benchmarks.measurement import Measurement, print_table, write_json
from uae.recipe import Recipe
from uae.recipe_files import load_recipe
from uae.store.embedded import EmbeddedStore
from uae.store.s3 import Store, parse_endpoint
from uae.training.checkpoint import Snapshot, StoreCheckpoints
from uae.training.distribution import join_world
from uae.training.keeper import CheckpointKeeper
from uae.training.loop import Run

MIB = 2**20
MB = 10**6
STAGE = "pretrain_decoder"
NUM_TENSORS = 32  # blocks of a model, each as large
WIDTH, NUM_LAYERS = 1024, 12  # 50 MB of parameters, 200 MB with moments and average


class Cost(NamedTuple):
    """What an upload took."""

    wall_seconds: float
    processor_seconds: float  # of all clients and the server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mib", type=int, default=1024, help="size of a checkpoint")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--every", type=int, default=10, help="updates between checkpoints")
    parser.add_argument("--batch", type=int, default=2048, help="rows in an update")
    parser.add_argument("--place", type=Path, help="folder on the disk to be measured")
    parser.add_argument("--out", type=Path, default=Path("runs/checkpoints.json"))
    parser.add_argument("--save", help=argparse.SUPPRESS)  # in torchrun's processes
    options = parser.parse_args()
    if options.save:
        save(options, options.save)
        return
    with TemporaryDirectory(dir=options.place) as folder:
        found = measure(Path(folder), options)
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print_table(found)
    settings = {name: str(value) for name, value in vars(options).items()}
    write_json(options.out, found, settings)


def measure(folder: Path, options: argparse.Namespace) -> list[Measurement]:
    """Upload in all ways by turns, then train."""
    (folder / "object").write_bytes(os.urandom(options.mib * MIB))
    plain: list[Cost] = []
    ours: dict[int, list[Cost]] = {count: [] for count in options.processes}
    with EmbeddedStore(folder / "server") as server:
        for _ in range(options.repeats):
            plain.append(upload(server, folder / "object"))
            for count, seconds in ours.items():
                seconds.append(saved(server, options, count))
        found = costs("plain client, one object", options.mib, plain)
        for count, seconds in ours.items():
            name = f"checkpoint, {count} processes"
            found += costs(name, options.mib, seconds)
            share, processor = (least(plain, n) / least(seconds, n) for n in (0, 1))
            found.append(Measurement(f"{name}: its share of that rate", share, "", at_least=0.7))
            found.append(Measurement(f"{name}: by processor time", processor, "", at_least=0.7))
        return found + waiting(server.store(), folder, options)


def least(seconds: list[Cost], which: int) -> float:
    return min(one[which] for one in seconds)


def costs(name: str, mib: int, seconds: list[Cost]) -> list[Measurement]:
    return [
        Measurement(name, mib * MIB / MB / least(seconds, 0), "MB/s"),
        Measurement(f"{name}: processors", least(seconds, 1), "s"),
    ]


def upload(server: EmbeddedStore, path: Path) -> Cost:
    """Let the plain client upload a file; return what it took."""
    host, secure = parse_endpoint(server.endpoint)
    client = minio.Minio(host, server.access_key, server.secret_key, secure=secure)
    of_server, own, started = processor(server), time.process_time(), time.perf_counter()
    client.fput_object(server.bucket, "plain/object", str(path))
    seconds = time.perf_counter() - started
    spent = time.process_time() - own + processor(server) - of_server
    client.remove_object(server.bucket, "plain/object")
    return Cost(seconds, spent)


def processor(server: EmbeddedStore) -> float:
    """Return the server's processor time so far."""
    times = psutil.Process(server.pid).cpu_times()
    return times.user + times.system


def saved(server: EmbeddedStore, options: argparse.Namespace, count: int) -> Cost:
    """Save a checkpoint with `count` processes; return what it took."""
    given = ["--mib", str(options.mib), "--processes", str(count), "--save", server.endpoint]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    of_server = processor(server)
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "benchmarks.checkpoints", *given],
        env=os.environ | server.environment(),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    wall, spent = json.loads(done.stdout.splitlines()[-1])
    return Cost(wall, spent + processor(server) - of_server)


def save(options: argparse.Namespace, endpoint: str) -> None:
    """Be one of the processes."""
    (count,) = options.processes
    rows = options.mib * MIB // NUM_TENSORS // 4096
    tensors: dict[str, Tensor] = {
        f"parameters/{n:03d}": torch.rand(rows, 1024) for n in range(NUM_TENSORS)
    }
    store = Store.connect(endpoint, "uae")
    with TemporaryDirectory() as scratch, join_world(count) as world:
        keeper = CheckpointKeeper(StoreCheckpoints(store, "saved", Path(scratch)), world)
        world.wait()
        own, started = time.process_time(), time.perf_counter()
        keeper.save(Snapshot(tensors, {}), 1)
        keeper.settle()
        seconds = time.perf_counter() - started
        spent = sum(world.exchange(time.process_time() - own))
        keeper.close()
        if world.is_main:
            print(json.dumps([seconds, spent]), flush=True)
            store.delete("saved")


def waiting(store: Store, folder: Path, options: argparse.Namespace) -> list[Measurement]:
    """Train, and return how much of an update's time is waiting for checkpoints."""
    layers = [nn.Linear(WIDTH, WIDTH) for _ in range(NUM_LAYERS)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.GELU())))
    checkpoints = StoreCheckpoints(store, "trained", folder / "scratch")
    run = Run(
        STAGE, recipe_of(options), dict(model.named_parameters()), inputs={},
        checkpoints=checkpoints,
    )  # fmt: skip
    updates, records = [], []
    with run:
        for step in run.steps():
            started = time.perf_counter()
            x = torch.rand(options.batch, WIDTH)
            run.optimizer.backward(((model(x) - x) ** 2).mean())
            run.optimizer.step(step)
            made = time.perf_counter()
            run.record({})
            updates.append(made - started)
            records.append(time.perf_counter() - made)
    # The last one is waited for by design; the first saves find no earlier one.
    update, waits = statistics.median(updates), records[options.every - 1 : -1 : options.every]
    share = sum(waits) / (len(waits) * options.every * update)
    with_upload = updates[options.every : 2 * options.every]
    return [
        Measurement("an update", update, "s"),
        Measurement(
            "an update, mean while a checkpoint is uploaded", statistics.mean(with_upload), "s"
        ),
        Measurement("wait for a checkpoint", statistics.mean(waits), "s"),
        Measurement("the last one, waited for as after SIGTERM", records[-1], "s"),
        Measurement("its share of the updates between two", share, "", at_most=0.05),
    ]


def recipe_of(options: argparse.Namespace) -> Recipe:
    values = load_recipe("starter").model_dump(mode="json")
    values[STAGE] |= {"num_updates": options.updates, "checkpoint_every": options.every}
    return Recipe.model_validate(values)


if __name__ == "__main__":
    main()
