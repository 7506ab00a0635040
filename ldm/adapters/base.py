"""Which prior a LoRA was trained on, and that it is not added to another.

The rule: a file that names its prior is merged into that one alone, in whichever precision it is stored; a LoRA that
names none, as those of the release and of other tools, is taken for any prior of its size.
"""

import re

from ldm.adapters.files import LoraFile
from ldm.weights.fingerprint import PRECISIONS, fingerprint_in, heads_of_file

BASE_KEY, ROUNDED_KEY = "base_fingerprint", "base_fingerprints_rounded"  # in the metadata; the latter: half precisions
DIGEST = re.compile("[0-9a-f]{64}")


def base_notes(heads: dict) -> dict:
    """What a LoRA's file says of the prior with these first values (see `ldm.weights.fingerprint`)."""
    exact, *rounded = (fingerprint_in(heads, precision) for precision in PRECISIONS)
    return {BASE_KEY: exact, ROUNDED_KEY: " ".join(rounded)}


def without_base(lora: LoraFile) -> LoraFile:
    """The same LoRA, for any prior of its size."""
    notes = {key: value for key, value in lora.notes.items() if key not in (BASE_KEY, ROUNDED_KEY)}
    return LoraFile(lora.updates, lora.tokens, notes)


def check_base(lora: LoraFile, path, prior, network):
    """ValueError if the LoRA read from `path` was trained on another prior than the file `prior`, which `network` fits."""
    named = named_bases(lora, path)
    if not named or not lora.updates:  # learned tokens belong to the text tower
        return
    heads = heads_of_file(prior, network, "stage_c")
    of_prior = [fingerprint_in(heads, precision) for precision in PRECISIONS]
    if not set(named) & set(of_prior):
        raise ValueError(
            f"{path} was trained on another prior ({BASE_KEY} {named[0][:12]}) than {prior} ({of_prior[0][:12]}): take that "
            "one. To merge it into any prior of this size all the same, write it anew with scripts/convert_lora.py "
            f"--any_prior --lora {path}."
        )


def named_bases(lora: LoraFile, path) -> list[str]:
    """The fingerprints of the prior that a LoRA names; none where it names none."""
    named = [digest for key in (BASE_KEY, ROUNDED_KEY) for digest in lora.notes.get(key, "").split(" ") if digest]
    wrong = [digest for digest in named if not DIGEST.fullmatch(digest)]
    if wrong or len(named) > len(PRECISIONS):
        raise ValueError(
            f"{path}: the metadata's {BASE_KEY!r} is {' '.join(named)!r:.100}, not a sha256: take another file."
        )
    return named
