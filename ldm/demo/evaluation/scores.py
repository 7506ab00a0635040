"""The judge's verdicts over many pictures, as rows: right, total, share, its 95 % interval, and chance."""

from dataclasses import asdict

from tqdm.auto import tqdm

from ldm.demo.evaluation.measures import wilson
from ldm.demo.evaluation.tables import interval, markdown_table, percent
from ldm.demo.scenes.checker import score
from ldm.demo.scenes.reading import Reading, read

HEADER = ("attribute", "objects", "right", "share", "95 % interval", "chance")
NOTE = (
    "With two objects an attribute is right if it is right for both; `place` is the position of one object, the "
    "relation of two. Chance: the same pictures judged against other prompts with as many objects, so that it says "
    "nothing about `count`."
)


def read_pictures(images) -> list[Reading]:
    """What every picture shows, with a progress bar: a hundred take a second or more."""
    return [read(image) for image in tqdm(images, desc="Reading pictures", leave=False)]


def score_rows(readings, scenes) -> list[dict]:
    """The judge's table as JSON values."""
    return [
        {**asdict(line), "share": line.share, "interval": list(wilson(line.right, line.total))}
        for line in score(readings, scenes)
    ]


def find_row(rows: list[dict], objects: int, attribute: str) -> dict | None:
    """One row of `score_rows`; None if no prompt had so many objects."""
    return next((row for row in rows if row["objects"] == objects and row["attribute"] == attribute), None)


def score_table(rows: list[dict]) -> str:
    return markdown_table(
        HEADER,
        [
            (
                row["attribute"],
                row["objects"],
                f"{row['right']}/{row['total']}",
                percent(row["share"]),
                interval(row["interval"]),
                percent(row["chance"]),
            )
            for row in rows
        ],
    )
