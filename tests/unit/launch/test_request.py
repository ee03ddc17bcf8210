"""What a run was asked for: kept, read back, and refused where kfp would change it."""

from dataclasses import asdict
from pathlib import Path

import pytest

from uae.errors import RunError
from uae.launch.request import Request

REQUEST = Request("seed: 0\nname: a\n", "/data/pictures", "", "uae")


def test_request_is_read_back(tmp_path):
    REQUEST.write(tmp_path)
    assert Request.read(tmp_path) == REQUEST


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"recipe": "", "data": "", "endpoint": ""}', r"no text: bucket\): resume with"),
        ('{"recipe": "", "data": 1, "endpoint": "", "bucket": ""}', r"no text: data\)"),
        (
            '{"recipe": "", "data": "", "endpoint": "", "bucket": "", "seed": "0"}',
            r"no text: seed\)",
        ),
        ("[]", r"no text: bucket, data, endpoint, recipe\)"),
        ('{"recipe": ', "is no JSON"),
    ],
)
def test_request_of_another_version_is_named(tmp_path, text, says):
    (tmp_path / "request.json").write_text(text)
    with pytest.raises(RunError, match=rf"request\.json .*{says}"):
        Request.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "folder", "says"),
    [
        ({}, "/home/a/python3-work/runs/x", "run folder '/home/a/python3-work/runs/x'"),
        ({"data": "/data/python3-photos"}, "/runs/x", "data '/data/python3-photos'"),
        ({"bucket": "python3"}, "/runs/x", "bucket 'python3'"),
        (
            {"recipe": "models:\n  base: /python3/weights\n"},
            "/runs/x",
            "recipe, line 'base: /python3/weights'",
        ),
    ],
)
def test_what_kfp_would_change_is_refused(changes, folder, says):
    request = Request(**asdict(REQUEST) | changes)
    with pytest.raises(RunError, match=f"^{says}: kfp's local runner would replace"):
        request.check_for_kfp(Path(folder))
    REQUEST.check_for_kfp(Path("/python/3/runs/x"))
