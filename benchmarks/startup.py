#!/usr/bin/env python
"""Seconds from the start of a process to the end of its first guided prior step, weights read from a bfloat16 file.

python benchmarks/startup.py --peer_python .venv-peer/bin/python [--version 1B]

Ours: the official layout, loaded as `inference.py` does; diffusers: its own layout, `from_pretrained`. Both compute in float32,
each file is in the system's cache. Taken apart: imports, loading, step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import time


def ours(version: str, folder: Path, inputs: str) -> list[float]:
    from ldm.common.runtime import prepare

    prepare()
    import paddle
    from cases import read_inputs

    from ldm.weights.release import load_network

    paddle.set_device("cpu")
    marks = [time()]
    network = load_network(folder / f"ours_{version}.safetensors", "stage_c")
    marks.append(time())
    with paddle.no_grad():
        given = read_inputs(inputs)
        x, r = given.pop("x"), given.pop("r")
        network.bound(x.shape[2:], **given)(x, r).numpy()
    return [*marks, time()]


def peer(version: str, folder: Path, inputs: str) -> list[float]:
    import torch
    from peer_networks import StableCascadeUNet, arguments, start_torch
    from safetensors.torch import load_file

    start_torch()
    marks = [time()]
    network = StableCascadeUNet.from_pretrained(folder / f"peer_{version}", torch_dtype=torch.float32)
    marks.append(time())
    with torch.no_grad():
        network(**arguments("stage_c", load_file(inputs))).sample.numpy()
    return [*marks, time()]


def write_ours(version: str, folder: Path, inputs: str):
    from ldm.demo.rule_release import write_rule_network
    from ldm.networks.variants import variant_config

    config = variant_config("stage_c", version)
    write_rule_network(folder / f"ours_{version}.safetensors", "stage_c", config, dtype="bfloat16")


def write_peer(version: str, folder: Path, inputs: str):
    import torch
    from peer_networks import unet

    unet("stage_c", version).to(torch.bfloat16).save_pretrained(folder / f"peer_{version}")


JOBS = {"ours": ours, "peer": peer, "write_ours": write_ours, "write_peer": write_peer}


def run(python: str, job: str, args, inputs: str) -> str:
    from workers import environment

    command = [python, __file__, "--job", job, "--version", args.version, "--folder", args.folder, "--inputs", inputs]
    variables = environment(OMP_NUM_THREADS=str(args.threads))
    return subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="1B", choices=("1B", "3.6B"))
    parser.add_argument("--peer_python", help="python of an environment with requirements-peer.txt")
    parser.add_argument("--folder", default="build/startup", help="where the rule-filled checkpoints are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    for hidden in ("--job", "--inputs"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = Path(args.folder)
    if args.job:
        print(json.dumps(JOBS[args.job](args.version, folder, args.inputs)), file=sys.__stdout__)  # see worker.py
        return
    from cases import CASES, write_inputs

    folder.mkdir(parents=True, exist_ok=True)
    inputs, case = str(folder / "inputs.safetensors"), CASES["prior"]
    write_inputs(inputs, case, 1, case.grid)
    sides = {"ours": sys.executable, **({"peer": args.peer_python} if args.peer_python else {})}
    for side, python in sides.items():
        if not list(folder.glob(f"{side}_{args.version}*")):
            run(python, f"write_{side}", args, inputs)
    times = {side: [] for side in sides}
    for _ in range(args.rounds):
        for side, python in sides.items():
            began = time()
            marks = json.loads(run(python, side, args, inputs).splitlines()[-1])
            imported, loaded, stepped = (after - before for before, after in zip([began, *marks], marks))
            times[side].append((stepped + loaded + imported, imported, loaded, stepped))
    for side, runs in times.items():
        whole, imported, loaded, stepped = (statistics.median(column) for column in zip(*runs))
        print(f"{side}: {whole:.1f} s = imports {imported:.1f} + loading {loaded:.1f} + first step {stepped:.1f}")
    if args.peer_python:
        ratio = statistics.median(run[0] for run in times["ours"]) / statistics.median(run[0] for run in times["peer"])
        print(f"ours / peer {ratio:.2f}")


if __name__ == "__main__":
    main()
