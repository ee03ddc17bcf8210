"""The images that steps run in, as `images/images.yaml` names them."""

from uae_images.references import ImageReferences

_REFERENCES = ImageReferences.read()
CONTROL = _REFERENCES.image("control")
TRAINER = _REFERENCES.image("trainer")
EVALUATOR = _REFERENCES.image("evaluator")
