"""The words of the starter domain, and where its shipped files lie."""

from pathlib import Path

STARTER_FOLDER = Path(__file__).parents[2] / "assets" / "starter"
ARTWORK_FOLDER = STARTER_FOLDER / "artwork"
STARTER_DATA = STARTER_FOLDER / "data"
STARTER_WEIGHTS = STARTER_FOLDER / "weights"

IMAGE_SIZE = 64  # pixels a side

CLASSES = (
    "cat", "dog", "fish", "bird", "tree", "tulip", "house", "car",
    "boat", "apple", "star", "heart", "key", "umbrella", "mushroom", "butterfly",
)  # fmt: skip
PLURALS = {name: name + "s" for name in CLASSES} | {
    "fish": "fishes", "butterfly": "butterflies",
}  # fmt: skip
NUMBERS = {2: "two", 3: "three", 4: "four"}

COLORS = {  # sRGB of the artwork's main colour
    "red": (226, 44, 44),
    "yellow": (250, 204, 40),
    "green": (52, 168, 72),
    "blue": (46, 108, 232),
    "purple": (142, 72, 200),
    "pink": (255, 130, 190),
}
SIZES = {"small": 17, "large": 28}  # longer side in pixels
PLACES = {  # centre in pixels
    "top left": (16, 16),
    "top right": (48, 16),
    "bottom left": (16, 48),
    "bottom right": (48, 48),
    "center": (32, 32),
}
CORNERS = ("top left", "top right", "bottom left", "bottom right")
BACKGROUNDS = {
    "white": (246, 246, 244),
    "gray": (150, 152, 158),
    "black": (34, 34, 40),
    "tan": (222, 196, 154),
}
WORDS = (
    "SUN", "SEA", "BUS", "TEA", "ZOO", "MAP", "FLY", "HOT",
    "ICE", "JOY", "KEY", "NEW", "OPEN", "PARK", "RUN", "STOP",
    "TOP", "WIN", "YES", "BOOK", "CAFE", "GOLD", "HELP", "MILK",
)  # fmt: skip
