"""The parity report as a picture: one dot per case, its relative error left of its bound."""

from ldm.atomic import atomic_path

WIDTH, ROW_HEIGHT = 9.0, 0.17  # inches


def plot_rows(rows, path):
    """Draw every row that has a number, in the order of the report, to a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row.check is not None]
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.2 + ROW_HEIGHT * len(rows)))
    for index, row in enumerate(rows):
        error = max(row.check.error, 1e-9)  # exact agreement has no place on a logarithmic axis
        colour = "tab:green" if row.check.passed else "tab:red"
        axes.plot([error, row.check.bound], [index, index], color="0.88", linewidth=3, zorder=1)
        axes.plot(error, index, "o", color=colour, markersize=5, zorder=3)
        axes.plot(row.check.bound, index, "|", color="black", markersize=8, zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(5e-10, 3e-4)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"{row.file}: {row.check.case}"[:48] for row in rows], fontsize=7)
    axes.set_xlabel("relative error against the reference release (dot) and its bound (bar); 1e-9: exact")
    passed = sum(row.check.passed for row in rows)
    axes.set_title(f"{passed} of {len(rows)} cases within their bound", fontsize=10)
    axes.grid(axis="x", color="0.93")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    pyplot.close(figure)
