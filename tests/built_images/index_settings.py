"""What pip on this machine knows of its index, for pip in a build: addresses and certificates.

Given to the build as secrets, so nothing of it is in an image.
"""

import subprocess
import sys
from pathlib import Path

CERTIFICATES_INSIDE = "/etc/pip-ca.crt"
PASSED_ON = {"index-url", "extra-index-url", "trusted-host", "timeout"}


def index_options(folder: Path) -> list[str]:
    """Write a pip.conf for the build; return the options with which `uae_images.build` takes it."""
    settings = _pip_settings()
    lines = ["[global]"]
    for name in sorted(PASSED_ON & settings.keys()):
        addresses = settings[name].split()
        lines += [f"{name} = {v}" for v in (" ".join(addresses),) if "file:" not in v]
    options = []
    if certificates := settings.get("cert"):
        lines.append(f"cert = {CERTIFICATES_INSIDE}")
        options += ["--ca-certificates", certificates]
    path = folder / "pip.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["--pip-conf", str(path), *options]


def _pip_settings() -> dict[str, str]:
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = {}
    for line in listed.stdout.splitlines():  # such as global.index-url='https://...'
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'\"")
    return settings
