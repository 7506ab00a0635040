"""Two ranks with batch b train what one rank trains with batch 2 b, and resume as exactly; over gloo on a CPU."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from helpers import ROOT, free_addresses
from small_release import write_scenes_and_release

from ldm.training.flags.arguments import parse_into
from ldm.training.run import train
from ldm.training.tasks import prior
from ldm.training.watching.noise_level_losses import loss_names
from ldm.weights.files import TensorFile

STEPS = 6
FLAGS = (
    f"--do_train --preflight False --max_steps {STEPS} --save_steps 3 --seed 5 --gradient_accumulation_steps 2 --resolution 64 "
    "--learning_rate 1e-3 --ema_decay 0.9 --loss_weight adaptive --logging_steps 2"
)
# Relative error over all weights together, ||ours - theirs|| / ||theirs||. Averaging the gradients of two ranks rounds
# differently from averaging over one batch: some 1e-7 of each gradient, of which Adam's division makes more where a
# gradient is tiny, and the weights move by it times the learning rate.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes, a release whose prior has no dropout (its masks depend on the rank), and the run of one rank in one/."""
    folder = write_scenes_and_release(tmp_path_factory.mktemp("ranks"), dropout=0.0)
    command = [*FLAGS.split(), *paths(folder, "one"), "--per_device_train_batch_size", "4"]
    train(prior.build_task, *parse_into(prior.GROUPS, command))
    return folder


def paths(folder, name) -> list:
    flags = {"weights_path": folder / "release", "dataset_path": folder / "scenes", "output_dir": folder / name}
    return [part for flag, path in flags.items() for part in (f"--{flag}", str(path))]


def start(folder, name, *flags, script="train_stage_c_trainer.py") -> str:
    """Run the training script on two ranks with half the batch each, as the documentation says; what they print."""
    launch = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
    command = [*launch, "--log_dir", str(folder / f"{name}_log"), script, *FLAGS.split()]
    command += [*paths(folder, name), "--per_device_train_batch_size", "2", *flags]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # the ranks share the cores; with all of them each, they only fight
    for _ in range(3):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
        output = done.stdout + done.stderr + "".join(p.read_text() for p in folder.glob(f"{name}_log/workerlog.*"))
        if done.returncode == 0:
            return output
        if "ddress already in use" not in output:  # else another program was quicker to take a free port
            break
    raise AssertionError(f"{output[-6000:]}\nThe launcher ended with code {done.returncode}.")


def weights(path) -> np.ndarray:
    """All weights of a run one after the other, float64."""
    state = paddle.load(str(path / "model_state.pdparams"), return_numpy=True)
    return np.concatenate([np.asarray(state[key], np.float64).ravel() for key in sorted(state)])


def averages(path) -> np.ndarray:
    with TensorFile(path / "ema.safetensors") as file:
        return np.concatenate([file.read_numpy(key).astype(np.float64).ravel() for key in sorted(file.keys())])


def relative(ours, theirs) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def adaptive(path) -> np.ndarray:
    return np.asarray(json.loads((path / "adaptive_weight.json").read_text())["losses"])


def logged(path, key) -> list:
    history = json.loads((path / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in history if key in entry]


def check_equal(folder, name):
    one, two = folder / "one", folder / name
    begin, end = weights(one / "checkpoint-3"), weights(one)
    assert relative(end, begin) > 1e-4  # it has moved
    print(name, relative(end, begin), relative(weights(two), end), relative(averages(two), averages(one)))
    assert relative(weights(two), end) <= TOLERANCE
    assert relative(averages(two), averages(one)) <= TOLERANCE
    assert (adaptive(one) != 1).sum() > 5
    np.testing.assert_allclose(adaptive(two), adaptive(one), rtol=1e-5)
    assert np.array_equal(adaptive(two) != 1, adaptive(one) != 1)
    np.testing.assert_allclose(logged(two, "grad_norm"), logged(one, "grad_norm"), rtol=1e-4)
    for name in loss_names():
        np.testing.assert_allclose(logged(two, name), logged(one, name), rtol=1e-4, err_msg=name)


def check_resumes(folder, name, *flags):
    resumed = folder / f"{name}_resumed"
    shutil.copytree(folder / name / "checkpoint-3", resumed / "checkpoint-3")
    output = start(folder, resumed.name, *flags)
    assert "Continuing training from global step 3" in output
    for file in ("model_state.pdparams", "ema.safetensors", "adaptive_weight.json"):
        assert (resumed / file).read_bytes() == (folder / name / file).read_bytes(), file


def test_two_ranks_equal_one_with_twice_the_batch(folder):
    start(folder, "plain")
    check_equal(folder, "plain")


def test_so_do_sharded_optimisers_with_recomputed_blocks_and_they_resume_bit_identically(folder):
    flags = ("--sharding", "stage1", "--recompute", "True")
    start(folder, "sharded", *flags)
    assert len(list((folder / "sharded" / "checkpoint-6").glob("optimizer.shard*.pdopt"))) == 2
    check_equal(folder, "sharded")
    check_resumes(folder, "sharded", *flags)


def test_a_bad_number_on_one_rank_makes_all_skip_the_step(folder):
    flags = ("--sharding", "stage1", "--on_non_finite", "skip", "--gradient_accumulation_steps", "1")
    output = start(folder, "poisoned", *flags, script="tests/training/poisoned_run.py")
    reports = [json.loads(line.split("REPORT ")[1]) for line in output.splitlines() if "REPORT " in line]
    # the launcher repeats the first rank's output
    assert len(reports) >= 2 and all(report["skipped"] and report["moved"] for report in reports)
    assert len({report["sum"] for report in reports}) == 1
    assert "see the report of another rank" in output
    [report] = (folder / "poisoned" / "bad_batches").glob("*.json")
    assert report.name == "step_000003_0_rank_1.json"


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", "--sharding stage1", "--recompute True"])
def test_every_way_of_training_on_two_ranks(folder, flags):
    name = f"slow{flags.replace(' ', '_')}"
    start(folder, name, *flags.split())
    check_equal(folder, name)
    check_resumes(folder, name, *flags.split())


@pytest.mark.slow
def test_two_nodes_of_one_rank_each(folder):
    """The documented command line of several nodes, both of them on this machine."""
    (master,) = free_addresses(1)
    nodes = []
    for node in range(2):
        launch = [sys.executable, "-m", "paddle.distributed.launch", "--nnodes", "2", "--rank", str(node)]
        launch += ["--master", master, "--nproc_per_node", "1", "--log_dir", str(folder / f"nodes_log_{node}")]
        command = [*launch, "train_stage_c_trainer.py", *FLAGS.split(), *paths(folder, "nodes")]
        log = open(folder / f"node_{node}.log", "w")
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        command += ["--per_device_train_batch_size", "2"]
        nodes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=env))
    try:
        for number, node in enumerate(nodes):
            assert node.wait(600) == 0, (folder / f"node_{number}.log").read_text()[-4000:]
    finally:
        for node in nodes:
            node.kill()
    check_equal(folder, "nodes")
