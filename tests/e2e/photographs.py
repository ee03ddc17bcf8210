"""A data set of the photographs that scikit-image and scikit-learn ship, with honest captions.

Captions were written for this test by looking at the pictures; sources and licences are those that
the two packages name.
"""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import skimage
import sklearn


class Photograph(NamedTuple):
    file: str
    caption: str
    source: str
    licence: str


SKIMAGE = (
    Photograph(
        "astronaut.png",
        "a smiling woman in an orange space suit, a flag and a space shuttle behind her",
        "NASA Great Images, https://flic.kr/p/r9qvLn",
        "public-domain",
    ),
    Photograph(
        "brick.png",
        "gray bricks side by side with light joints, in black and white",
        "CC0Textures, https://cc0textures.com/view.php?tex=Bricks25",
        "CC0-1.0",
    ),
    Photograph(
        "camera.png",
        "a man in a dark coat looks through a camera on a tripod, on grass, in black and white",
        "Lav Varshney",
        "CC0-1.0",
    ),
    Photograph(
        "cell.png",
        "a bright round cell on a dark gray background",
        "Paul Müller and others, phase image of a cell",
        "CC0-1.0",
    ),
    Photograph(
        "chelsea.png",
        "the face of a ginger tabby cat, looking past the camera",
        "Stéfan van der Walt",
        "CC0-1.0",
    ),
    Photograph(
        "clock_motion.png",
        "a bright round clock, blurred sideways, on a plain gray wall",
        "Stéfan van der Walt",
        "public-domain",
    ),
    Photograph(
        "coffee.png",
        "a cup of coffee on a red saucer with a spoon, on a wooden table",
        "Rachel Michetti, Pikolo Espresso Bar",
        "CC0-1.0",
    ),
    Photograph(
        "grass.png",
        "grass and small leaves seen from above, in black and white",
        "linolafett, https://www.deviantart.com/linolafett/art/Grass-01-434853879",
        "CC0-1.0",
    ),
    Photograph(
        "gravel.png",
        "gray gravel of small stones, seen from above",
        "CC0Textures, https://cc0textures.com/view.php?tex=Gravel04",
        "CC0-1.0",
    ),
    Photograph(
        "hubble_deep_field.jpg",
        "many small galaxies and stars on a black sky",
        "NASA, http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        "public-domain",
    ),
    Photograph(
        "retina.jpg",
        "a round orange retina with red blood vessels and a bright spot at the left",
        "Mikael Häggström, WikiJournal of Medicine 1 (2)",
        "CC0-1.0",
    ),
    Photograph(
        "rocket.jpg",
        "a white rocket on its launch pad at dusk, between metal towers and lights",
        "SpaceX Photos, https://www.flickr.com/photos/spacexphotos/16511594820",
        "public-domain",
    ),
)
SKLEARN = (
    Photograph(
        "china.jpg",
        "a tall Chinese pavilion with curved roofs among trees above a lake",
        "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
        "CC-BY-2.0",
    ),
    Photograph(
        "flower.jpg",
        "a round orange flower with many petals in front of dark green leaves",
        "https://www.flickr.com/photos/vultilion/6056698931",
        "CC-BY-2.0",
    ),
)
PHOTOGRAPHS = (*SKIMAGE, *SKLEARN)


def write_photographs(folder: Path) -> Path:
    """Copy the files unchanged, write captions.jsonl beside them, and return the folder."""
    images = folder / "images"
    images.mkdir(parents=True)
    places = {Path(skimage.__file__).parent / "data": SKIMAGE}
    places[Path(sklearn.__file__).parent / "datasets" / "images"] = SKLEARN
    rows = []
    for place, photographs in places.items():
        for one in photographs:
            shutil.copyfile(place / one.file, images / one.file)
            rows.append(
                {
                    "image_id": Path(one.file).stem,
                    "image": f"images/{one.file}",
                    "caption": one.caption,
                    "source": one.source,
                    "licence": one.licence,
                }
            )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(text, encoding="utf-8")
    return folder
