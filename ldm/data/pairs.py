"""An image-text folder: every image has a caption file of the same stem beside it, and the other way round."""

from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CAPTION_SUFFIX = ".txt"


@dataclass(frozen=True)
class Pair:
    """One training example on disk."""

    image: Path
    caption: Path

    def read_caption(self) -> str:
        """The caption, one line; ValueError if the file is empty or not UTF-8."""
        try:
            text = " ".join(self.caption.read_text(encoding="utf-8").split())
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.caption} is not UTF-8 text ({error}): save it as UTF-8.") from error
        if not text:
            raise ValueError(f"{self.caption} is empty: write a caption into it.")
        return text


def find_pairs(folder) -> list[Pair]:
    """All pairs below `folder`, nested folders included, in a fixed order.

    Files are paired by path without suffix, never by position, so one missing file cannot shift the others.
    ValueError names every image without caption, caption without image and stem with two images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The dataset folder {folder} does not exist: give --dataset_path an image-text folder "
            "(scripts/make_photo_dataset.py writes one to try with)."
        )
    images, captions, doubled = {}, {}, []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        stem, suffix = path.with_suffix(""), path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            if stem in images:
                doubled.append(path)
            images[stem] = path
        elif suffix == CAPTION_SUFFIX:
            captions[stem] = path
    problems = {
        "images without a caption file": [path for stem, path in images.items() if stem not in captions],
        "caption files without an image": [path for stem, path in captions.items() if stem not in images],
        "images that share their name with another": doubled,
    }
    if not images and not captions:
        raise ValueError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)}) with captions ({CAPTION_SUFFIX}).")
    if any(problems.values()):
        raise ValueError(f"{folder}: {_listed(problems)}. Every image needs a caption NAME.txt beside NAME.jpg.")
    return [Pair(images[stem], captions[stem]) for stem in images]


def _listed(problems: dict, shown: int = 8) -> str:
    parts = []
    for label, paths in problems.items():
        if paths:
            rest = f" and {len(paths) - shown} more" if len(paths) > shown else ""
            parts.append(f"{len(paths)} {label}: {', '.join(str(path) for path in paths[:shown])}{rest}")
    return "; ".join(parts)
