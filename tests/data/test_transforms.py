"""Image files to arrays: orientation, modes, resizing, cropping, damaged files."""

import numpy as np
import pytest
from PIL import Image

from ldm.data.folder import ImageTextFolder
from ldm.data.transforms import clip_array, open_rgb, resize_and_crop, to_array


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "I;16", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.new("RGB", (8, 6), (200, 100, 50))
    suffix = "jpg" if mode == "CMYK" else "png"
    (image.convert("L").convert("I").convert(mode) if mode == "I;16" else image.convert(mode)).save(
        tmp_path / f"x.{suffix}"
    )
    opened = open_rgb(tmp_path / f"x.{suffix}")
    assert opened.mode == "RGB" and opened.size == (8, 6)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert np.asarray(open_rgb(tmp_path / "x.png")).min() == 255


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (8, 4), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright
    image.save(tmp_path / "x.jpg", exif=exif)
    assert open_rgb(tmp_path / "x.jpg").size == (4, 8)


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (33, 200), (64, 64), (10, 10)])
def test_short_side_is_resized_and_the_middle_kept(size):
    ramp = np.linspace(0, 255, size[0]).astype("uint8")
    image = Image.fromarray(np.broadcast_to(ramp, size[::-1]).copy()).convert("RGB")
    cropped = np.asarray(resize_and_crop(image, 64))
    assert cropped.shape == (64, 64, 3)
    assert abs(float(cropped.mean()) - 127.5) < 2  # the crop is centred on the ramp


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
