import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from uae.recipe_files import load_recipe


def encode(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def picture(index: int, side: int = 48) -> bytes:
    """A PNG that differs from that of every other index."""
    image = Image.new("RGB", (side, side), (37 * index % 256, 90, 200))
    image.putpixel((index % side, index // side), (255, 255, 255))
    return encode(image)


def claim_size(side):
    """A PNG of a few bytes whose header claims side x side pixels."""

    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


class Folder:
    """A data folder that a test fills row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.rows: list[str] = []

    def add(self, image_id: str, image: bytes | None = None, **changes: object) -> None:
        name = f"{image_id}.png"
        if image is None:
            image = picture(len(self.rows))
        (self.path / name).write_bytes(image)
        row = {
            "image_id": image_id,
            "image": name,
            "caption": f"a blue square number {len(self.rows)}",
            "source": "drawn by the test",
            "licence": "CC0-1.0",
            **changes,
        }
        self.add_line(json.dumps({key: value for key, value in row.items() if value is not ...}))

    def add_line(self, line: str) -> None:
        self.rows.append(line)
        (self.path / "captions.jsonl").write_text("\n".join(self.rows) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """Six good samples."""
    made = Folder(tmp_path / "source")
    for index in range(6):
        made.add(f"good-{index}")
    return made


@pytest.fixture(scope="session")
def recipe():
    """The starter's, without the early stopping for which the tests' samples are too few."""
    starter = load_recipe("starter")
    last = starter.understanding_for_generation.model_copy(update={"early_stopping": None})
    return starter.model_copy(update={"understanding_for_generation": last})


@pytest.fixture
def encode_image():
    return encode


@pytest.fixture
def png():
    return picture


@pytest.fixture
def bomb():
    return claim_size
