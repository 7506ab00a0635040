"""The report of the checks before a run: lines, warnings, and the problems that stop it, all at once."""

from dataclasses import dataclass, field

WIDTH = 14  # of the names in front of the lines


class PreflightFailed(ValueError):
    """A run that would fail, or learn the wrong thing; the message lists every problem with its remedy."""


@dataclass
class Report:
    """Collects lines, warnings and problems; `text` is printed."""

    title: str = "Before training:"
    lines: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def say(self, name: str, text: str):
        """A line `name: text`; further lines of the text are indented."""
        first, *more = text.split("\n")
        self.lines += [f"  {name:<{WIDTH}}{first}", *(f"  {'':<{WIDTH}}{line}" for line in more)]

    def warn(self, text: str):
        """What may be right but should be looked at."""
        self.warnings.append(text)

    def problem(self, text: str):
        """What is wrong, and what to do about it."""
        self.problems.append(text)

    def text(self) -> str:
        """The report."""
        return "\n".join([self.title, *self.lines, *(f"  Warning: {warning}" for warning in self.warnings)])

    def check(self):
        """PreflightFailed with every problem, unless there is none."""
        if len(self.problems) == 1:
            raise PreflightFailed(self.problems[0])
        if self.problems:
            listed = "\n".join(f"{number}. {problem}" for number, problem in enumerate(self.problems, 1))
            raise PreflightFailed(f"{len(self.problems)} problems, nothing was started:\n{listed}")
