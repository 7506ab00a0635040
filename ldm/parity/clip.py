"""Checks of the CLIP towers: the networks alone, without a tokenizer, on recorded token ids and normalised pixels."""

import paddle

from ldm.clip.folder import load_image_tower, load_text_tower
from ldm.parity.record import Check, Record, relative_error

FORWARD = 1e-5


def tower_folder(record: Record):
    """The tower a file was recorded from: clip_text_io.safetensors -> clip_text_tiny/ beside it."""
    return record.path.with_name(f"{record.name.removesuffix('_io')}_tiny")


@paddle.no_grad()
def check_clip_text(record: Record):
    tower = load_text_tower(tower_folder(record))
    ids, mask = record.tensor("in.input_ids"), record.tensor("in.attention_mask")
    out = tower(input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True)
    ours = {"hidden_states_last": out.hidden_states[-1], "text_embeds": out.text_embeds}
    for case, value in ours.items():
        yield Check(case, relative_error(value, record.array(f"out.{case}")), FORWARD)


@paddle.no_grad()
def check_clip_vision(record: Record):
    tower = load_image_tower(tower_folder(record))
    out = tower(pixel_values=record.tensor("in.pixel_values"), return_dict=True)
    yield Check("image_embeds", relative_error(out.image_embeds, record.array("out.image_embeds")), FORWARD)
