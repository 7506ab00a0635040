"""Cases of wrong data."""

import shutil

from bad_inputs import case


@case("data", "data does not exist", "--dataset_path")
def no_dataset(inputs):
    """The dataset folder does not exist"""
    shutil.rmtree(inputs.data)


@case("data", "has no images", "--dataset_path")
def empty_dataset(inputs):
    """The dataset folder is empty"""
    shutil.rmtree(inputs.data)
    inputs.data.mkdir()


@case("data", "1.png", "needs a caption NAME.txt")
def no_caption(inputs):
    """An image has no caption"""
    (inputs.data / "1.txt").unlink()


@case("data", "1.txt", "caption files without an image")
def no_image(inputs):
    """A caption has no image"""
    (inputs.data / "1.png").unlink()


@case("data", "1.txt", "empty")
def empty_caption(inputs):
    """A caption file is empty"""
    (inputs.data / "1.txt").write_text("")


@case("data", "1.txt", "save it as UTF-8")
def caption_in_another_encoding(inputs):
    """A caption is not UTF-8"""
    (inputs.data / "1.txt").write_bytes("ein schöner Hund".encode("latin-1"))


@case("data", "1.png", "share their name")
def two_images_of_one_name(inputs):
    """1.jpg and 1.png share one caption"""
    shutil.copyfile(inputs.data / "1.png", inputs.data / "1.jpg")


@case("data", "1.png", "--skip_corrupt True")
def damaged_image(inputs):
    """An image is cut off"""
    path = inputs.data / "1.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@case("data", "data", "--skip_corrupt leaves nothing")
def all_images_damaged(inputs):
    """--skip_corrupt, and every image is damaged"""
    for path in inputs.data.glob("*.png"):
        path.write_bytes(b"no image")
    return ["--skip_corrupt", "True"]


@case("data", "metadata.jsonl, line 2", "not JSON")
def broken_table(inputs):
    """A line of metadata.jsonl is not JSON"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a"}\n{"file_name": 2.png}\n')


@case("data", "9.png", "do not exist")
def table_of_missing_images(inputs):
    """metadata.jsonl names an image that is not there"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "9.png", "text": "a"}\n')


@case("data", "metadata.jsonl", "--caption_key NAME")
def table_without_captions(inputs):
    """metadata.jsonl has neither text nor caption"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "1.png", "title": "a"}\n')


@case("data", "metadata.jsonl and metadata.csv", "--dataset_path")
def two_tables(inputs):
    """There are metadata.jsonl and metadata.csv"""
    (inputs.data / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a"}\n')
    (inputs.data / "metadata.csv").write_text("file_name,text\n1.png,a\n")


@case("data", ".tar")
def no_tars(inputs):
    """No tar matches the pattern"""
    return ["--dataset_path", f"{inputs.data}/*.tar"]


@case("data", "shard.tar")
def damaged_tar(inputs):
    """A tar is cut off"""
    (inputs.data / "shard.tar").write_bytes(b"\x01" * 700)
    return ["--dataset_path", f"{inputs.data}/shard.tar"]


@case("data", "--data_filter")
def filter_that_cannot_be_read(inputs):
    """--data_filter is no expression"""
    return ["--data_filter", "width >"]


@case("data", "--data_filter", "keeps none of the 3")
def filter_that_keeps_nothing(inputs):
    """--data_filter keeps no sample"""
    for number in range(3):
        (inputs.data / f"{number}.json").write_text('{"score": 1}')
    return ["--data_filter", "score > 5"]


@case("data", "--caption_key title", "Leave the flag out")
def caption_key_without_table(inputs):
    """--caption_key, and the captions are .txt files"""
    return ["--caption_key", "title"]
