"""The log of the pod of node 0, shown as the step's own while the job runs.

It is fetched every few seconds from where it was left, and not followed: a stream that waits for a
job that is quiet for minutes is cut by proxies and time limits, and going on after a cut takes what
is done here anyway. A fetch that fails is made up for by the next one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from uae.errors import ClusterError
from uae.launch.cluster import Cluster
from uae.launch.pods import Pod

MARGIN_SECONDS = 60  # the clocks of the node and of this pod do not matter, only time that passes


class PodLog:
    """Prints each line of node 0 once, also when another pod takes its place."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pod = ""
        self._last = ""  # the last line that was shown, with its time
        self._shown_at = 0.0
        self._trouble = ""

    def show_new(self, pods: Sequence[Pod]) -> None:
        """Print what is new. What cannot be read is said once; the job goes on without."""
        first = [pod for pod in pods if pod.node == 0]
        if not first:
            return
        if first[0].name != self._pod:
            self._pod, self._last = first[0].name, ""
        try:
            text = self._cluster.log(self._pod, since_seconds=self._window())
        except ClusterError as error:
            if str(error) != self._trouble:
                print(f"no log of {self._pod} for now: {error}", flush=True)
            self._trouble = str(error)
            return
        self._trouble = ""
        self._print(self._new_lines(text or "", ended=bool(first[0].ended_at)))

    def _window(self) -> int | None:
        if not self._last:
            return None
        return math.ceil(time.monotonic() - self._shown_at) + MARGIN_SECONDS

    def _new_lines(self, text: str, *, ended: bool) -> list[str]:
        lines = text.split("\n")
        if not ended or not lines[-1]:
            del lines[-1]  # still being written
        if self._last in lines:
            place = len(lines) - lines[::-1].index(self._last)
            return lines[place:]
        return lines

    def _print(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(without_time(line), flush=True)
        if lines:
            self._last, self._shown_at = lines[-1], time.monotonic()


def without_time(line: str) -> str:
    """Return a log line without the time that the API server puts before it."""
    return line.partition(" ")[2]


def last_lines(cluster: Cluster, pod: Pod, count: int) -> list[str]:
    """Return the last lines of a pod's log, or what keeps them from being read."""
    try:
        text = cluster.log(pod.name, tail_lines=count)
    except ClusterError as error:
        return [f"({error})"]
    if text is None:
        return ["(it has no log)"]
    return [without_time(line) for line in text.splitlines()]
