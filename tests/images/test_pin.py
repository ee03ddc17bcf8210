import hashlib
import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from uae_images.pin import PinError, main, pin
from uae_images.references import ImageReferences

FIRST, SECOND = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TEXT = """\
# Ours.
bases:
  debian: {name: docker.io/library/debian, tag: bookworm-slim, digest: null}
images:
  control: {name: REGISTRY/uae-control, tag: 0.1.0, digest: null}
  trainer: {name: REGISTRY/uae-trainer, tag: 0.1.0, digest: null}
  evaluator: {name: REGISTRY/uae-evaluator, tag: 0.1.0, digest: null}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "images.yaml"
    path.write_text(TEXT.replace("REGISTRY", "registry.example/uae"), encoding="utf-8")
    return path


@pytest.fixture
def skopeo(tmp_path, monkeypatch):
    """A skopeo that notes its arguments and answers as it is told."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def answer(text: str = FIRST, *, code: int = 0) -> Path:
        calls = tmp_path / "calls"
        program = programs / "skopeo"
        stream = "stderr" if code else "stdout"
        program.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"print({text!r}, file=sys.{stream})\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        return calls

    monkeypatch.setenv("PATH", str(programs))
    return answer


def test_every_image_is_asked_for_by_its_tag_and_pinned(file, skopeo):
    calls = skopeo()
    told = pin(file, set())
    assert calls.read_text().splitlines() == [
        f"inspect --no-tags --format {{{{.Digest}}}} docker://{name}"
        for name in (
            "docker.io/library/debian:bookworm-slim",
            "registry.example/uae/uae-control:0.1.0",
            "registry.example/uae/uae-trainer:0.1.0",
            "registry.example/uae/uae-evaluator:0.1.0",
        )
    ]
    references = ImageReferences.read(file)
    assert references.pinned
    assert references.image("control") == f"registry.example/uae/uae-control@{FIRST}"
    assert told[1] == f"registry.example/uae/uae-control:0.1.0 is {FIRST}"
    assert file.read_text().startswith("# Ours.\n")


def test_a_moved_tag_is_told_and_one_that_stayed(file, skopeo):
    skopeo()
    pin(file, {"control", "trainer"})
    skopeo(SECOND)
    (told,) = pin(file, {"control"})
    assert told == f"registry.example/uae/uae-control:0.1.0 is {SECOND}, was {FIRST}"
    skopeo(FIRST)
    (told,) = pin(file, {"trainer"})
    assert told.endswith(f"{FIRST}, as before")
    assert ImageReferences.read(file).images.evaluator.digest is None


def test_nothing_is_written_when_a_registry_refuses(file, skopeo, capsys, monkeypatch):
    skopeo("manifest unknown", code=1)
    before = file.read_text()
    monkeypatch.setattr(sys, "argv", ["pin", "--file", str(file)])
    assert main() == 2
    told = capsys.readouterr().err
    assert "docker.io/library/debian:bookworm-slim: manifest unknown" in told
    assert file.read_text() == before


@pytest.mark.parametrize("said", ["", "sha256:12", f"{FIRST}\n{FIRST}"])
def test_an_answer_that_is_no_digest_is_refused(file, skopeo, said):
    skopeo(said)
    with pytest.raises(PinError, match="gave no digest of docker"):
        pin(file, {"debian"})


def test_without_skopeo_or_a_registry_or_with_an_unknown_name(file, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PinError, match="skopeo is not installed"):
        pin(file, {"control"})
    with pytest.raises(PinError, match=r"no image judge .*control, debian, evaluator, trainer"):
        pin(file, {"judge"})
    file.write_text(TEXT.replace("REGISTRY", "uae"), encoding="utf-8")
    with pytest.raises(PinError, match=r"uae/uae-control:0\.1\.0 names no registry"):
        pin(file, {"control"})


class Registry(BaseHTTPRequestHandler):
    """What a registry answers to who only reads: two manifests and their configuration."""

    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}
    ).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"

    @classmethod
    def manifest(cls) -> bytes:
        digest = "sha256:" + hashlib.sha256(cls.config).hexdigest()
        described = {"digest": digest, "size": len(cls.config)}
        described["mediaType"] = "application/vnd.oci.image.config.v1+json"
        return json.dumps(
            {"schemaVersion": 2, "mediaType": cls.kind, "config": described, "layers": []}
        ).encode()

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._send(b"{}", "application/json")
        elif self.path.startswith("/v2/uae/uae-control/manifests/"):
            self._send(self.manifest(), self.kind)
        elif self.path.startswith("/v2/uae/uae-control/blobs/"):
            self._send(self.config, "application/octet-stream")
        else:
            self.send_error(404)

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def registry():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_the_real_skopeo_reads_a_registry(file, registry):
    file.write_text(TEXT.replace("REGISTRY", f"{registry}/uae"), encoding="utf-8")
    pin(file, {"control"}, plain_http=True)
    expected = "sha256:" + hashlib.sha256(Registry.manifest()).hexdigest()
    assert ImageReferences.read(file).images.control.digest == expected
    with pytest.raises(PinError, match=f"no digest of {registry}/uae/uae-trainer:0.1.0"):
        pin(file, {"trainer"}, plain_http=True)
