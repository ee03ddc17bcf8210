"""What stands in tests where a pipeline hands a step an artifact."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Place:
    """Stands where a pipeline's artifact stands: a path and facts."""

    path: str
    uri: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def log_metric(self, metric: str, value: float) -> None:
        self.metadata[metric] = value
