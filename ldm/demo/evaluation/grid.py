"""Part `grid`: the score against the prior's guidance and its number of steps, on fewer prompts."""

from tqdm.auto import tqdm

from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.scores import find_row, read_pictures, score_rows
from ldm.demo.evaluation.tables import markdown_table

CFGS, STEPS = (1.0, 2.0, 4.0, 8.0), (5, 10, 20)
COLUMNS = {  # title: number of objects, attribute
    "one object: all": (1, "all"),
    "colour": (1, "colour"),
    "shape": (1, "shape"),
    "background": (1, "background"),
    "two objects: relation": (2, "place"),
}


def measure(bench: Bench) -> dict:
    """A cell per guidance and number of steps, each with the same prompts and seeds."""
    examples = bench.first_examples(bench.settings.grid_count)
    captions, scenes = ([getattr(example, name) for example in examples] for name in ("caption", "scene"))
    cells = []
    for cfg, steps in tqdm([(cfg, steps) for cfg in CFGS for steps in STEPS], desc="Grid", leave=False):
        images = bench.generate(captions, bench.settings.seed, cfg=cfg, steps=steps)
        rows = score_rows(read_pictures(images), scenes)
        scores = {title: find_row(rows, *wanted) for title, wanted in COLUMNS.items()}
        cells.append({"cfg": cfg, "steps": steps, "scores": scores})
    return {"cells": cells}


def _cell(row: dict | None) -> str:
    return "-" if row is None else f"{row['share']:.0%} ({row['right']}/{row['total']})"


def table(result: dict) -> str:
    rows = [(f"{cell['cfg']:g}", cell["steps"], *map(_cell, cell["scores"].values())) for cell in result["cells"]]
    return markdown_table(("cfg", "steps", *COLUMNS), rows)
