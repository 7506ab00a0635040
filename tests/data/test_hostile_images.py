"""Images of every kind that Pillow knows, and files that are none: a right picture, or one line that names the file."""

import io
import os
import random
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from ldm.data import image_files, transforms
from ldm.data.sources.opening import open_source
from ldm.data.transforms import open_rgb, resize_and_crop, upright_size

PIXELS = np.stack([*np.indices((24, 20)) * 10, np.full((24, 20), 99)], axis=-1).astype(
    np.uint8
)  # smooth: JPEG keeps it
PICTURE = Image.fromarray(PIXELS)
GREY16 = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
TURNED = [PICTURE.rotate(90), PICTURE.rotate(180)]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
VARIANTS = 40  # of every file; more by FUZZ=1000


def exif(orientation=6):
    data = Image.Exif()
    data[image_files.ORIENTATION], data[0x010E] = orientation, "a description"
    return data


def saved(image, format, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


SEEDS = {
    "png": saved(PICTURE, "PNG", exif=exif(), icc_profile=b"rubbish" * 20),
    "palette": saved(PICTURE.quantize(8), "PNG", transparency=3),
    "grey16": saved(GREY16, "PNG"),
    "grey_alpha": saved(PICTURE.convert("LA"), "PNG"),
    "bilevel": saved(PICTURE.convert("1"), "PNG"),
    "apng": saved(PICTURE, "PNG", save_all=True, append_images=TURNED),
    "jpeg": saved(PICTURE, "JPEG", exif=exif(), icc_profile=b"rubbish" * 20),
    "progressive": saved(PICTURE, "JPEG", progressive=True),
    "cmyk": saved(PICTURE.convert("CMYK"), "JPEG"),
    "mpo": saved(PICTURE, "MPO", save_all=True, append_images=TURNED),
    "webp": saved(PICTURE, "WEBP", exif=exif(), icc_profile=b"rubbish" * 20),
    "webp_lossless": saved(PICTURE.convert("RGBA"), "WEBP", lossless=True),
    "webp_animation": saved(PICTURE, "WEBP", save_all=True, append_images=TURNED),
    "gif": saved(PICTURE.quantize(16), "GIF", transparency=2),
    "gif_animation": saved(PICTURE.quantize(16), "GIF", save_all=True, append_images=[i.quantize(16) for i in TURNED]),
    "bmp": saved(PICTURE, "BMP"),
}
TURNED_BY_EXIF = ("png", "jpeg", "webp")


@pytest.mark.parametrize("name", SEEDS)
def test_every_kind_is_read_and_its_size_known_before(name):
    image = open_rgb(io.BytesIO(SEEDS[name]), "x.png")
    expected = PICTURE.convert("L").convert("RGB") if name == "grey_alpha" else PICTURE
    expected = Image.fromarray(PIXELS[..., 0]).convert("RGB") if name == "grey16" else expected
    expected = expected.rotate(-90, expand=True) if name in TURNED_BY_EXIF else expected
    assert image.mode == "RGB" and image.size == expected.size
    assert upright_size(io.BytesIO(SEEDS[name]), "x.png") == image.size
    if name not in ("palette", "gif", "gif_animation", "bilevel"):  # few colours, one of them transparent
        differences = np.abs(np.asarray(image, int) - np.asarray(expected, int))
        assert differences.max() <= (0 if name in ("png", "grey16", "grey_alpha", "apng", "bmp") else 24)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A variant: bits, bytes, lengths, pieces cut out, doubled or cut off; half of them near the beginning."""
    data, kind = bytearray(data), rng.randrange(6)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(min(len(data), rng.choice([64, len(data)])) or 1)
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + 1] = bytes([rng.choice([0, 127, 128, 255])])
        elif kind == 2:
            data[place : place + 4] = struct.pack(">I", rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
        elif kind == 3:
            del data[place : place + rng.choice([1, 4, 50])]
        elif kind == 4:
            data[place:place] = data[place : place + rng.choice([1, 8, 64])]
        else:
            data = data[:place]
    return bytes(data)


def check_message(error, name):
    message = str(error)
    assert message.startswith(name) and message.isprintable() and "replace or remove it" in message


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_images_are_read_or_named(name, capfd):
    rng = random.Random(name)
    for _ in range(int(os.environ.get("FUZZ", VARIANTS))):
        data = damaged(SEEDS[name], rng)
        start = time.process_time()
        for read in (open_rgb, upright_size):
            try:
                read(io.BytesIO(data), "some.png")
            except ValueError as error:
                check_message(error, "some.png")
        assert time.process_time() - start < 5
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    "data, kind",
    [
        (saved(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF"), "TIFF"),
        (saved(PICTURE, "TIFF"), "TIFF"),
        (saved(PICTURE, "EPS"), "EPS"),
        (saved(PICTURE, "PDF"), "PDF"),
        (saved(PICTURE, "JPEG2000"), "JPEG 2000"),
        (b"#?RADIANCE\n", "HDR"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"\0\0\0\x1cftypavif", "AVIF or HEIC"),
        (saved(PICTURE, "PPM"), "no image"),
        (b"", "empty"),
        (b"\0" * 5000, "no image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_are_refused_by_name(tmp_path, data, kind):
    (tmp_path / "x.png").write_bytes(data)
    (tmp_path / "x.txt").write_text("words")
    source = open_source(tmp_path)
    with (
        source.open(0) as file,
        pytest.raises(ValueError, match=f"x.png cannot be read as an image .it is {kind}.*PNG, JPEG"),
    ):
        open_rgb(file, source.label(0))


def png(width, height, depth=8, colour=2, data=b"", more=b"") -> bytes:
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (100_000, 100_000), (2_000_000, 1), (1, 2**31 - 1)])
def test_claimed_sizes_are_refused_before_memory_is_taken(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for read in (open_rgb, upright_size):
        with pytest.raises(ValueError, match="bomb.png cannot be read as an image .*pixels"):
            read(io.BytesIO(png(*size)), "bomb.png")


def test_a_file_larger_than_any_image_is_refused(tmp_path):
    (tmp_path / "x.webp").write_bytes(b"RIFF")
    os.truncate(tmp_path / "x.webp", image_files.MOST_BYTES + 1)  # a hole: takes no room
    with pytest.raises(ValueError, match="x.webp cannot be .*more than 1073741824"):
        open_rgb(tmp_path / "x.webp")


def test_a_png_behind_whose_last_pixel_nothing_fits_is_refused():
    """Pillow stops at the last pixel: bytes doubled before it shift the rest out of the picture, and out of its check."""
    whole = saved(Image.effect_noise((90, 80), 50), "PNG")
    place = whole.index(b"IDAT") + 1000
    data = whole[:place] + whole[place - 16 : place] * 40 + whole[place:]
    assert open_rgb(io.BytesIO(whole), thorough=True)
    with pytest.raises(ValueError, match="x.png cannot be read as an image"):
        open_rgb(io.BytesIO(data), "x.png", thorough=True)
    flipped = bytearray(whole)
    flipped[whole.index(b"IEND") - 5] ^= 1  # the checksum itself
    open_rgb(io.BytesIO(flipped))
    with pytest.raises(ValueError, match="x.png cannot be .*checksum of its pixels is another"):
        open_rgb(io.BytesIO(flipped), "x.png", thorough=True)


def test_texts_that_grow_when_unpacked_are_refused_or_left_out():
    text = b"key\0\0" + zlib.compress(b"x" * 80_000_000)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    data = png(2, 2, data=b"\0" * 14, more=chunk)
    with pytest.raises(ValueError, match="x.png cannot be read as an image"):
        open_rgb(io.BytesIO(data), "x.png")


def test_grey_of_16_bits_with_a_transparent_level():
    levels = np.array([[0, 40_000, 65_535]], np.uint16)
    image = open_rgb(io.BytesIO(saved(Image.fromarray(levels), "PNG", transparency=40_000)), "x.png")
    assert np.asarray(image)[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    "rubbish", [b"", b"\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40, b"Exif\0\0" + b"II*\0" * 9]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_rubbish_counts_as_none(rubbish, format):
    data = saved(PICTURE, format, exif=rubbish)
    assert open_rgb(io.BytesIO(data), "x").size == upright_size(io.BytesIO(data), "x") == (20, 24)


def test_orientations_that_do_not_exist_count_as_none():
    for value in (0, 9, 255):
        data = saved(PICTURE, "JPEG", exif=exif(value))
        assert open_rgb(io.BytesIO(data), "x").size == upright_size(io.BytesIO(data), "x") == (20, 24)


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (1, 1000), (3, 3000)])
@pytest.mark.parametrize("crop", ["centre", "random", "smart"])
def test_thin_images_are_cut_before_they_are_resized(size, crop, monkeypatch):
    """Resized to cover, 1 x 60,000 would be 1024 x 61 million pixels."""
    resize, largest = Image.Image.resize, []

    def watched(self, to, *arguments, **options):
        largest.append(to[0] * to[1])
        return resize(self, to, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    image = Image.new("RGB", size, "red")
    result = resize_and_crop(image, 1024, crop=crop, rng=np.random.default_rng(0))
    assert result.size == (1024, 1024) and (np.asarray(result) == (255, 0, 0)).all()
    assert max(largest) <= transforms.MOST_COVERING


def test_a_long_image_keeps_what_lies_in_its_middle():
    values = np.zeros((20_000, 4, 3), np.uint8)
    values[9_990:10_010] = 200
    result = np.asarray(resize_and_crop(Image.fromarray(values), 512))
    assert result.shape == (512, 512, 3) and (result == 200).all()
