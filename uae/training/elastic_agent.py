"""torchrun starts a node's processes again, unless that would be in vain.

Source: `launch_agent` of torch.distributed.launcher.api, which takes no agent of others.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from torch.distributed.elastic.agent.server.api import (
    RunResult,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler
from torch.distributed.launcher.api import LaunchConfig
from torch.distributed.run import config_from_args

# Of exit codes by rank and the number of the restart: whether to start the processes again.
MayHelp = Callable[[Mapping[int, int], int], bool]


class RestartingAgent(LocalElasticAgent):
    """Asks, when its processes have failed, whether another try may help."""

    def __init__(self, may_help: MayHelp, **given: Any) -> None:
        """Start nothing yet.

        Args:
            may_help: Asked when all processes of this node have ended, of which one failed.
            given: As for `LocalElasticAgent`.
        """
        super().__init__(**given)
        self._may_help = may_help

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state != WorkerState.FAILED or not self._remaining_restarts:
            return result
        codes = {rank: failure.exitcode for rank, failure in result.failures.items()}
        number = worker_group.spec.max_restarts - self._remaining_restarts + 1
        if not self._may_help(codes, number):
            self._remaining_restarts = 0  # so torchrun ends as after the last of them
        return result


def run_agent(asked: Namespace, may_help: MayHelp) -> None:
    """Start this node's processes and wait for their end.

    Args:
        asked: torchrun's arguments.
        may_help: See `RestartingAgent`.

    Raises:
        ChildFailedError: If a process failed and is not started again.
        RendezvousError: If this node cannot meet the others, or cannot any more.
        SignalException: If a signal came; the processes have ended.
    """
    config, entrypoint, arguments = config_from_args(asked)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = config.signals_to_handle
    spec = _spec(config, entrypoint, arguments)
    agent = RestartingAgent(
        may_help,
        spec=spec,
        logs_specs=config.logs_specs,
        start_method=config.start_method,
        log_line_prefix_template=config.log_line_prefix_template,
        shutdown_timeout=config.shutdown_timeout,
    )
    closes = True
    try:
        result = agent.run()
        if result is not None and result.is_failed():
            raise ChildFailedError(str(entrypoint), result.failures)
    except SignalException:
        closes = False  # the others may meet again when this node has come back
        raise
    finally:
        if closes:
            _close(spec)


def _close(spec: WorkerSpec) -> None:
    """Let nobody wait for this node."""
    try:
        spec.rdzv_handler.shutdown()
    except RuntimeError as error:  # node 0, which keeps the store, has ended before
        print(f"the end of this node cannot be told to the others: {error}", flush=True)


def _spec(config: LaunchConfig, entrypoint: Any, arguments: list[str]) -> WorkerSpec:
    parameters = RendezvousParameters(
        backend=config.rdzv_backend,
        endpoint=config.rdzv_endpoint,
        run_id=config.run_id,
        min_nodes=config.min_nodes,
        max_nodes=config.max_nodes,
        local_addr=config.local_addr,
        **config.rdzv_configs,
    )
    return WorkerSpec(
        role=config.role,
        local_world_size=config.nproc_per_node,
        entrypoint=entrypoint,
        args=tuple(arguments),
        rdzv_handler=get_rendezvous_handler(parameters),
        max_restarts=config.max_restarts,
        monitor_interval=config.monitor_interval,
        local_addr=config.local_addr,
        event_log_handler=config.event_log_handler,
        numa_options=config.numa_options,
        duplicate_stdout_filters=config.duplicate_stdout_filters,
        duplicate_stderr_filters=config.duplicate_stderr_filters,
        virtual_local_rank=config.virtual_local_rank,
    )
