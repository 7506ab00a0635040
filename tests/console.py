"""What a program may say on standard error when nothing is wrong: bars, and PaddleNLP's log of a training."""

import re

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours, and the cursor's way between two bars
BAR = re.compile(r"[\w. ]*:? *\d+%\|.*")
STAMP = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:,]+\] +\[ +INFO\] - ?")
LOGGED = re.compile(
    r"The global seed is set to|max_steps is given|Starting training from|\*{5} |  \w|step \d+/\d+: |Saving |\[timelog\] |"
    r"Set DistributedBatchSampler consumed_samples|Training completed\.|$"
)


def strays(text: str) -> list:
    """The lines that are none of these: somebody else's warning, or an error."""
    return [line for line in map(str.rstrip, re.split(r"[\r\n]+", ESCAPES.sub("", text))) if not expected(line)]


def expected(line: str) -> bool:
    """Whether a line says what a run has to say."""
    while bar := BAR.match(line):  # a log line may follow a bar that was not at its end
        line = re.sub(r"^[^\[]*\[[^\]]*\] *", "", line)
        if line == bar[0]:
            return True
    if STAMP.match(line):
        return LOGGED.match(STAMP.sub("", line)) is not None
    return line.strip() in ("", "Training completed.")
