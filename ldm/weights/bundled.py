"""The small cascade that the repository carries, used where no other weights are: see assets/demo/README.md."""

from pathlib import Path

from ldm import config

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo"
CARD = "README.md"  # its model card, written last: without it the demo is not finished


def weights_folder(asked=None) -> Path:
    """The release folder to use: `asked`, or config.WEIGHTS_PATH; where that is the default and missing, the demo.

    Says in one line that it falls back. A folder that was named on purpose and is missing stays an error.
    """
    folder = Path(asked or config.WEIGHTS_PATH)
    if folder.exists() or folder != Path(config.WEIGHTS_PATH) or not (DEMO / CARD).is_file():
        return folder
    print(
        f"{folder}/ does not exist: using the bundled demo model, which knows scenes of coloured shapes only. "
        "README, 'Weights', says how to get the official weights.",
        flush=True,
    )
    return DEMO
