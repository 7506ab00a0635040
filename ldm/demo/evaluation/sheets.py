"""Contact sheets: pictures above their captions, or above what was made of them."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldm.common.sheets import contact_sheet
from ldm.images import save_png

FONT_SHARE = 21  # letters are this many times smaller than the picture is wide
MARGIN = 4  # pixels around the text
INK, RIGHT, WRONG = "black", "#1a7f37", "#b3261e"


def _wrap(text: str, font, width: float) -> list[str]:
    """Lines of whole words that fit into `width` pixels."""
    lines = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def save_captioned(path, images, captions, remarks, settings: dict, columns: int = 6):
    """Pictures (uint8, one size), each above its caption and a remark, green if it is "right" and red otherwise."""
    height, width = images[0].shape[:2]
    font = ImageFont.load_default(max(11, width // FONT_SHARE))
    line_height = sum(font.getmetrics()) if hasattr(font, "getmetrics") else 11  # Pillow without FreeType has one size
    texts = [
        [(line, INK) for line in _wrap(caption, font, width - 2 * MARGIN)]
        + [(line, RIGHT if remark == "right" else WRONG) for line in _wrap(remark, font, width - 2 * MARGIN)]
        for caption, remark in zip(captions, remarks, strict=True)
    ]
    strip = max(map(len, texts)) * line_height + 2 * MARGIN
    tiles = []
    for image, lines in zip(images, texts, strict=True):
        tile = Image.new("RGB", (width, height + strip), "white")
        tile.paste(Image.fromarray(image), (0, 0))
        draw = ImageDraw.Draw(tile)
        for index, (line, colour) in enumerate(lines):
            draw.text((MARGIN, height + MARGIN + index * line_height), line, fill=colour, font=font)
        tiles.append(np.asarray(tile))
    save_png(path, np.asarray(contact_sheet(tiles, min(columns, len(tiles)))), settings)


def save_rows(path, rows, settings: dict):
    """Rows of equally many pictures (uint8, one size), the first row on top."""
    images = [image for row in rows for image in row]
    save_png(path, np.asarray(contact_sheet(images, len(rows[0]))), settings)
