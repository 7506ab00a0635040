"""The parser of the trainers' command lines: PaddleNLP's, whose errors are one line and whose --help lists what is honoured."""

from argparse import SUPPRESS
from copy import copy

from paddlenlp.trainer import PdArgumentParser

from ldm.common.cli.flags import refuse, unknown_flags
from ldm.training.flags.inherited import HARMLESS, RANGES, REFUSED

SHOWN = 5  # unknown arguments
LONGEST = 200  # characters of a word in an error


def _one_line(text: str) -> str:
    """A message without the line breaks, and with the beginnings alone of the endless words, that values may bring into it."""
    return " ".join(word if len(word) <= LONGEST else f"{word[:40]}..." for word in text.split())


class FlagParser(PdArgumentParser):
    """Fields of dataclasses as flags. A field's metadata may hold a range for its help, and what argparse does not know."""

    def __init__(self, groups):
        super().__init__(groups, allow_abbrev=False)  # --learning_rat is a mistake

    def _parse_dataclass_field(self, parser, item):
        described, text = copy(item), item.metadata.get("help", "").replace("%%", "%").replace("%", "%%")
        allowed = item.metadata.get("range", RANGES.get(item.name))
        text = f"{text} ({allowed})" if allowed is not None else text
        described.metadata = {"help": SUPPRESS if item.name in REFUSED or item.name in HARMLESS else text}
        super()._parse_dataclass_field(parser, described)

    def error(self, message):
        """ValueError, which the programs print as one line; argparse would print all flags first."""
        refuse(message)

    def parse(self, argv=None) -> list:
        """One object per dataclass. ValueError for what is no flag or has a wrong value. No file is read for flags."""
        try:
            *parsed, unknown = self.parse_args_into_dataclasses(
                argv, return_remaining_strings=True, look_for_args_file=False
            )
        except ValueError as error:
            raise ValueError(_one_line(str(error))) from error
        if unknown:
            raise ValueError(_one_line(self._unknown(unknown)))
        return parsed

    def _unknown(self, unknown: list) -> str:
        """What is said of arguments that are no flags: the known ones they look like."""
        known = [flag for action in self._actions if action.help is not SUPPRESS for flag in action.option_strings]
        flags = [text for text in unknown if text.startswith("--")] or unknown
        return unknown_flags(flags[:SHOWN], known)
