"""What a weights file's metadata says besides: the output size and other notes, held against the tensors."""

import pytest
from checkpoints import write_header

from ldm.weights.release import network_config, output_size

PRIOR = {"clip_txt_mapper.weight": (64, 64)}  # a tensor that tells a prior


@pytest.mark.parametrize(
    "note, message",
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "has 100000 characters"),
        ("[" * 50_000, "nested too deeply"),
        ('{"c_in": ' + "[" * 20_000 + "]" * 20_000 + "}", "nested too deeply"),
        ('{"c_in": 1, "c_in": 2}', "the key 'c_in' occurs twice"),
        ('{"c_in": ' + "9" * 5000 + "}", "is not JSON"),
        ("null", "holds a NoneType"),
        ("3", "holds a int"),
        ('"x"', "holds a str"),
        ('{"c_in": NaN}', "c_in is nan"),
    ],
)
def test_a_note_that_is_no_config_is_named_with_the_file(tmp_path, note, message):
    path = write_header(tmp_path / "x.safetensors", PRIOR, {"config": note})
    with pytest.raises(ValueError) as error:
        network_config(path, "stage_c")
    assert str(error.value).startswith(f"{path}: the metadata's 'config'") and message in str(error.value)


@pytest.mark.parametrize(
    "value", ["99999999", "-1", "0", "31", "1e3", "1024.0", "", " 1024", "²", "१०२४", "9" * 5000, "null"]
)
def test_an_output_size_is_a_number_of_pixels(tmp_path, value):
    path = write_header(tmp_path / "x.safetensors", {"a": (1,)}, {"output_size": value})
    with pytest.raises(ValueError) as error:
        output_size(path)
    assert str(error.value).startswith(f"{path}: the metadata's 'output_size' is ") and len(str(error.value)) < 500


def test_a_sensible_output_size_is_taken(tmp_path):
    assert output_size(write_header(tmp_path / "x.safetensors", {"a": (1,)}, {"output_size": "768"})) == 768
    assert output_size(write_header(tmp_path / "x.safetensors", {"a": (1,)}), 512) == 512


@pytest.mark.parametrize(
    "notes, message", [({"layout": "torch"}, "'layout' is 'torch'"), ({"network": "stage_b"}, "'network'")]
)
def test_other_notes_that_contradict_the_file(tmp_path, notes, message):
    path = write_header(tmp_path / "x.safetensors", {"clip_txt_mapper.weight": (2048, 1280)}, notes)
    with pytest.raises(ValueError, match=f"x.safetensors: the metadata's {message}"):
        network_config(path, "stage_c")
