"""Pictures laid out on a sheet: side by side, or in a table with its words written into it."""

from bisect import bisect_right
from functools import lru_cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# Latin, Greek and Cyrillic; then Chinese, Japanese and Korean as systems have them, which Pillow finds by their names
DEJAVU = "mpl-data/fonts/ttf/DejaVuSans.ttf"  # Matplotlib brings it along
SYSTEM = ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc", "msyh.ttc", "PingFang.ttc", "simhei.ttf")
NO_CHARACTER = "\uffff"  # what a font draws for it, it draws for everything that it lacks

GAP, MARGIN = 4, 8  # pixels
NARROWEST = 128  # pixels of a cell: smaller pictures are enlarged, so that the words above them fit
LINES = 2  # of a row's text; a caption that needs more is cut
TEXT_SIZE, TITLE_SIZE = 14, 16
UNDRAWABLE = "row {}: no font here has its letters; the PNG's settings have them"
INK, QUIET, MISSING = (20, 20, 20), (100, 100, 100), (200, 200, 200)


def font_for(text: str, size: int):
    """A font of `size` pixels that has every character of a text, else the one for Latin letters."""
    fonts = [font for font in (_font(name, size) for name in (_dejavu(), *SYSTEM)) if font is not None]
    fonts = fonts or [ImageFont.load_default(size)]
    return next((font for font in fonts if has_all(font, text)), fonts[0])


def has_all(font, text: str) -> bool:
    """Whether a font has every character of a text."""
    lacking = bytes(font.getmask(NO_CHARACTER))
    return all(character.isspace() or bytes(font.getmask(character)) != lacking for character in set(text))


@lru_cache(maxsize=32)
def _font(name: str, size: int):
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # this machine has none of that name
        return None


@lru_cache(maxsize=1)
def _dejavu() -> str:
    spec = find_spec("matplotlib")
    return str(Path(spec.origin).parent / DEJAVU) if spec else "DejaVuSans.ttf"


def labelled_sheet(title: str, columns: dict, rows: list[str]) -> Image.Image:
    """columns {title: [uint8 image (H, W, 3) or None, one per row]} as one RGB picture on white.

    Every cell has the size of the largest picture; None is drawn as a grey cell that says so.
    """
    pictures = [picture for column in columns.values() for picture in column if picture is not None]
    size = _cell_size(pictures)
    width = max(2 * MARGIN + len(columns) * (size[0] + GAP) - GAP, 2 * NARROWEST)
    text, heading = (font_for(" ".join([title, *columns, *rows]), height) for height in (TEXT_SIZE, TITLE_SIZE))
    titles = _wrapped(title, heading, width - 2 * MARGIN)
    drawable = [row if has_all(text, row) else UNDRAWABLE.format(number) for number, row in enumerate(rows, 1)]
    labels = [_wrapped(row, text, width - 2 * MARGIN) for row in drawable]
    line = TEXT_SIZE + GAP
    above = MARGIN + len(titles) * (TITLE_SIZE + GAP) + line
    height = above + sum(len(label) * line + size[1] + 2 * GAP for label in labels) + MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    draw, y = ImageDraw.Draw(sheet), MARGIN
    for part in titles:
        draw.text((MARGIN, y), part, INK, heading)
        y += TITLE_SIZE + GAP
    lefts = [MARGIN + number * (size[0] + GAP) for number in range(len(columns))]
    for left, name in zip(lefts, columns):
        draw.text((left, y), _cut(name, text, size[0]), INK, text)
    y += line
    for number, label in enumerate(labels):
        for part in label:
            draw.text((MARGIN, y), part, QUIET, text)
            y += line
        for left, column in zip(lefts, columns.values()):
            _place(sheet, draw, column[number], (left, y), size, text)
        y += size[1] + 2 * GAP
    return sheet


def _cell_size(pictures) -> tuple[int, int]:
    """(width, height) of a cell: of the largest picture, enlarged a whole number of times if it is tiny."""
    height = max((picture.shape[0] for picture in pictures), default=NARROWEST)
    width = max((picture.shape[1] for picture in pictures), default=NARROWEST)
    factor = max(1, ceil(NARROWEST / width))
    return factor * width, factor * height


def _place(sheet, draw, picture, corner, size, font):
    if picture is None:
        right, bottom = (start + side for start, side in zip(corner, size))
        draw.rectangle((*corner, right - 1, bottom - 1), fill=MISSING)
        draw.text((corner[0] + GAP, corner[1] + GAP), "no picture", INK, font)
        return
    sheet.paste(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST), corner)


def _wrapped(text: str, font, width: int) -> list[str]:
    """A text in at most LINES lines of `width` pixels."""
    lines, words = [], text.split()
    while words and len(lines) < LINES:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        last = len(lines) == LINES - 1
        lines.append(_cut(" ".join(words if last else words[:count]), font, width))
        words = words[count:]
    return lines


def _cut(text: str, font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    fitting = bisect_right(range(len(text)), width, key=lambda count: font.getlength(f"{text[:count]}..."))
    return f"{text[: max(0, fitting - 1)]}..."


def contact_sheet(images, columns=None, gap: int = 4) -> Image.Image:
    """Images (uint8 arrays of one size) side by side on white."""
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    height, width = images[0].shape[:2]
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, image in enumerate(images):
        sheet.paste(Image.fromarray(image), (index % columns * (width + gap), index // columns * (height + gap)))
    return sheet
