import json
from email.message import Message

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from uae_images.inventory import (
    NO_LICENCE,
    Package,
    debian_licence,
    python_licence,
    read_inventory,
)
from uae_images.materials import bill_of_materials, licences_page

PACKAGES = [
    Package("deb", "libc6", "2.36-9", "LGPL-2.1, GPL-2"),
    Package("pypi", "kfp", "2.17.0", "Apache Software License", "https://kubeflow.example"),
    Package("pypi", "numpy", "2.4", "BSD-3-Clause AND MIT"),
    Package("pypi", "odd", "1", NO_LICENCE),
    Package("pypi", "uae", "0.1.0", "Apache-2.0"),
]


def test_a_bill_of_materials_is_valid_cyclonedx_and_always_the_same():
    text = bill_of_materials("uae-control", PACKAGES)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == bill_of_materials("uae-control", PACKAGES)
    assert text != bill_of_materials("uae-control", PACKAGES[1:])
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "uae-control"
    components = {component["name"]: component for component in bill["components"]}
    assert components["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9"
    assert components["kfp"]["licenses"] == [{"license": {"name": "Apache Software License"}}]
    assert components["numpy"]["licenses"] == [{"expression": "BSD-3-Clause AND MIT"}]
    assert "licenses" not in components["odd"]
    assert "purl" not in components["uae"]  # from here, not from a registry


def test_a_list_of_licences_has_a_row_for_every_package():
    page = licences_page("uae-control", PACKAGES).splitlines()
    assert "| libc6 (Debian) | 2.36-9 | LGPL-2.1, GPL-2 |" in page
    assert "| odd | 1 | not stated |" in page
    assert len(page) == 4 + len(PACKAGES)


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        ({"License-Expression": "MIT", "License": "see file"}, "MIT"),
        ({"License": "Apache 2.0"}, "Apache 2.0"),
        ({"License": "Copyright (c) 2020\nAll rights reserved, and so on"}, NO_LICENCE),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved :: BSD"}, "BSD"),
        ({"Classifier": "Topic :: Software"}, NO_LICENCE),
    ],
)  # fmt: skip
def test_a_python_package_s_licence_is_its_expression_or_what_it_says(headers, licence):
    metadata = Message()
    for name, value in headers.items():
        metadata[name] = value
    assert python_licence(metadata) == licence


def test_a_debian_package_s_licences_are_named_once():
    text = (
        "Files: *\nLicense: GPL-2+\n text\n\nFiles: b\nLicense: Expat\n\nLicense: GPL-2+\n more\n"
    )
    assert debian_licence(text) == "GPL-2+, Expat"
    prose = "See /usr/share/common-licenses/LGPL-2.1. Also `/usr/share/common-licenses/GPL-2'.\n"
    assert debian_licence(prose) == "LGPL-2.1, GPL-2"
    assert debian_licence("You may do as you like.\n") == "its own text"
    assert debian_licence("") == NO_LICENCE


def test_an_inventory_is_read_as_it_was_printed():
    printed = json.dumps([package._asdict() for package in PACKAGES])
    assert read_inventory(printed) == PACKAGES
