"""Fonts for words in pictures: the first that has all of a text's characters."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

# Latin, Greek and Cyrillic; then Chinese, Japanese and Korean as systems have them, which Pillow finds by their names
DEJAVU = "mpl-data/fonts/ttf/DejaVuSans.ttf"  # Matplotlib brings it along
SYSTEM = ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc", "msyh.ttc", "PingFang.ttc", "simhei.ttf")
NO_CHARACTER = "\uffff"  # what a font draws for it, it draws for everything that it lacks


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
