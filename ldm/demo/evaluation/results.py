"""results.json: every part's numbers with the settings they were measured with, of one set of weights."""

import json
from pathlib import Path

from ldm.common.atomic import atomic_path
from ldm.common.json_files import read_json

RESULTS_FILE, REPORT_FILE = "results.json", "results.md"


def open_results(folder, weights: dict, parts) -> dict:
    """What earlier runs left of the same weights, or an empty document: {"weights": ..., "parts": {name: ...}}.

    weights: see `fingerprint`; parts: the ones about to be measured. ValueError if others would stay behind that were
    measured with other weights, or if the file is damaged.
    """
    path, empty = Path(folder) / RESULTS_FILE, {"weights": weights, "parts": {}}
    if not path.exists():
        return empty
    try:
        document = read_json(path)
        same, stale = document["weights"]["sha256"] == weights["sha256"], set(document["parts"]) - set(parts)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): remove it or choose another --output_dir.") from error
    if same:
        return document
    if stale:
        raise ValueError(
            f"{path} holds {', '.join(sorted(stale))} of other weights: choose another --output_dir, remove it, or "
            "measure these parts again as well."
        )
    return empty


def save_results(folder, document: dict, report: str):
    """Write both files, each whole or not at all. FloatingPointError for a measurement that is NaN or infinite."""
    try:
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        last = list(document["parts"])[-1]
        raise FloatingPointError(
            f"{Path(folder) / RESULTS_FILE} is not written: a number that {last} has measured is not finite. Look for "
            "damaged weights (inference.py names them)."
        ) from error
    for name, content in ((RESULTS_FILE, text), (REPORT_FILE, report)):
        with atomic_path(Path(folder) / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
