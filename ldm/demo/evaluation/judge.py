"""Part `judge`: the judge itself on true pictures, where it must be right, and on other prompts, where it must not."""

from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.scores import NOTE, read_pictures, score_rows, score_table

LEAST_RIGHT = 0.99  # of true pictures, in every attribute
MOST_BY_CHANCE = 0.05  # of other prompts' pictures, right in all attributes at once


def measure(bench: Bench) -> dict:
    return examine(bench.true_pictures, bench.scenes)


def examine(images, scenes) -> dict:
    """Rows for pictures of `scenes`, and why the judge cannot be trusted (None if it can)."""
    rows = score_rows(read_pictures(images), scenes)
    wrong = [
        f"{row['attribute']} of {row['objects']}: {row['share']:.1%}" for row in rows if row["share"] < LEAST_RIGHT
    ]
    blind = [
        f"all of {row['objects']}: {row['chance']:.1%}"
        for row in rows
        if row["attribute"] == "all" and (row["chance"] or 0) > MOST_BY_CHANCE
    ]
    reasons = [
        f"on true pictures it is right in less than {LEAST_RIGHT:.0%} ({', '.join(wrong)})" if wrong else "",
        f"it takes other prompts' pictures for right in more than {MOST_BY_CHANCE:.0%} ({', '.join(blind)})"
        if blind
        else "",
    ]
    reasons = [reason for reason in reasons if reason]
    failure = f"The judge cannot be trusted, nothing more is measured: {'; '.join(reasons)}." if reasons else None
    return {"scores": rows, "failure": failure}


def table(result: dict) -> str:
    verdict = (
        result["failure"] or f"True pictures of the prompts: at least {LEAST_RIGHT:.0%} right everywhere, as required."
    )
    return f"{score_table(result['scores'])}\n\n{verdict} {NOTE}"
