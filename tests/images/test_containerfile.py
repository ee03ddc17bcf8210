import re
import subprocess
import sys
from pathlib import Path

from uae_images.contents import IMAGE_NAMES
from uae_pipelines.commands import SPEED

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "images" / "Containerfile"
LINES = CONTAINERFILE.read_text(encoding="utf-8").splitlines()
# A rule that is switched off, and why it may be.
IGNORED = {
    "DL3006": "the base's tag or digest is in images.yaml",
    "DL3008": "Debian keeps no older versions to pin to",
}


def hadolint(path: Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).parent / "hadolint"
    return subprocess.run([program, path], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing():
    done = hadolint(CONTAINERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_finds_what_is_wrong(tmp_path):
    bad = tmp_path / "Containerfile"
    bad.write_text("FROM debian:bookworm-slim\nRUN cd /x && sudo ls\n", encoding="utf-8")
    done = hadolint(bad)
    assert done.returncode == 1
    assert "DL3004" in done.stdout


def test_only_rules_with_a_reason_are_ignored():
    ignored = [match[1] for line in LINES if (match := re.match(r"# hadolint ignore=(.*)", line))]
    assert set(ignored) == set(IGNORED)


def test_no_image_is_named_in_it():
    stages = {line.split()[-1] for line in LINES if line.startswith("FROM")}
    froms = {line.split()[1] for line in LINES if line.startswith("FROM")}
    assert froms - stages == {"${BASE}"}
    assert LINES.count("ARG BASE") == 1 + len(IMAGE_NAMES)  # no default, so no second place
    assert set(IMAGE_NAMES) <= stages


def test_no_health_check_no_root_and_an_entry_point_in_every_image():
    text = "\n".join(LINES)
    assert "HEALTHCHECK" not in text
    for name in IMAGE_NAMES:
        stage = re.split(r"\nFROM ", text.split(f" AS {name}\n")[1])[0]
        assert "USER 65532:65532" in stage
        assert 'ENTRYPOINT ["/opt/uae/bin/uae"]' in stage
        assert f'org.opencontainers.image.title="uae-{name}"' in stage
        assert f"python3 -m uae_images.check {name} " in stage


def test_images_with_tensors_have_the_variables_of_a_local_run():
    stage = "\n".join(LINES).split(" AS torch\n")[1].split("\nFROM ")[0]
    given = dict(re.findall(r"(\w+)=(\S+)", stage))
    assert SPEED.items() <= given.items()


def test_what_is_copied_is_in_the_build_s_context():
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [
        source
        for line in LINES
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
        if not source.startswith("--")
    ]
    assert {Path(source).parts[0] for source in copied} == allowed
    assert all((ROOT / source).exists() for source in copied)
