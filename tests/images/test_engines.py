import sys
from pathlib import Path

import pytest

from uae_images.build import describe, revision, source_url
from uae_images.engines import Engine, EngineError
from uae_images.references import ImageReferences

DIGEST = "sha256:" + "c" * 64


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs that note their arguments; each answers a word."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")

    def add(name: str, *, answer: str = "", code: int = 0) -> Path:
        calls = tmp_path / f"{name}.calls"
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"print({answer!r})\nprint('it broke', file=sys.stderr)\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        return calls

    return add


def test_the_first_engine_that_is_there_is_taken_and_one_can_be_named(programs):
    with pytest.raises(EngineError, match="buildah or podman or docker is not installed"):
        Engine.find()
    programs("docker")
    programs("podman")
    assert Engine.find().name == "podman"
    assert Engine.find("docker").name == "docker"
    with pytest.raises(EngineError, match="buildah is not installed"):
        Engine.find("buildah")
    with pytest.raises(EngineError, match="'kaniko' builds no images"):
        Engine.find("kaniko")


@pytest.mark.parametrize(
    ("name", "more"), [("buildah", "--layers "), ("podman", ""), ("docker", "")]
)
def test_a_build_gives_base_version_labels_secrets_and_tag(programs, tmp_path, name, more):
    calls = programs(name)
    build = describe("control", ImageReferences.read(), {"pip_conf": tmp_path / "pip.conf"})
    build = build._replace(labels={"org.opencontainers.image.source": "https://code.example"})
    build = build._replace(arguments=build.arguments | {"REVISION": "abc"})
    Engine.find(name).build(build)
    (call,) = calls.read_text().splitlines()
    assert call == (
        f"build {more}--file {build.containerfile} --target control "
        "--build-arg BASE=docker.io/library/debian:bookworm-slim --build-arg VERSION=0.1.0 "
        "--build-arg REVISION=abc --label org.opencontainers.image.source=https://code.example "
        f"--secret id=pip_conf,src={tmp_path}/pip.conf --tag uae-control:0.1.0 {build.context}"
    )


def test_a_failing_engine_is_an_error_with_its_words(programs):
    programs("podman", code=3)
    with pytest.raises(EngineError, match="ended with 3, see above"):
        Engine.find().build(describe("trainer", ImageReferences.read(), {}))
    with pytest.raises(EngineError, match="run ended with 3: it broke"):
        Engine.find().run("uae-trainer:0.1.0", ["true"])


def test_a_command_runs_without_entry_point_and_network(programs):
    calls = programs("docker", answer="42 /")
    docker = Engine.find()
    assert docker.run("uae-control:0.1.0", ["python3", "-V"]) == "42 /\n"
    assert docker.size("uae-control:0.1.0") == 42
    assert calls.read_text().splitlines() == [
        "run --rm --network=none --entrypoint python3 uae-control:0.1.0 -V",
        "run --rm --network=none --user=0 --entrypoint du uae-control:0.1.0 "
        "--summarize --bytes --one-file-system /",
    ]


def test_buildah_runs_in_a_container_that_it_removes(programs):
    calls = programs("buildah", answer="working")
    assert Engine.find().run("uae-control:0.1.0", ["python3", "-V"]) == "working\n"
    assert calls.read_text().splitlines() == [
        "from --pull-never uae-control:0.1.0",
        "run working -- python3 -V",
        "rm working",
    ]


def test_a_pinned_base_is_built_on_by_digest_and_labelled():
    values = ImageReferences.read().model_dump()
    values["bases"]["debian"]["digest"] = values["images"]["control"]["digest"] = DIGEST
    build = describe("control", ImageReferences.model_validate(values), {})
    assert build.arguments["BASE"] == f"docker.io/library/debian@{DIGEST}"
    assert build.labels["org.opencontainers.image.base.digest"] == DIGEST
    assert build.tag == "uae-control:0.1.0"  # a build has no digest yet


def test_the_revision_is_the_commit_and_says_when_files_differ(monkeypatch):
    said = {"rev-parse": "a" * 40, "status": ""}
    monkeypatch.setattr("uae_images.build._git", lambda command, *_: said[command])
    assert revision() == "a" * 40
    said["status"] = " M uae/cli.py"
    assert revision() == "a" * 40 + "-dirty"
    said["rev-parse"] = ""
    assert revision() == "unknown"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://code.example/uae.git", "https://code.example/uae.git"),
        ("https://me:secret@code.example/uae.git", ""),
        ("/srv/git/uae", ""),
        ("", ""),
    ],
)
def test_a_source_with_a_password_or_on_a_disk_is_not_published(monkeypatch, url, shown):
    monkeypatch.setattr("uae_images.build._git", lambda *_: url)
    assert source_url() == shown
