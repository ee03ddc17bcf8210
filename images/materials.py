"""The bill of materials (CycloneDX 1.6) and the list of licences of an image.

    .venv/bin/python -m uae_images.materials

writes those of the closed lists to images/materials/: what of Python's packages is in each image,
readable without building it. `make images` writes the whole ones, Debian's packages included.
"""

import json
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from uae.replacement import replaced_file
from uae_images.contents import IMAGE_NAMES
from uae_images.inventory import NO_LICENCE, Package, python_package
from uae_images.lists import check_platform, read_list

FOLDER = Path(__file__).parent / "materials"
OURS = "uae"  # comes from here, not from a registry


def main() -> None:
    """Write what the closed lists bring to images/materials/."""
    check_platform()
    FOLDER.mkdir(exist_ok=True)
    for image in IMAGE_NAMES:
        write_materials(FOLDER, image, f"uae-{image}", listed_packages(image))


def listed_packages(image: str) -> list[Package]:
    """Describe the packages of a closed list, as they are installed here."""
    return [python_package(distribution(name)) for name in read_list(image)]


def write_materials(folder: Path, image: str, title: str, packages: Iterable[Package]) -> None:
    """Write <image>.cdx.json and <image>.licences.md.

    Args:
        folder: Where they go.
        image: Name of the files.
        title: What the image is called in them.
        packages: Everything in it.
    """
    listed = sorted(packages)
    for suffix, text in (
        (".cdx.json", bill_of_materials(title, listed)),
        (".licences.md", licences_page(title, listed)),
    ):
        with replaced_file(folder / f"{image}{suffix}") as fresh:
            fresh.write_text(text, encoding="utf-8")


def bill_of_materials(title: str, packages: Iterable[Package]) -> str:
    """Return a CycloneDX document; the same packages always give the same one."""
    components = [_component(package) for package in packages]
    described = Component(name=title, type=ComponentType.CONTAINER, bom_ref=title)
    content = title + "".join(str(component.bom_ref) for component in components)
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=described),
        serial_number=uuid5(NAMESPACE_URL, content),
    )
    bom.register_dependency(described, components)
    values = json.loads(JsonV1Dot6(bom).output_as_string())
    del values["metadata"]["timestamp"]  # optional, and all that would differ
    return json.dumps(values, indent=1) + "\n"


def licences_page(title: str, packages: Iterable[Package]) -> str:
    """Return the list of licences as Markdown."""
    lines = [f"# Licences in {title}", "", "| package | version | licence |", "|---|---|---|"]
    for package in packages:
        kind = " (Debian)" if package.kind == "deb" else ""
        licence = package.licence.replace("|", "\\|")
        lines.append(f"| {package.name}{kind} | {package.version} | {licence} |")
    return "\n".join(lines) + "\n"


def _component(package: Package) -> Component:
    url = PackageURL(
        type=package.kind,
        namespace="debian" if package.kind == "deb" else None,
        name=package.name,
        version=package.version,
    )
    known = package.licence != NO_LICENCE
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=None if package.name == OURS else url,
        bom_ref=str(url),
        licenses=[LicenseFactory().make_from_string(package.licence)] if known else [],
        external_references=[
            ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(package.homepage))
        ]
        if package.homepage
        else [],
    )


if __name__ == "__main__":
    main()
