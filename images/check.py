"""Check an image from inside: everything that it imports is there, and nothing that it leaves out.

    python3 -m uae_images.check control

The last step of every build. Packages are installed without looking at what they ask for, because
kfp pins requests, urllib3 and protobuf exactly; here it is looked at.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distributions
from pkgutil import walk_packages

from packaging.requirements import Requirement

from uae_images.contents import IMAGE_NAMES, Contents, ContentsError, ImageName, normal

PINNED_EXACTLY_BY = {"kfp": {"requests", "urllib3"}, "kfp-kubernetes": {"requests", "urllib3"}}


def main() -> None:
    """Check the image that the argument names."""
    names = [name for name in IMAGE_NAMES if sys.argv[1:] == [name]]
    if not names:
        raise SystemExit(f"usage: python3 -m uae_images.check {'|'.join(IMAGE_NAMES)}")
    print(f"{names[0]}: {check(names[0])} modules can be imported")


def check(image: ImageName) -> int:
    """Check the environment that this runs in; return the number of modules imported.

    Raises:
        ContentsError: Naming everything that is missing, of a wrong version, or not left out.
    """
    contents = Contents.read()
    left_out = contents.left_out_of(image)
    faults = [*requirement_faults(installed(), left_out)]
    modules = [module for pattern in contents.imports[image] for module in expand(pattern)]
    for module in modules:
        try:
            import_module(module)
        except Exception as error:  # all of them are told, whatever they raise
            faults.append(f"{module} cannot be imported: {type(error).__name__}: {error}")
    if faults:
        raise ContentsError(f"image {image} is not whole:\n  " + "\n  ".join(faults))
    return len(modules)


def installed() -> dict[str, tuple[str, list[str]]]:
    """Return version and requirements of every package here, by name."""
    return {
        normal(found.metadata["Name"]): (found.version, list(found.requires or []))
        for found in distributions()
    }


def requirement_faults(
    packages: dict[str, tuple[str, list[str]]], left_out: set[str]
) -> Iterator[str]:
    """Describe what packages ask for and do not have.

    Args:
        packages: Version and requirements by name.
        left_out: Names of what is not here on purpose.
    """
    for name in sorted(left_out & packages.keys()):
        yield f"{name} is here, and contents.yaml leaves it out"
    for name, (_, lines) in sorted(packages.items()):
        for requirement in map(Requirement, lines):
            needed = normal(requirement.name)
            if needed in left_out or needed in PINNED_EXACTLY_BY.get(name, set()):
                continue
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            if needed not in packages:
                yield f"{name} needs {requirement}, which is missing"
            elif not requirement.specifier.contains(packages[needed][0], prereleases=True):
                yield f"{name} needs {requirement}, {packages[needed][0]} is here"


def expand(pattern: str) -> Iterator[str]:
    """Return the modules that a line of `imports` stands for.

    >>> list(expand("uae.errors"))
    ['uae.errors']
    """
    package, star, _ = pattern.partition(".*")
    yield package
    if star:
        paths = import_module(package).__path__
        yield from (module.name for module in walk_packages(paths, f"{package}."))


if __name__ == "__main__":
    main()
