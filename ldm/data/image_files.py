"""Image files of unknown origin, opened with limits: few formats, bounded sizes, and one error that names the file."""

import os
import struct
import warnings
import zlib
from contextlib import contextmanager, nullcontext

from PIL import Image

from ldm.data.texts import printable

# By content, whatever the suffix says. Left out are formats that run other programs (EPS), have no certain size in pixels
# (PDF, SVG), no certain scale or whose library writes to the terminal (TIFF). A JPEG with more pictures behind the first
# (MPO) is one too.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
OTHERS = {
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%!PS": "EPS", b"%PDF": "PDF", b"<svg": "SVG", b"<?xm": "SVG", b"8BPS": "PSD",
    b"#?RA": "HDR", b"v/1\x01": "EXR", b"\0\0\0\x0c": "JPEG 2000 or JPEG XL", b"\xff\x0a": "JPEG XL",
}  # fmt: skip
MOST_PIXELS = 178_956_970  # about 13,377 x 13,377, where Pillow too stops; decoding takes at most some 3 GiB
LONGEST_SIDE = 1_000_000
MOST_BYTES = 1 << 30  # of a file: Pillow reads a WebP at once
PNG = b"\x89PNG\r\n\x1a\n"  # how one begins
ORIENTATION = 0x0112  # EXIF tag
MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16B", "I;16L"}
# What Pillow's decoders raise on damaged files, as fuzzing found (tests/data/test_hostile_images.py)
UNREADABLE = (
    OSError, SyntaxError, Image.DecompressionBombError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    EOFError, ArithmeticError, struct.error, zlib.error, MemoryError, RuntimeError, AssertionError,
)  # fmt: skip
warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that nobody needs, and of sizes below MOST_PIXELS


class Unsupported(ValueError):
    """What an image is that cannot be used, and what to do."""


@contextmanager
def opened(file, label=None):
    """The image in `file`, a path or a binary file, to be decoded in the block.

    ValueError names it (`label`) if it is no image or damaged, by whatever error that shows, or not supported.
    """
    try:
        check_bytes(file)
        with Image.open(file, formats=FORMATS) as image:
            check_supported(image)
            yield image
    except Image.UnidentifiedImageError as error:
        raise _unreadable(label or file, f"it is {_kind(file)}; {', '.join(FORMATS)} are read") from error
    except UNREADABLE as error:
        raise _unreadable(label or file, error) from error


def check_supported(image: Image.Image):
    """Unsupported for an image, not decoded yet, that would take too much memory or whose pixels mean nothing certain."""
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise Unsupported(f"it says that it has {width} x {height} pixels, more than {MOST_PIXELS:,} in all")
    if image.mode not in MODES:
        raise Unsupported(f"its pixels are of the kind {image.mode}, whose scale is unknown: save it as 8-bit RGB")


def check_bytes(file):
    """Unsupported for a file that is larger than an image of MOST_PIXELS ever is."""
    if hasattr(file, "seek"):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    else:
        size = os.path.getsize(file)
    if size > MOST_BYTES:
        raise Unsupported(f"it has {size} bytes, more than {MOST_BYTES}")


def check_png(file):
    """ValueError where the pixels of a PNG are not those of its checksums; Pillow reads no further than to the last pixel.

    Costs 0.3 ms for an image of 1024 x 1024 that is decoded in 12.
    """
    file.seek(len(PNG))
    while len(start := file.read(8)) == 8 and start[4:] != b"IEND":
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        if kind != b"IDAT":
            file.seek(length + 4, os.SEEK_CUR)
        elif _sum_of(file, length, zlib.crc32(kind)) != int.from_bytes(file.read(4), "big"):
            raise ValueError("the checksum of its pixels is another")


def _sum_of(file, length: int, start: int) -> int:
    """The CRC of the next `length` bytes."""
    while length > 0 and (data := file.read(min(length, 1 << 20))):
        start, length = zlib.crc32(data, start), length - len(data)
    return start


def _kind(file) -> str:
    """What a file that Pillow did not recognise is, by its first bytes."""
    with nullcontext(file) if hasattr(file, "seek") else open(file, "rb") as opened_file:
        opened_file.seek(0)
        start = opened_file.read(12)
    if not start:
        return "empty"
    if start[4:8] == b"ftyp":
        return "AVIF or HEIC"
    found = [kind for magic, kind in OTHERS.items() if start.startswith(magic)]
    return found[0] if found else "no image, or its beginning is damaged"


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or EXIF data that cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION)
    except UNREADABLE:
        return 1
    return value if value in range(1, 9) else 1


def _unreadable(label, error) -> ValueError:
    why = printable(error) or type(error).__name__
    return ValueError(f"{printable(label)} cannot be read as an image ({why}): replace or remove it.")
