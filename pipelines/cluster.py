"""What a step of the pipeline gets on Kubernetes: image, resources, secrets, retries, labels.

Nothing here changes a result, and a run on one machine ignores it all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kfp import dsl, kubernetes

from uae.launch.labels import QUEUE_LABEL, common_labels
from uae.launch.location import JOB_VARIABLE
from uae.launch.notification import RECIPIENTS, SENDER, SMTP, WEBHOOK
from uae.launch.resources import (
    WEIGHTS_PATH,
    Resources,
    Retries,
    StageName,
    StepResources,
)
from uae_images.references import ImageReferences

RESOURCES_FOLDER = Path(__file__).parent / "resources"
DEFAULT_RESOURCES = "starter"

STORE_SECRET = "uae-store"
STORE_KEYS = {"access-key-id": "AWS_ACCESS_KEY_ID", "secret-access-key": "AWS_SECRET_ACCESS_KEY"}
NOTIFY_SECRET = "uae-notify"
NOTIFY_KEYS = {
    "webhook-url": WEBHOOK,
    "smtp-url": SMTP,
    "mail-from": SENDER,
    "mail-to": RECIPIENTS,
}
RUN_ID_LABEL = "metadata.labels['pipeline/runid']"  # kfp puts it on every pod of an execution
USER = 65532  # of the images
EXIT_RETRIES = 1  # with the store away, each try of the exit handler notifies anew
QUEUE_SECONDS = 7 * 86400  # how long a TrainJob may wait before it runs

Image = Literal["control", "trainer", "evaluator"]


@dataclass(frozen=True)
class Cluster:
    """Which images the steps run in, and what each gets."""

    resources: Resources
    images: ImageReferences

    @property
    def caches(self) -> bool:
        """Whether kfp may take a step's earlier result: only if the image is the same for sure."""
        return self.images.pinned

    @property
    def caches_evaluations(self) -> bool:
        """As `caches`, for steps that read weights: what lies on a claim is in no cache key."""
        return self.caches and self.resources.weights_claim is None

    @property
    def ttl_seconds(self) -> int:
        """How long the objects of a finished run stay."""
        return self.resources.ttl_seconds

    def control(self, task: dsl.PipelineTask, *, cached: bool = False) -> dsl.PipelineTask:
        """Set up a step that needs no tensors."""
        cached = cached and self.caches
        return self._set_up(task, "control", self.resources.control, cached=cached)

    def evaluation(
        self, task: dsl.PipelineTask, *, tolerations: Any, node_selector: Any
    ) -> dsl.PipelineTask:
        """Set up a step that judges a model."""
        _place(task, tolerations, node_selector)
        cached = self.caches_evaluations
        return self._set_up(task, "evaluator", self.resources.evaluation, cached=cached)

    def stage(
        self, task: dsl.PipelineTask, name: StageName, *, tolerations: Any, node_selector: Any
    ) -> dsl.PipelineTask:
        """Set up the step of a trained stage: it trains itself, or starts and follows a TrainJob.

        Then the accelerators belong to the job alone, and the step waits for it, in the queue too.
        """
        wanted = getattr(self.resources.stages, name)
        if wanted.launcher == "trainjob":
            waits = {"timeout_seconds": wanted.timeout_seconds + QUEUE_SECONDS}
            wanted = self.resources.control.model_copy(update=waits)
            return self._set_up(task, "control", wanted, cached=False)
        _place(task, tolerations, node_selector)
        if self.resources.queue:
            kubernetes.add_pod_label(task, QUEUE_LABEL, self.resources.queue)
        return self._set_up(task, "trainer", wanted, cached=False)

    def launch(self, name: StageName) -> str:
        """Return what the step of a trained stage is told of how it is run."""
        return self.resources.launch(name, self.images.image("trainer")).to_json()

    def exit_handler(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Set up the step that reports and notifies; who is notified is a secret."""
        self.control(task)
        once = self.resources.retries.model_copy(update={"number": EXIT_RETRIES})
        self._retry(task, once, self.resources.control.timeout_seconds)
        keys = dict(NOTIFY_KEYS)
        return kubernetes.use_secret_as_env(task, NOTIFY_SECRET, keys, optional=True)

    def _set_up(
        self, task: dsl.PipelineTask, image: Image, wanted: StepResources, *, cached: bool
    ) -> dsl.PipelineTask:
        task.set_container_image(self.images.image(image)).set_caching_options(cached)
        self._retry(task, self.resources.retries, wanted.timeout_seconds)
        task.set_cpu_request(wanted.cpu).set_cpu_limit(wanted.cpu)
        task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
        if wanted.accelerators:
            task.set_accelerator_type(self.resources.accelerator)
            task.set_accelerator_limit(wanted.accelerators)
        self._set_up_pod(task, wanted)
        return task

    def _retry(self, task: dsl.PipelineTask, retries: Retries, timeout_seconds: int) -> None:
        task.set_retry(
            retries.number,
            backoff_duration=f"{retries.backoff_seconds}s",
            backoff_factor=retries.factor,
            backoff_max_duration=f"{retries.window_seconds(timeout_seconds)}s",
        )

    def _set_up_pod(self, task: dsl.PipelineTask, wanted: StepResources) -> None:
        kubernetes.set_timeout(task, wanted.timeout_seconds)
        kubernetes.set_security_context(
            task, run_as_user=USER, run_as_group=USER, run_as_non_root=True
        )
        kubernetes.use_field_path_as_env(task, JOB_VARIABLE, RUN_ID_LABEL)
        kubernetes.use_secret_as_env(task, STORE_SECRET, dict(STORE_KEYS))
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory
        )
        kubernetes.empty_dir_mount(task, "scratch", "/tmp")
        if self.resources.weights_claim:
            kubernetes.mount_pvc(task, self.resources.weights_claim, WEIGHTS_PATH)
        labels = common_labels(task.component_spec.name, self.resources.cost_center)
        for label, value in labels.items():
            kubernetes.add_pod_label(task, label, value)


def _place(task: dsl.PipelineTask, tolerations: Any, node_selector: Any) -> None:
    """Let pipeline parameters say on which nodes a step may run."""
    kubernetes.add_toleration_json(task, tolerations)
    kubernetes.add_node_selector_json(task, node_selector)
