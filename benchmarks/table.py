#!/usr/bin/env python
"""The comparisons that compare.py --json has written, as a Markdown table: python benchmarks/table.py FILE [FILE ...]"""

import json
import statistics
import sys
from pathlib import Path


def rows(path) -> list[str]:
    lines = []
    for record in map(json.loads, Path(path).read_text().splitlines()):
        case = f"{record['case']} {record['version']}, batch {record['batch']}, {record['grid']}, "
        case += f"{record['threads']} threads" if record.get("device", "cpu") == "cpu" else f"GPU, {record['dtype']}"
        for side in record["sides"]:
            lines.append(
                f"| {case} | {side['name']} | {statistics.median(side['seconds']):.2f} | {side['peak_gib']:.2f} | "
                f"{side['ratio']:.2f} | {side['error']:.1e} |"
            )
            case = ""
    return lines


def main(paths):
    print("| case | | median, s | peak, GiB | of the peer's time | differs by |\n" + "|" + "---|" * 6)
    print("\n".join(line for path in paths for line in rows(path)))


if __name__ == "__main__":
    main(sys.argv[1:])
