"""Part `seeds`: another seed gives another picture of the same prompt, the same seed the same bytes."""

from dataclasses import replace

import numpy as np

from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.measures import difference, spread
from ldm.demo.evaluation.tables import markdown_table
from ldm.demo.scenes.render import render

MOST_PROMPTS = 16
ROWS = {
    "other_seed": "generated, two seeds",
    "true_pictures": "true pictures of the same words, two arrangements",
    "other_prompt": "generated, two prompts",
}


def measure(bench: Bench) -> dict:
    """Differences in levels of 0 to 255, and whether the bytes are the same again."""
    examples = bench.examples[:MOST_PROMPTS]
    captions, seed = [example.caption for example in examples], bench.settings.seed
    first = bench.generate(captions, seed)
    again = bench.generate(captions, seed)
    other = bench.generate(captions, seed + len(captions))  # no image shares a seed with one of the first

    scenes = [example.scene for example in examples]
    arranged = [replace(scene, seed=scene.seed + 1) for scene in scenes]
    true, moved = ([render(scene, bench.settings.size) for scene in group] for group in (scenes, arranged))
    return {
        "prompts": len(captions),
        "same_seed_same_bytes": bool(np.array_equal(first, again)),
        "difference": {
            "other_seed": spread(map(difference, first, other)),
            "true_pictures": spread(map(difference, true, moved)),
            "other_prompt": spread(map(difference, first, np.roll(first, 1, axis=0))),
        },
    }


def table(result: dict) -> str:
    rows = [
        (ROWS[name], *(f"{values[which]:.2f}" for which in ("mean", "least", "largest")))
        for name, values in result["difference"].items()
    ]
    same = "gives the same bytes" if result["same_seed_same_bytes"] else "DOES NOT give the same bytes"
    return (
        f"{markdown_table(('mean absolute difference, of 255', 'mean', 'least', 'largest'), rows)}\n\n"
        f"{result['prompts']} prompts. The same seed {same}."
    )
