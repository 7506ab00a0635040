"""What every command of the project does alike: an input error is one line and exit status 2. Standard library only."""

import sys


def run(program: str, work) -> int:
    """Call `work()`; the exit status. Anything but an input error keeps its traceback: it is a bug of ours."""
    try:
        work()
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return 0
