"""The parity report as a picture: a line per file, a dot per case, each bound beside them."""

from ldm.common.atomic import atomic_path

WIDTH, ROW_HEIGHT = 9.0, 0.3  # inches


def plot_rows(rows, path):
    """Draw every row that has a number to a PNG file, the rows of one file on one line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row.check is not None]
    files = list(dict.fromkeys(row.file for row in rows))
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.2 + ROW_HEIGHT * len(files)))
    for row in rows:
        line = files.index(row.file)
        error = max(row.check.error, 1e-9)  # exact agreement has no place on a logarithmic axis
        axes.plot(error, line, "o", color="tab:green" if row.check.passed else "tab:red", markersize=5, alpha=0.7)
        axes.plot(row.check.bound, line, "|", color="black", markersize=12)
    axes.set_xscale("log")
    axes.set_xlim(5e-10, 3e-4)
    axes.set_ylim(len(files) - 0.5, -0.5)
    axes.set_yticks(range(len(files)), files, fontsize=8)
    axes.set_xlabel("relative error against the reference release (dot) and its bound (bar); 1e-9: exact")
    passed = sum(row.check.passed for row in rows)
    axes.set_title(f"{passed} of {len(rows)} cases within their bound", fontsize=10)
    axes.grid(axis="x", color="0.93")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    pyplot.close(figure)
