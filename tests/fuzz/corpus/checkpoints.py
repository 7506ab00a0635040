"""Findings in checkpoints: pickles under each name that some version of the trainer reads, each way to get at it."""

import pickle

from fuzz import pickle_damage
from fuzz.case import Input
from fuzz.corpus.finding import FINDINGS, Finding, of_file
from fuzz.kinds.checkpoints import DRY, LAST, MARKER, NAMED, checkpoint, relisted

RUN = "run/checkpoint-2"


def pickle_in_checkpoint(name, way, listed, number):
    def damage(folder):
        path = checkpoint(folder) / name
        before = path.read_bytes() if path.is_file() else b""
        content = [*pickle_damage.opcodes(folder / MARKER), pickle.dumps(pickle_damage.calls(folder / MARKER)[0])][
            number
        ]
        path.write_bytes(content)
        if listed is None:
            (checkpoint(folder) / "complete.json").unlink()
        elif listed:
            relisted(checkpoint(folder))
        return Input(folder, "a pickle that runs code", path, before, content, (way,))

    kind = "pickles, extraction" if way == "extraction" else "pickles, resume"
    FINDINGS[f"pickle {number} as {name}, {way}, {listed}"] = Finding(kind, damage)


for _name in ("model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "rng_state.pth"):
    for _way, _listed in ((NAMED, True), (DRY, True), (LAST, None), ("extraction", True)):
        pickle_in_checkpoint(_name, _way, _listed, -1)
for _number in range(4):
    pickle_in_checkpoint("rng_state.pth", NAMED, True, _number)


for _name, _text in (("complete.json", "[]"), ("complete.json", "{}"), ("networks.json", "[1]"), ("networks.json", "{}"),
                     ("trainer_state.json", '{"global_step": "many"}'), ("trainer_state.json", '{"global_step": 1e300}'),
                     ("trainer_state.json", "[]"), ("adaptive_weight.json", '{"losses": NaN}')):  # fmt: skip
    for _way in (NAMED, DRY):
        of_file(
            f"{_name} = {_text}, {_way}",
            "resume",
            f"{RUN}/{_name}",
            lambda _, text=_text: text.encode(),
            False,
            (_way,),
        )
