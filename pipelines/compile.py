"""Compile the pipeline to the package that is submitted to a cluster."""

from pathlib import Path

from kfp import compiler

from uae.launch.resources import load_resources
from uae_images.references import IMAGES_FILE, ImageReferences
from uae_pipelines.cluster import DEFAULT_RESOURCES, RESOURCES_FOLDER, Cluster
from uae_pipelines.pipeline import build_pipeline

PACKAGE = Path(__file__).parent / "uae.yaml"


def compile_pipeline(
    package: Path = PACKAGE, *, resources: str = DEFAULT_RESOURCES, images: Path = IMAGES_FILE
) -> Path:
    """Write the compiled package and return its path.

    Args:
        package: File to write.
        resources: What steps get on the cluster: a shipped name, or a YAML file.
        images: File with the image references. Where they are pinned by digest, kfp may take
            the earlier result of a data or evaluation step.

    Raises:
        ResourcesError: If the resources are not valid.
        ImageReferenceError: If the image references are not.
    """
    cluster = Cluster(load_resources(resources, RESOURCES_FOLDER), ImageReferences.read(images))
    compiler.Compiler().compile(build_pipeline(cluster), package_path=str(package))
    return package


if __name__ == "__main__":
    print(compile_pipeline())
