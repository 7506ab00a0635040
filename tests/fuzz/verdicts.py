"""Judging what a program made of a damaged input."""

from fuzz.case import Input, Kind
from fuzz.outcomes import REFUSED, Outcome

REFUSAL, SAME, ASIDE = "refused", "same result", "left aside, said so"
UNNAMED, TRACEBACK, SILENT, EXECUTED, CRASH = "unnamed", "traceback", "silent", "executed", "crash"
FAILURES = (UNNAMED, TRACEBACK, SILENT, EXECUTED, CRASH)
LONGEST, MOST_LINES = 6000, 30  # of a refusal; some list every problem at once


def judge(kind: Kind, input: Input, outcome: Outcome, undamaged, marker) -> tuple[str, str]:
    """(verdict, why) of one input. A verdict that is none of the above names what the format cannot know.

    undamaged: the result without damage. marker: the file that hostile code would have made.
    """
    if marker.exists():
        return EXECUTED, f"code of the file was executed: {marker.read_text()!r}"
    if "Traceback (most recent call last)" in outcome.output or outcome.status not in (0, REFUSED):
        return TRACEBACK, outcome.output[-3000:] or f"exit status {outcome.status}"
    if outcome.status == REFUSED:
        problem = problem_of_message(kind, input, outcome.message)
        return (UNNAMED, f"{problem}: {outcome.message or outcome.output[-500:]}") if problem else (
            REFUSAL, outcome.message)  # fmt: skip
    if outcome.result == undamaged:
        return SAME, ""
    if kind.aside and any(line.startswith(kind.aside) for line in outcome.output.splitlines()):
        return ASIDE, ""
    excuse = None if input.must_refuse else kind.excuse(input, undamaged, outcome)
    return (excuse, "") if excuse else (SILENT, f"accepted with another result: {str(outcome.result)[:500]}")


def problem_of_message(kind: Kind, input: Input, message: str):
    """What is wrong with a refusal's words, or None."""
    if not message.partition(": ")[2].strip():
        return "no message"
    if len(message) > LONGEST or message.count("\n") > MOST_LINES:
        return "a message without end"
    names = kind.names(input)
    if names and not any(name in message for name in names):
        return f"names none of {', '.join(names)}"
    return None
