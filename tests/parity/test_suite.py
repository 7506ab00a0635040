"""Every recorded file of tests/reference against this port, through the checks that `verify_parity.py` runs."""

import pytest
from helpers import REFERENCE

from ldm.parity.suite import NOT_YET, check_file, record_files

# What a file must be checked for at least, so that a check that silently yields less is noticed
EXPECTED_ROWS = {
    "clip_text_io": 2,
    "clip_vision_io": 1,
    "diffusion": 24,
    "effnet": 1,
    "lora_stage_c_tiny": 5,
    "previewer": 1,
    "sampling": 12,
    "stage_a_tiny": 2,
    "stage_b_tiny": 2,
    "stage_c_tiny": 6,
    "training_stage_c": 4,
}


FILES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.name.startswith("full_") else [])
    for path in record_files(REFERENCE)
]


@pytest.mark.parametrize("path", FILES)
def test_recorded_file(path):
    rows = list(check_file(path))
    accepted = {"not yet"} if path.stem.startswith(NOT_YET) else {"ok"}
    assert len(rows) >= EXPECTED_ROWS.get(path.stem, 1)
    for row in rows:
        print(row)
    assert {row.verdict for row in rows} <= accepted, [row for row in rows if row.verdict not in accepted]
