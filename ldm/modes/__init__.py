"""What a user gives -> what the stages sample from: text always, and whatever MODES lists besides, one file per mode.

Importing a mode does not import Paddle: its options are flags of the command line. `text.py`, which is none of them, does.
"""

from ldm.modes.mode import Mode, options_of

MODES: tuple[type[Mode], ...] = ()  # in the order in which they are applied


def modes_of(options: dict) -> tuple[Mode, ...]:
    """The modes that {flag: value} asks for."""
    asked = []
    for mode in MODES:
        own = {item.name: options[item.name] for item in options_of(mode)}
        if mode.is_asked_for(own):
            asked.append(mode(**own))
    return tuple(asked)
