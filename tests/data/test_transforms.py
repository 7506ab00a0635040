"""Image files to arrays: orientation, modes, resizing, cropping, damaged files."""

import io

import numpy as np
import pytest
from PIL import Image

from ldm.data.dataset import ImageTextFolder
from ldm.data.transforms import clip_array, open_rgb, resize_and_crop, to_array, upright_size


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "I;16", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.new("RGB", (8, 6), (200, 100, 50))
    suffix = "jpg" if mode == "CMYK" else "png"
    (image.convert("L").convert("I").convert(mode) if mode == "I;16" else image.convert(mode)).save(
        tmp_path / f"x.{suffix}"
    )
    opened = open_rgb(tmp_path / f"x.{suffix}")
    assert opened.mode == "RGB" and opened.size == (8, 6)


def saved(image, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, **options)
    file.seek(0)
    return file


def test_transparency_is_laid_on_white():
    """Half-transparent black is grey, wherever the transparency is written."""
    half, clear = Image.new("RGBA", (4, 4), (0, 0, 0, 128)), Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    files = {
        127: [
            saved(half, format="PNG"),
            saved(half, format="WEBP", lossless=True),
            saved(half.convert("LA"), format="PNG"),
        ],
        255: [
            saved(clear, format="PNG"),
            saved(palette, format="PNG", transparency=1),
            saved(Image.new("RGB", (4, 4), (9, 8, 7)), format="PNG", transparency=(9, 8, 7)),
            saved(Image.new("L", (4, 4), 9), format="PNG", transparency=9),
        ],
    }
    for expected, group in files.items():
        for file in group:
            assert np.unique(np.asarray(open_rgb(file))).tolist() == [expected]


def test_cmyk_has_the_right_colours():
    for colour in ((200, 100, 50), (0, 0, 0), (255, 255, 255), (255, 0, 0)):
        file = saved(Image.new("RGB", (16, 16), colour).convert("CMYK"), format="JPEG", quality=100)
        assert Image.open(file).mode == "CMYK"
        assert np.abs(np.asarray(open_rgb(file), int)[8, 8] - colour).max() <= 3


def test_sixteen_bits_of_grey_are_scaled_not_clipped():
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    opened = open_rgb(saved(Image.fromarray(levels), format="PNG"))
    assert np.asarray(opened)[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(turn, format):
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (0, 0, 8, 8))  # the left half, as the sensor saw it
    exif = image.getexif()
    exif[0x0112] = turn
    file = saved(image, format=format, exif=exif)
    opened = open_rgb(file)
    lit = {1: (0, 0), 2: (15, 0), 3: (15, 7), 4: (0, 7), 5: (0, 0), 6: (7, 0), 7: (7, 15), 8: (0, 15)}[turn]
    assert opened.size == ((16, 8) if turn < 5 else (8, 16)) == upright_size(file, "x")
    assert (
        opened.getpixel(lit)[0] > 200 and opened.getpixel([side - 1 - at for side, at in zip(opened.size, lit)])[0] < 50
    )


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (33, 200), (64, 64), (10, 10)])
def test_short_side_is_resized_and_the_middle_kept(size):
    ramp = np.linspace(0, 255, size[0]).astype("uint8")
    image = Image.fromarray(np.broadcast_to(ramp, size[::-1]).copy()).convert("RGB")
    cropped = np.asarray(resize_and_crop(image, 64))
    assert cropped.shape == (64, 64, 3)
    assert abs(float(cropped.mean()) - 127.5) < 2  # the crop is centred on the ramp


def test_any_shape_is_covered_and_cut():
    image = Image.new("RGB", (300, 200))
    for size in ((64, 128), (128, 64), (32, 192), (300, 200)):
        assert resize_and_crop(image, size).size == size


def test_arrays_are_float_in_zero_to_one():
    image = Image.new("RGB", (300, 200), (255, 0, 51))
    array = to_array(image)
    assert array.dtype == np.float32 and array.shape == (3, 200, 300)
    assert np.allclose(array[:, 0, 0], [1, 0, 0.2])
    assert clip_array(image, 224).shape == (3, 224, 224)


@pytest.mark.parametrize("content", [b"", b"this is no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 20])
def test_unreadable_images_are_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match="broken.png cannot be read"):
        open_rgb(tmp_path / "broken.png")


def test_a_truncated_photograph_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype="uint8")
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut.jpg cannot be read"):
        open_rgb(tmp_path / "cut.jpg")


def test_dataset_items(tmp_path):
    Image.new("RGB", (90, 70), "blue").save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a blue field")
    item = ImageTextFolder(tmp_path, 64, 32)[0]
    assert item["image"].shape == (3, 64, 64) and item["clip_pixels"].shape == (3, 32, 32)
    assert item["caption"] == "a blue field" and item["index"] == 0
