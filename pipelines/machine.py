"""What a step of the pipeline gets: on this machine nothing but a few quick retries."""

from typing import Any, Protocol

from kfp import dsl

from uae.launch.resources import StageName

NUM_RETRIES = 2  # a step that no retry cures fails at once, with the stored error
BACKOFF = "5s"


class Platform(Protocol):
    """Where the pipeline runs. Each method sets up one kind of step and returns it."""

    @property
    def ttl_seconds(self) -> int | None:
        """How long the objects of a finished run stay."""

    def control(self, task: dsl.PipelineTask, *, cached: bool = False) -> dsl.PipelineTask:
        """Set up a step that needs no tensors; `cached` ones depend on their inputs alone."""

    def stage(
        self, task: dsl.PipelineTask, name: StageName, *, tolerations: Any, node_selector: Any
    ) -> dsl.PipelineTask:
        """Set up the step of a trained stage."""

    def evaluation(
        self, task: dsl.PipelineTask, *, tolerations: Any, node_selector: Any
    ) -> dsl.PipelineTask:
        """Set up a step that judges a model."""

    def exit_handler(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Set up the step that runs at the end, however the run ended."""

    def launch(self, name: StageName) -> str:
        """Return what the step of a trained stage is told of how it is run."""


class Machine:
    """This machine: every step is a process. Nothing is cached but by the steps' own records."""

    ttl_seconds = None

    def control(self, task: dsl.PipelineTask, *, cached: bool = False) -> dsl.PipelineTask:
        """See `Platform`."""
        del cached  # kfp's cache does not know the outputs' content; the records do
        return task.set_caching_options(False).set_retry(NUM_RETRIES, backoff_duration=BACKOFF)

    def stage(
        self, task: dsl.PipelineTask, name: StageName, *, tolerations: Any, node_selector: Any
    ) -> dsl.PipelineTask:
        """See `Platform`."""
        del name, tolerations, node_selector
        return self.control(task)

    def evaluation(
        self, task: dsl.PipelineTask, *, tolerations: Any, node_selector: Any
    ) -> dsl.PipelineTask:
        """See `Platform`."""
        del tolerations, node_selector
        return self.control(task)

    def exit_handler(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """See `Platform`."""
        return task.set_caching_options(False)

    def launch(self, name: StageName) -> str:
        """Return nothing: the stage trains in its step's own process."""
        del name
        return ""
