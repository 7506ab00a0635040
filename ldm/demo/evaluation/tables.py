"""Tables in Markdown, padded so that they read well in a terminal too."""


def markdown_table(header, rows) -> str:
    """`header` and `rows` are sequences of cells; the first column is to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(_pad(row, widths)) + " |" for row in cells]
    rule = [":" + "-" * (widths[0] - 1)] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def interval(bounds) -> str:
    return f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def _pad(row, widths) -> list:
    return [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
