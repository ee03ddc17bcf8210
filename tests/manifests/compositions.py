"""Kustomizations beside the shipped ones: what somebody else may put together."""

_HEAD = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base]
components:
"""


def kustomization(*components: str) -> str:
    """Return an overlay of these components."""
    return _HEAD + "".join(f"  - ../../components/{name}\n" for name in components)


# A kfp without profiles, with all that is moved to its namespace.
STANDALONE = kustomization("store-minio", "trainjobs", "kueue", "air-gapped", "kfp-standalone")
# Every component that opens a way or protects pods, at once.
WITH_EVERYTHING = kustomization(
    "store-minio", "trainjobs", "one-node", "notifications", "model-registry", "kfp-plugin-driver"
)
