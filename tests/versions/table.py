"""Results as Markdown, in English and Chinese, put between two marks of the documents."""

from pathlib import Path

START, END = "<!-- written by make versions -->", "<!-- end -->"
HEADS = {
    "en": ("Python", "PaddlePaddle", "parity", "picture beside the pinned one", "five training steps: last loss", "extraction",
           "`--compile` beside without", "warnings", "seconds"),
    "zh": ("Python", "PaddlePaddle", "数值对照", "与锁定版本的图片相比", "训练五步后的 loss", "导出权重", "`--compile` 与不编译相比",
           "多余警告", "耗时（秒）"),
}  # fmt: skip
WORDS = {
    "en": {"same": "same bytes", "apart": "within {} of 255, {:.3%} of values", "works": "works", "failed": "failed",
           "refused": "refused", "none": "none", "reference": "it is the pinned one"},
    "zh": {"same": "逐字节相同", "apart": "相差不超过 {}/255，{:.3%} 的值不同", "works": "可用", "failed": "失败",
           "refused": "拒绝", "none": "无", "reference": "即锁定版本"},
}  # fmt: skip


def row(results, language: str, first: bool) -> list:
    """The cells of one environment."""
    words = WORDS[language]

    def cell(done, text, *steps):
        if done:
            return text
        return words["refused" if any(step in results.refused for step in steps) else "failed"]

    def compared(value):
        return (words["same"] if value[0] == 0 else words["apart"].format(*value)) if value else ""

    passed, rows = results.parity or (0, 0)
    return [
        results.versions["python"],
        results.versions["paddlepaddle"],
        cell(rows, f"{passed} / {rows}", "parity"),
        cell(results.picture, words["reference"] if first else compared(results.picture), "picture"),
        cell(results.losses, f"{results.losses[-1]:.6f}" if results.losses else "", "training"),
        cell(results.tuned, words["works"], "extraction", "tuned picture"),
        cell(results.compiled, compared(results.compiled), "compiled picture"),
        str(len(results.stray)) if results.stray else words["none"],
        f"{sum(results.seconds.values()):.0f}",
    ]


def table(all_results, language: str) -> str:
    """Ordered as the results are; the first is the one that the others are compared with."""
    heads = HEADS[language]
    rows = [row(results, language, index == 0) for index, results in enumerate(all_results)]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_into(path: Path, text: str):
    """Replace what stands between START and END. ValueError where they do not."""
    old = path.read_text(encoding="utf-8")
    before, start, rest = old.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{path} has no {START} ... {END} to write between.")
    path.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")
