"""Names of labels on what UAE runs on a cluster: pods of steps, TrainJobs and their pods."""

from __future__ import annotations

RUN_LABEL, STAGE_LABEL, COST_LABEL = "uae/run", "uae/stage", "uae/cost-center"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PART_OF = {"app.kubernetes.io/part-of": "uae"}


def common_labels(stage: str, cost_center: str) -> dict[str, str]:
    """Return what stands on every pod: whose it is, what it does and who pays."""
    return PART_OF | {STAGE_LABEL: stage.replace("_", "-"), COST_LABEL: cost_center}
