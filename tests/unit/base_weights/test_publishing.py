"""Publishing base weights replaces what was there only when all went well."""

from functools import partial

import pytest

from uae.base_weights import judge, scorers, segmenter, ssl
from uae.models.bundle import read_json

PUBLISHERS = {
    "judge": judge.publish,
    "detector": segmenter.publish,
    "scorers/ssl": ssl.publish,
    "scorers/clip": partial(scorers.publish, "clip"),
}
MEASURES = (
    "judge.measure", "detector_measures.measure_detector", "ssl.cosine_by_changes",
    "ssl.cosine_by_kind", "scorers.measure_clip",
)  # fmt: skip


@pytest.fixture
def measure_as(monkeypatch):
    """Publish untrained models, and let every measurement be the given function."""
    for module in (judge, scorers, segmenter, ssl):
        monkeypatch.setattr(module, "load_trained", lambda *_: 0)
    monkeypatch.setattr(scorers, "POOL_SIZE", 50)

    def measure_as(measure):
        for name in MEASURES:
            monkeypatch.setattr(f"uae.base_weights.{name}", measure)

    return measure_as


@pytest.mark.parametrize("name", PUBLISHERS)
def test_weights_are_replaced_whole_or_not_at_all(name, measure_as, tmp_path):
    out = tmp_path / "weights" / name
    out.mkdir(parents=True)
    (out / "earlier").touch()

    def fail(*_, **__):
        raise RuntimeError("cut off")

    measure_as(fail)
    with pytest.raises(RuntimeError, match="cut off"):
        PUBLISHERS[name](tmp_path, tmp_path / "weights")
    assert [path.name for path in out.iterdir()] == ["earlier"]
    assert list(out.parent.iterdir()) == [out]

    measure_as(lambda *_, **__: {"accuracy": 0.5})
    assert PUBLISHERS[name](tmp_path, tmp_path / "weights") == {"accuracy": 0.5}
    assert read_json(out / "metrics.json") == {"accuracy": 0.5}
    assert list(out.glob("*.safetensors"))
    assert not (out / "earlier").exists()
    assert list(out.parent.iterdir()) == [out]
