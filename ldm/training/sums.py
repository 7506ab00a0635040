"""A file of a checkpoint against the checksum in the checkpoint's list, where only that file is read."""

from pathlib import Path

from ldm.hashing import sha256_of
from ldm.json_files import read_json
from ldm.training.whole import MANIFEST, problem_of


def check_sum(path):
    """ValueError unless the file is what its folder's list says. Output folders have no list, older lists no checksums.

    Costs reading the file once more: a second for about 1.5 GB.
    """
    path = Path(path)
    listed = path.with_name(MANIFEST)
    if not listed.is_file() or not path.is_file():
        return
    problem = problem_of(path.parent)
    sums = {} if problem else read_json(listed).get("sha256", {})
    if not problem and path.name in sums and sha256_of(path) != sums[path.name]:
        problem = f"its {path.name} is not what was written: its checksum differs"
    if problem:
        raise ValueError(f"{path.parent} is not complete: {problem.rstrip('.')}. Take another checkpoint.")
