import pytest

from uae.data.starter.scenes import draw_scene_with_masks
from uae.data.starter.vocabulary import CLASSES, COLORS
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.geneval.base import Detector
from uae.evaluation.geneval.models import GenevalModels
from uae.evaluation.geneval.rules import Detection


class Oracle(Detector):
    """Detector and colour classifier that know the scenes; `blind` finds nothing."""

    classes = CLASSES
    colors = tuple(COLORS)
    batch_size = 4

    def __init__(self, scenes, *, blind=False):
        self.identity = {"kind": "oracle"}
        self.blind = blind
        self.truth = {scene_picture(facts).tobytes(): facts for facts in scenes}
        self.num_classified = []

    def infer(self, pictures):
        assert 0 < len(pictures) <= self.batch_size
        return list(pictures)

    def objects(self, output):
        return [[] if self.blind else self._objects(picture) for picture in output]

    def _objects(self, picture):
        facts = self.truth[picture.tobytes()]
        _, masks = draw_scene_with_masks(facts)
        pairs = zip(facts.objects, masks, strict=True)
        return [Detection(o.name, 0.95, o.box, mask) for o, mask in pairs]

    def classify(self, objects):
        self.num_classified.append(len(objects))
        return [
            next(o.color for o in self.truth[p.tobytes()].objects if o.box == d.box)
            for p, d in objects
        ]


@pytest.fixture
def oracle_models():
    """Make models that know the given scenes."""

    def make(scenes, **options):
        oracle = Oracle(scenes, **options)
        return GenevalModels(oracle, oracle)

    return make
