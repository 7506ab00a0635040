"""Part `concept`: prompts for a shape that no training scene has; a prior fine-tuned on a dozen of them should draw it."""

from ldm.demo.evaluation.bench import Bench, concept_examples
from ldm.demo.evaluation.prompts import remark
from ldm.demo.evaluation.scores import read_pictures, score_rows, score_table
from ldm.demo.evaluation.sheets import save_captioned
from ldm.demo.scenes.checker import judge

SHOWN = 12
SHEET = "concept.png"


def measure(bench: Bench) -> dict:
    examples = concept_examples(bench.settings.grid_count, bench.settings.size, bench.settings.scene_seed)
    captions, scenes = ([getattr(example, name) for example in examples] for name in ("caption", "scene"))
    images = bench.generate(captions, bench.settings.seed)
    readings = read_pictures(images)
    remarks = [remark(judge(*pair)) for pair in zip(readings[:SHOWN], scenes)]
    save_captioned(bench.folder / SHEET, images[:SHOWN], captions[:SHOWN], remarks, bench.settings.as_dict())
    return {"scores": score_rows(readings, scenes), "files": [SHEET]}


def table(result: dict) -> str:
    return (
        f"{score_table(result['scores'])}\n\nEvery prompt asks for a house, so that chance says nothing about `shape`: "
        f"a model that was never shown one should be near 0 there. First {SHOWN} pictures: `{SHEET}`."
    )
