"""Part `previewer`: previews of true pictures' latents beside the pictures at that size."""

from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.latents import prior_latents, resized
from ldm.demo.evaluation.measures import psnr, spread
from ldm.demo.evaluation.sheets import save_rows
from ldm.demo.evaluation.tables import markdown_table

SHOWN = 16
SHEET = "previewer.png"


def measure(bench: Bench) -> dict:
    previews, pictures = [], []
    for part in bench.batches("Previews"):
        previews += list(bench.cascade.prior.preview(prior_latents(bench.cascade, bench.true_pictures[part])))
        pictures += resized(bench.true_pictures[part], previews[0].shape[0])
    save_rows(bench.folder / SHEET, (pictures[:SHOWN], previews[:SHOWN]), bench.settings.as_dict())
    others = pictures[1:] + pictures[:1]
    return {
        "side": previews[0].shape[0],
        "psnr": {"preview": spread(map(psnr, previews, pictures)), "other": spread(map(psnr, others, pictures))},
        "files": [SHEET],
    }


def table(result: dict) -> str:
    names = {"preview": "preview", "other": "another prompt's true picture (chance)"}
    rows = [(names[name], f"{values['mean']:.2f}", f"{values['least']:.2f}") for name, values in result["psnr"].items()]
    return (
        f"{markdown_table(('', 'PSNR mean (dB)', 'PSNR worst (dB)'), rows)}\n\n"
        f"At {result['side']} x {result['side']} pixels; true pictures above their previews: `{SHEET}`."
    )
