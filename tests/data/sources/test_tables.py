"""Folders with one metadata.jsonl or metadata.csv: rows by place, every mistake named, columns for filters."""

import json
import pickle

import pytest
from PIL import Image

from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions

ROWS = [
    {"file_name": "a.png", "text": "first", "width": 300, "score": 5.5},
    {"file_name": "deep/b.jpg", "text": 'two\nlines, "quoted" ü', "width": 700},
    {"file_name": "./c.webp", "text": "42", "width": 512, "score": 1},
]


def write_images(folder):
    (folder / "deep").mkdir()
    for name in ("a.png", "deep/b.jpg", "c.webp"):
        Image.new("RGB", (8, 6), "red").save(folder / name)


def write_jsonl(folder, rows, between=""):
    (folder / "metadata.jsonl").write_text(between.join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(folder, rows):
    def cell(value):
        return '"' + str(value).replace('"', '""') + '"'

    columns = ["file_name", "text", "width", "score"]
    lines = [",".join(columns), *(",".join(cell(row.get(name, "")) for name in columns) for row in rows)]
    (folder / "metadata.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")


@pytest.fixture(params=[write_jsonl, write_csv])
def folder(request, tmp_path):
    write_images(tmp_path)
    request.param(tmp_path, ROWS)
    return tmp_path


def test_rows_are_read_where_they_lie(folder):
    source = open_source(folder)
    assert [source.name(index) for index in range(3)] == ["a.png", "deep/b.jpg", "c.webp"]
    assert Captions(source)[:] == ["first", 'two lines, "quoted" ü', "42"]
    assert source.read(1) == (folder / "deep" / "b.jpg").read_bytes()
    assert [source.metadata(index).get("score") for index in range(3)] == [5.5, None, 1]
    again = pickle.loads(pickle.dumps(source))  # as a loader's worker gets it
    assert Captions(again)[2] == "42"


def test_filters_see_the_columns(folder):
    kept = open_source(folder, data_filter="width >= 512")
    assert [kept.name(index) for index in range(len(kept))] == ["deep/b.jpg", "c.webp"]
    kept = open_source(folder, data_filter="has(score) and score > 5")
    assert Captions(kept)[:] == ["first"]
    with pytest.raises(ValueError, match=r"deep/b.jpg has no 'score'.*has\(score\).*metadata\."):
        open_source(folder, data_filter="score > 5")
    with pytest.raises(ValueError, match="keeps none of the 3"):
        open_source(folder, data_filter="width > 9000")


def test_the_file_itself_can_be_named(folder):
    [table] = folder.glob("metadata.*")
    assert len(open_source(table)) == 3


def test_another_caption_column(tmp_path):
    write_images(tmp_path)
    write_jsonl(tmp_path, [{**row, "caption": f"other {row['file_name']}"} for row in ROWS])
    with pytest.raises(ValueError, match="columns file_name, text, .*--caption_key"):
        open_source(tmp_path)
    assert open_source(tmp_path, "caption").caption(0) == "other a.png"


def test_empty_lines_do_not_shift_rows(tmp_path):
    write_images(tmp_path)
    write_jsonl(tmp_path, ROWS, between="\n  \n")
    source = open_source(tmp_path)
    assert [source.caption(index) for index in range(3)] == ["first", 'two lines, "quoted" ü', "42"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows.append(ROWS[0]), "1 images that are named twice: a.png"),
        (lambda rows: rows.append({**ROWS[0], "file_name": "z.png"}), "1 images that do not exist: z.png"),
        (
            lambda rows: rows.append({**ROWS[0], "file_name": "c.webp", "text": " "}),
            "without a caption in 'text': row 4",
        ),
        (lambda rows: rows.append({**ROWS[0], "file_name": "notes.txt"}), "file_name is no image .*: row 4"),
        (lambda rows: rows.clear(), "has no rows|must begin"),
    ],
)
@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_what_is_wrong_is_named(tmp_path, write, change, message):
    write_images(tmp_path)
    rows = list(ROWS)
    change(rows)
    write(tmp_path, rows)
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path)


def test_lines_that_are_no_rows(tmp_path):
    write_images(tmp_path)
    (tmp_path / "metadata.jsonl").write_text(json.dumps(ROWS[0]) + "\n{broken\n")
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        open_source(tmp_path)
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,one,two\n")
    with pytest.raises(ValueError, match="row 1 has 3 cells, not 2"):
        open_source(tmp_path)


def test_two_tables_are_ambiguous(tmp_path):
    write_images(tmp_path)
    write_jsonl(tmp_path, ROWS)
    write_csv(tmp_path, ROWS)
    with pytest.raises(ValueError, match="both metadata.jsonl and metadata.csv"):
        open_source(tmp_path)


def test_a_table_cut_off_later_is_noticed(tmp_path):
    write_images(tmp_path)
    write_jsonl(tmp_path, ROWS)
    source = open_source(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="has changed since it was opened"):
        source.caption(2)
