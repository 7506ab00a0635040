"""All parts of the evaluation in one table, and the run over them."""

from dataclasses import dataclass
from time import perf_counter
from typing import Callable

from ldm.common.memory import available, on_cpu
from ldm.demo.evaluation import concept, grid, judge, previewer, prompts, reconstruction, retrieval, seeds, words
from ldm.demo.evaluation.bench import Bench, cascade_generator, held_out_examples
from ldm.demo.evaluation.measures import check_ssim
from ldm.demo.evaluation.results import environment, fingerprint, open_results, save_results, used_files
from ldm.demo.evaluation.settings import EvaluationSettings, Untrustworthy, check_parts
from ldm.generation.memory import check_room, networks_of
from ldm.generation.work import Sizes
from ldm.images import check_writable
from ldm.pipeline import StableCascade


@dataclass(frozen=True)
class Part:
    """measure(bench) -> result as JSON values, with a "failure" (a sentence) where it forbids going on."""

    title: str
    measure: Callable
    table: Callable  # of a result: Markdown


SUITE = {
    "judge": Part("The judge on true pictures", judge.measure, judge.table),
    "prompts": Part("Held-out prompts", prompts.measure, prompts.table),
    "grid": Part("Guidance and steps", grid.measure, grid.table),
    "reconstruction": Part("Reconstruction of unseen pictures", reconstruction.measure, reconstruction.table),
    "previewer": Part("Previews of unseen pictures", previewer.measure, previewer.table),
    "clip": Part("CLIP retrieval of unseen pairs", retrieval.measure, retrieval.table),
    "words": Part("Words that are taken notice of", words.measure, words.table),
    "seeds": Part("Seeds", seeds.measure, seeds.table),
    "concept": Part("A shape that training never shows", concept.measure, concept.table),
}


def evaluate(settings: EvaluationSettings, parts, output_dir, weights=None, prior_weights=None, say=print) -> dict:
    """Measure `parts`, save after each, say each one's table; the whole document.

    ValueError or OSError for what cannot be honoured, if possible before anything is measured; Untrustworthy where a
    part forbids to go on.
    """
    settings.check()
    parts = check_parts(parts)
    held_out_examples(1, settings.size, settings.scene_seed)  # refuses a size that no scene has
    if "reconstruction" in parts:
        check_ssim()
    folder = check_writable(output_dir)
    sizes = Sizes(settings.size, settings.size, min(settings.batch_size, settings.count))
    check_room(networks_of(weights, prior_path=prior_weights), sizes, available(), on_cpu=on_cpu())
    cascade = StableCascade(weights, prior_path=prior_weights)
    say(cascade.describe())
    document = open_results(folder, fingerprint(used_files(cascade)), parts)
    bench = Bench(settings, folder, cascade_generator(cascade, settings), cascade)
    return measure_parts(bench, parts, document, environment(cascade.identity()["dtype"]), say)


def measure_parts(bench: Bench, parts, document: dict, surroundings: dict, say=print) -> dict:
    """The run itself: `document` (see `open_results`) with the parts added; both files are written after each."""
    for name in parts:
        started = perf_counter()
        result = SUITE[name].measure(bench)
        document["parts"][name] = {
            "settings": bench.settings.as_dict(),
            **surroundings,
            "seconds": perf_counter() - started,
            "result": result,
        }
        save_results(bench.folder, document, report(document))
        say(f"\n{section(name, document['parts'][name])}")
        if result.get("failure"):
            raise Untrustworthy(result["failure"])
    return document


def section(name: str, record: dict) -> str:
    """One part in Markdown."""
    return f"## {SUITE[name].title} (`{name}`)\n\n{SUITE[name].table(record['result'])}"


def report(document: dict) -> str:
    """results.md, from nothing but what results.json holds."""
    weights = document["weights"]
    lines = [
        f"# Evaluation on held-out scenes\n\nWeights: sha256 `{weights['sha256']}` over {len(weights['files'])} files."
    ]
    for name in (name for name in SUITE if name in document["parts"]):
        record = document["parts"][name]
        settings = ", ".join(f"{key} {value}" for key, value in record["settings"].items())
        versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
        used = f"*{settings}; {record['device']}, {record['dtype']}; {versions}; {record['seconds']:.0f} s*"
        lines.append(f"{section(name, record)}\n\n{used}")
    return "\n\n".join(lines) + "\n"
