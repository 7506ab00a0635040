"""Part `reconstruction`: unseen true pictures through encoder, Stage B and Stage A; Stage A alone is the ceiling."""

from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.latents import as_batch, prior_latents
from ldm.demo.evaluation.measures import psnr, spread, ssim
from ldm.demo.evaluation.scores import NOTE, read_pictures, score_rows, score_table
from ldm.demo.evaluation.sheets import save_rows
from ldm.demo.evaluation.tables import markdown_table

SHOWN = 8
SHEET = "reconstruction.png"
WAYS = {
    "decoded": "encoder, Stage B, Stage A",
    "stage_a": "Stage A alone (ceiling)",
    "other": "another prompt's true picture (chance)",
}


def measure(bench: Bench) -> dict:
    pictures, decoded, stage_a = bench.true_pictures, [], []
    for part in bench.batches("Reconstruction"):
        decoded += list(decode(bench, pictures[part], bench.captions[part], bench.settings.seed + part.start))
        decoder = bench.cascade.decoder
        stage_a += list(decoder.finished(decoder.encode(as_batch(pictures[part])), *pictures[0].shape[:2]))
    save_rows(bench.folder / SHEET, (pictures[:SHOWN], decoded[:SHOWN]), bench.settings.as_dict())
    ways = {"decoded": decoded, "stage_a": stage_a, "other": pictures[1:] + pictures[:1]}
    return {
        "likeness": {name: likeness(copies, pictures) for name, copies in ways.items()},
        "scores": score_rows(read_pictures(decoded), bench.scenes),
        "files": [SHEET],
    }


def decode(bench: Bench, pictures, captions, seed: int):
    """True pictures -> the prior's latents -> pictures again, uint8 (B, S, S, 3)."""
    s = bench.settings
    images, _ = bench.cascade.decoder.log_image(
        prior_latents(bench.cascade, pictures),
        captions,
        height=s.size,
        width=s.size,
        cfg=s.decoder_cfg,
        batch_size=len(captions),
        seed=seed,
        steps=s.decoder_steps,
        progress=False,
    )
    return images


def likeness(images, references) -> dict:
    """PSNR in dB and SSIM of every picture with its own reference: mean, least, largest."""
    pairs = list(zip(images, references, strict=True))
    return {"psnr": spread(psnr(*pair) for pair in pairs), "ssim": spread(ssim(*pair) for pair in pairs)}


def table(result: dict) -> str:
    rows = [
        (
            WAYS[name],
            *(f"{values['psnr'][which]:.2f}" for which in ("mean", "least")),
            *(f"{values['ssim'][which]:.4f}" for which in ("mean", "least")),
        )
        for name, values in result["likeness"].items()
    ]
    header = ("", "PSNR mean (dB)", "PSNR worst (dB)", "SSIM mean", "SSIM worst")
    return (
        f"{markdown_table(header, rows)}\n\nTrue pictures above what became of them: `{SHEET}`. What the judge reads "
        f"in the decoded pictures; `prompts` can hardly do better:\n\n{score_table(result['scores'])}\n\n{NOTE}"
    )
