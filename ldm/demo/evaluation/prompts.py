"""Part `prompts`: one generated picture per held-out prompt, judged; the pictures and every verdict are kept."""

import json
from dataclasses import asdict
from time import perf_counter

from ldm.common.atomic import atomic_path
from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.scores import NOTE, read_pictures, score_rows, score_table
from ldm.demo.evaluation.sheets import save_captioned
from ldm.demo.scenes.checker import Verdict, judge
from ldm.demo.scenes.sampling import held_out

SHOWN = 24  # pictures on the contact sheet: the first ones, not the best
SHEET, LIST = "prompts.png", "prompts.jsonl"


def measure(bench: Bench) -> dict:
    # The towers and Stage A are loaded on first use, which is not to be timed
    bench.generate(bench.captions[:1], bench.settings.seed, steps=1, decoder_steps=1)
    started = perf_counter()
    images = bench.generate(bench.captions, bench.settings.seed)
    seconds = perf_counter() - started
    readings = read_pictures(images)
    verdicts = [judge(*pair) for pair in zip(readings, bench.scenes, strict=True)]

    with atomic_path(bench.folder / LIST) as temporary, open(temporary, "w", encoding="utf-8") as out:
        for index, (example, reading, verdict) in enumerate(zip(bench.examples, readings, verdicts)):
            line = {
                "index": index,
                "seed": bench.settings.seed + index,
                "caption": example.caption,
                "held_out": sorted(held_out(example.scene)),
                "scene": example.scene.to_dict(),
                "read": asdict(reading),
                "verdict": {**asdict(verdict), "all": verdict.all},
            }
            out.write(json.dumps(line) + "\n")
    remarks = [remark(verdict) for verdict in verdicts[:SHOWN]]
    save_captioned(bench.folder / SHEET, images[:SHOWN], bench.captions[:SHOWN], remarks, bench.settings.as_dict())
    return {
        "scores": score_rows(readings, bench.scenes),
        "seconds_per_image": seconds / len(images),
        "files": [SHEET, LIST],
    }


def remark(verdict: Verdict) -> str:
    """ "right", or the attributes that are wrong."""
    wrong = [name for name, value in asdict(verdict).items() if not value]
    return "right" if not wrong else f"wrong: {', '.join(wrong)}"


def table(result: dict) -> str:
    return (
        f"{score_table(result['scores'])}\n\n{NOTE}\n\n{result['seconds_per_image']:.2f} s per image, from text to "
        f"pixels and without loading. First {SHOWN} pictures: `{SHEET}`; every prompt and verdict: `{LIST}`."
    )
