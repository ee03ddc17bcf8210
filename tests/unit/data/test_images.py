import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

from uae.data.images import decode_rgb, image_format, open_header, square_pixels, upright_rgb
from uae.errors import DataError


def first_pixel(data):
    return decode_rgb(data).getpixel((0, 0))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_format_is_read_from_the_content(encode_image, name):
    assert image_format(encode_image(Image.new("RGB", (8, 8)), name)) == name


def test_gif_and_text_have_no_format(encode_image):
    assert image_format(encode_image(Image.new("P", (8, 8)), "GIF")) is None
    assert image_format(b"hello") is None


def test_alpha_is_composited_on_white(encode_image):
    half_red = encode_image(Image.new("RGBA", (4, 4), (255, 0, 0, 128)))
    assert first_pixel(half_red) == (255, 127, 127)


def test_grey_with_alpha_is_composited_on_white(encode_image):
    assert first_pixel(encode_image(Image.new("LA", (4, 4), (0, 0)))) == (255, 255, 255)


def test_transparent_palette_entry_becomes_white(encode_image):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert first_pixel(encode_image(image)) == (255, 0, 0)
    assert first_pixel(encode_image(image, transparency=1)) == (255, 255, 255)


def test_transparent_colour_of_an_rgb_png_becomes_white(encode_image):
    image = Image.new("RGB", (4, 4), (0, 255, 0))
    assert first_pixel(encode_image(image, transparency=(0, 255, 0))) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled(encode_image):
    values = np.full((4, 4), 128 * 257, dtype=np.uint16)
    assert first_pixel(encode_image(Image.fromarray(values))) == (128, 128, 128)


def test_one_bit_image_is_black_and_white(encode_image):
    assert first_pixel(encode_image(Image.new("1", (4, 4), 1))) == (255, 255, 255)


def test_cmyk_without_profile_uses_the_plain_formula(encode_image):
    jpeg = encode_image(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert first_pixel(jpeg) == pytest.approx((255, 0, 0), abs=3)


def test_cmyk_with_a_broken_profile_is_refused(encode_image):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    with pytest.raises(DataError, match="broken"):
        decode_rgb(encode_image(image, "JPEG", icc_profile=b"not a profile" * 20))


def test_cmyk_profile_of_another_colour_space_is_refused(encode_image):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    with pytest.raises(DataError, match="broken"):
        decode_rgb(encode_image(image, "JPEG", icc_profile=srgb))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(encode_image, orientation):
    upright = Image.new("RGB", (32, 16), "white")
    ImageDraw.Draw(upright).rectangle((0, 0, 7, 7), fill="red")
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_rgb(encode_image(stored, "JPEG", exif=exif, quality=95))
    assert decoded.size == (32, 16)
    assert decoded.getpixel((3, 3)) == pytest.approx((255, 0, 0), abs=12)


ASCII, BYTE, SHORT, RATIONAL = 2, 1, 3, 5  # EXIF's types


def exif_with(tag, kind, count, value):
    """EXIF of a picture that lies on its side, and one more entry."""
    turned = struct.pack("<HHIHH", 0x0112, SHORT, 1, 6, 0)
    is_short = len(value) <= 4
    other = struct.pack("<HHI", tag, kind, count) + (
        value.ljust(4, b"\0") if is_short else struct.pack("<I", 8 + 2 + 2 * 12 + 4)
    )
    entries = sorted([turned, other], key=lambda entry: entry[:2][::-1])
    head = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2)
    return head + b"".join(entries) + bytes(4) + (b"" if is_short else value)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ((0x011A, ASCII, 3, b"72\0"), TypeError),  # XResolution is a rational number
        ((0x00FE, BYTE, 1, b"\1"), struct.error),  # NewSubfileType is a long one
        ((0x010D, RATIONAL, 1, struct.pack("<II", 1, 1)), AttributeError),  # DocumentName is a text
    ],
    ids=["resolution", "subfile type", "document name"],
)
def test_odd_exif_beside_the_orientation_is_no_fault(encode_image, entry, error):
    stored = Image.new("RGB", (16, 32), "white")
    ImageDraw.Draw(stored).rectangle((0, 24, 7, 31), fill="red")
    jpeg = encode_image(stored, "JPEG", exif=exif_with(*entry), quality=95)
    with pytest.raises(error):
        ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg)))
    decoded = decode_rgb(jpeg)
    assert decoded.size == (32, 16)
    assert decoded.getpixel((3, 3)) == pytest.approx((255, 0, 0), abs=12)


def test_exif_that_cannot_be_read_is_refused(encode_image):
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n8\nnot hexadecimal")
    with pytest.raises(DataError, match=r"broken .*: ValueError: non-hexadecimal"):
        decode_rgb(encode_image(Image.new("RGB", (16, 16)), pnginfo=text))


def test_a_picture_is_turned_once(encode_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_rgb(encode_image(Image.new("RGB", (16, 32)), "JPEG", exif=exif))
    assert upright_rgb(decoded).size == decoded.size == (32, 16)


def test_second_picture_behind_a_phone_jpeg_is_ignored():
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert open_header(file.getvalue()).format == "MPO"
    assert first_pixel(file.getvalue()) == pytest.approx((255, 0, 0), abs=3)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_bomb_is_refused_by_its_header(side, bomb):
    with pytest.raises(DataError, match="too many pixels"):
        open_header(bomb(side))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_truncated_image_is_refused(encode_image, name):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encode_image(Image.fromarray(noise), name)
    with pytest.raises(DataError, match=r"broken|not a"):
        decode_rgb(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n"], ids=["0 bytes", "text", "stub"]
)
def test_no_image_at_all_is_refused(data):
    with pytest.raises(DataError, match=r"empty|not a PNG"):
        decode_rgb(data)


def test_square_pixels_crops_the_centre():
    # 4 x 2 with columns 0, 1, 2, 3 (x 51): the middle square is columns 1 and 2
    columns = np.tile(np.arange(4, dtype=np.uint8) * 51, (2, 1))
    pixels = square_pixels(Image.fromarray(columns).convert("RGB"), 2)
    assert pixels.shape == (3, 2, 2)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0], [[0.2, 0.4], [0.2, 0.4]], atol=1e-6)


def test_square_pixels_of_the_right_size_are_not_resampled():
    values = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    pixels = square_pixels(Image.fromarray(values), 8)
    np.testing.assert_array_equal((pixels * 255).round().transpose(1, 2, 0), values)
