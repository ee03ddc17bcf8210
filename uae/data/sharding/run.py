"""`uae shard`: plan the shards, have several processes write them, then write the index.

What comes out depends on the data and the size of a shard alone: not on the number of workers, on
times, or on whether the run was interrupted.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from uae.data.dataset import explain_faults
from uae.data.sample import Fault
from uae.data.sharding.plan import Job, Plan, plan_shards
from uae.data.sharding.rows import Lines, Scan, cut_lines, scan
from uae.data.sharding.shard_file import Written, write_shard_file
from uae.data.sharding.source import FolderSource, Source, open_source
from uae.data.sharding.target import Target, open_target
from uae.data.streaming.index import Entry, Shard, ShardIndex, make_index
from uae.errors import DataError
from uae.store.parent_death import die_with_parent

MIB = 2**20
LEAST_SHARD_MB = 1


@dataclass
class Progress:
    """What a run tells of itself while it works. By default nothing."""

    rows: Callable[[int], None] = field(default=lambda _: None)  # rows read so far
    planned: Callable[[Plan], None] = field(default=lambda _: None)
    written: Callable[[Job, bool], None] = field(default=lambda *_: None)  # True: an earlier run


def shard_data(
    source: str,
    out: str,
    *,
    shard_size_mb: int = 256,
    num_workers: int = 1,
    progress: Progress | None = None,
) -> ShardIndex:
    """Write a data set as indexed shards, or go on with what an interrupted run left.

    Args:
        source: A folder with captions.jsonl, or s3://bucket/prefix of one.
        out: A folder, which appears complete or not at all, or s3://bucket/prefix, where the index
            is written last. Buckets are opened with AWS_ENDPOINT_URL and the usual credentials.
        shard_size_mb: MiB that a shard has at most, unless a single pair is larger.
        num_workers: Processes.
        progress: Told what was done.

    Returns:
        The index.

    Raises:
        DataError: Naming every bad row, repeated id, missing file and unreadable header; or if
            `out` holds something else. Shards that were finished are kept for the next run.
        StoreError: If a bucket fails.
    """
    if shard_size_mb < LEAST_SHARD_MB or num_workers < 1:
        raise DataError(f"{shard_size_mb=}, {num_workers=}: give 1 or more of each")
    progress = progress or Progress()
    target = open_target(out)
    with tempfile.TemporaryDirectory(prefix="uae-shard-") as scratch:
        data = open_source(source, Path(scratch))
        with _workers(num_workers, data, target) as pool:
            scans = _scans(data, pool, num_workers)
            plan = plan_shards(scans, shard_size_mb * MIB, source, progress.rows)
            progress.planned(plan)
            with target.held():
                found = target.find_finished(plan)
                if found is not None:
                    return found
                parts = _write(plan, target, pool, num_workers, progress, source)
                shards, entries = zip(*(parts[job.name] for job in plan.jobs), strict=True)
                index = make_index(shards, entries)
                target.finish(index)
    return index


def _scans(source: Source, pool: ProcessPoolExecutor, num_workers: int) -> Iterator[Scan]:
    blocks = cut_lines(source.captions)
    if not isinstance(source, FolderSource):  # the listing of a bucket stays in this process
        yield from (scan(source, block) for block in blocks)
        return
    waiting = [pool.submit(_scan, block) for block in islice(blocks, 2 * num_workers)]
    while waiting:
        yield waiting.pop(0).result()
        waiting += [pool.submit(_scan, block) for block in islice(blocks, 1)]


def _write(
    plan: Plan,
    target: Target,
    pool: ProcessPoolExecutor,
    num_workers: int,
    progress: Progress,
    source: str,
) -> dict[str, tuple[Shard, list[Entry]]]:
    done: dict[str, tuple[Shard, list[Entry]]] = {}
    faults: list[Fault] = []
    jobs = iter(plan.jobs)
    running: dict[Future[Written], Job] = {}
    while True:
        while len(running) < 2 * num_workers and (job := next(jobs, None)) is not None:
            earlier = target.find_record(job)
            if earlier is not None:
                done[job.name] = earlier
                progress.written(job, True)
            else:
                # After a fault the others are only looked at: it will change what they hold.
                running[pool.submit(_write_one, job, not faults)] = job
        if not running:
            break
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job, written = running.pop(future), future.result()
            faults += written.faults
            if written.shard is not None:
                done[job.name] = written.shard, written.entries
            progress.written(job, False)
    if faults:
        raise DataError(explain_faults(source, faults))
    return done


@contextmanager
def _workers(num_workers: int, source: Source, target: Target) -> Iterator[ProcessPoolExecutor]:
    start = partial(_start, os.getpid(), source, target)
    context = get_context("spawn")  # threads and connections do not survive a fork
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=start) as pool:
        try:
            _begin(pool)
            yield pool
        except BrokenProcessPool as error:
            raise DataError(
                "a worker was killed, for want of memory perhaps: run again, it goes on; or give "
                "fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(pool: ProcessPoolExecutor) -> None:
    """Start the processes. Ctrl-C is theirs to ignore from their first moment."""
    if threading.current_thread() is not threading.main_thread():
        pool.submit(int)
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pool.submit(int)  # the first job starts them all
    finally:
        signal.signal(signal.SIGINT, handler)


@dataclass
class _Work:
    """What a worker process keeps from job to job."""

    source: Source
    target: Target


_work: list[_Work] = []


def _start(parent_pid: int, source: Source, target: Target) -> None:
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also if another thread started this one
    _work.append(_Work(source, target))


def _scan(block: Lines) -> Scan:
    return scan(_work[0].source, block)


def _write_one(job: Job, wanted: bool) -> Written:
    source, target = _work[0].source, _work[0].target
    if not wanted:
        return write_shard_file(job, source, None)
    try:
        with target.shard(job.name) as file:
            written = write_shard_file(job, source, file)
            if written.shard is None:
                raise _Refused
    except _Refused:
        return written
    target.record(job, written)
    return written


class _Refused(Exception):
    """Keeps a shard from taking its place."""
