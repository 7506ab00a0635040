"""Damage to images: chunks of a PNG with sums that are right again, markers of a JPEG, tags of a TIFF, bytes of any."""

import io
import struct
import zlib

import numpy as np

from fuzz import bytes_damage
from fuzz.case import Damage

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"


def damaged(rng, content: bytes) -> Damage:
    choice = rng.random()
    if choice < 0.1:
        return hostile(rng)
    if choice < 0.5 and content.startswith(PNG):
        return in_chunk(rng, content)
    if choice < 0.3:
        return Damage(*bytes_damage.near(rng, content, min(len(content), 64)))
    return Damage(*bytes_damage.damaged(rng, content))


def chunks_of(content: bytes) -> list:
    """[(type, data)] of a PNG."""
    found, place = [], 8
    while place + 8 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png_of(chunks) -> bytes:
    return PNG + b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
                          for name, data in chunks)  # fmt: skip


def in_chunk(rng, content):
    """Chunks dropped, doubled, swapped or changed; their sums are right. Another size or type of pixels must be refused."""
    chunks = chunks_of(content)
    number = rng.randrange(len(chunks))
    name, data = chunks[number]
    action = rng.choice(("drop", "double", "swap", "size", "type", "data", "add"))
    if action == "drop":
        del chunks[number]
    elif action == "double":
        chunks.insert(number, (name, data))
    elif action == "swap":
        rng.shuffle(chunks)
    elif action == "add":
        text = rng.choice((b"x" * 2000, zlib.compress(bytes(50_000_000)), b"a\0\0" + zlib.compress(bytes(80_000_000))))
        chunks.insert(
            rng.randint(1, len(chunks) - 1), (rng.choice((b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"tRNS")), text)
        )
    elif action == "data" and data:
        chunks[number] = name, bytes_damage.damaged(rng, data)[0]
    else:
        header = bytearray(chunks[0][1])
        if action == "size":
            side = rng.choice((0, 1, 2**31, 2**32 - 1, 60000, 20000, 71, 90))
            header[:4] = struct.pack(">I", side)
            header[4:8] = rng.choice((bytes(header[4:8]), struct.pack(">I", side)))
        else:
            header[8], header[9] = rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 1, 7))
        chunks[0] = b"IHDR", bytes(header)
    return Damage(png_of(chunks), f"png: {action} {name.decode('latin-1')}")


def hostile(rng) -> Damage:
    """Files that are no image of a dataset, whatever they are named."""
    from PIL import Image

    file = io.BytesIO()
    choice = rng.choice(("float", "integers", "bytes", "huge", "empty", "text", "gif", "svg", "one pixel", "strip"))
    if choice in ("float", "integers", "bytes"):  # of a TIFF, whose pixels may be any numbers
        values = np.random.default_rng(0).normal(0.5, 0.2, (40, 40)).astype(np.float32)
        values = {
            "float": values,
            "integers": (values * 1e6).astype(np.int32),
            "bytes": (values * 255).astype(np.uint8),
        }[choice]
        Image.fromarray(values).save(file, format="TIFF")
        return damaged_tiff(rng, file.getvalue(), choice)
    if choice == "huge":
        return huge()
    if choice in ("gif", "one pixel", "strip"):
        size = {"gif": (40, 40), "one pixel": (1, 1), "strip": (1, 65000)}[choice]
        Image.new("RGB", size, "red").save(file, format="GIF" if choice == "gif" else "PNG")
        return Damage(file.getvalue(), f"image: {choice}")
    content = {"empty": b"", "text": b"a text", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}[choice]
    return Damage(content, f"image: {choice}", must_refuse=True)


def huge() -> Damage:
    """Some kilobytes that are 7.5 gigabytes of pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    content = png_of([(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000_000))), (b"IEND", b"")])
    return Damage(content, "image: huge", must_refuse=True)


def damaged_tiff(rng, content: bytes, kind: str) -> Damage:
    """A TIFF under a name of another format, whole or not."""
    if rng.random() < 0.5:
        content = bytes_damage.damaged(rng, content)[0]
    return Damage(content, f"image: TIFF of {kind}", must_refuse=True)


def unknowable(before: bytes, after: bytes, note: str):
    """Which pixels may differ without a word: those of formats without a checksum, and of a PNG whose sums are right."""
    if note.startswith(("png: ", "image: ")):
        return "another valid image"
    if after.startswith(JPEG):
        return "pixels of a JPEG"
    return "pixels of a WebP" if after.startswith(RIFF) else None
