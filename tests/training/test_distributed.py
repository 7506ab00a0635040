"""Rank 0 outlives the others without harm, however far its own end has come when they leave."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import free_addresses

from ldm.training import run

SCRIPT = Path(__file__).with_name("leaving_rank.py")
PATIENCE = 120  # seconds for a rank to start, meet the other and come to its end


def start(rank: int, places, heard: bool, log) -> subprocess.Popen:
    env = {
        **os.environ,
        "PADDLE_TRAINER_ID": str(rank),
        "PADDLE_TRAINERS_NUM": "2",
        "PADDLE_TRAINER_ENDPOINTS": ",".join(places[:2]),
        "PADDLE_CURRENT_ENDPOINT": places[rank],
        "PADDLE_MASTER": places[2],
        "PADDLE_DISTRI_BACKEND": "gloo",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), str(heard)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env)
    os.write(started.stdin.fileno(), b"x")
    return started


def wait_until_last_moment(rank: subprocess.Popen):
    """Until the byte sent to the rank has been read, which it does when its libraries are gone."""
    for _ in range(PATIENCE * 20):
        unread = struct.unpack("i", fcntl.ioctl(rank.stdin.fileno(), termios.FIONREAD, b"\0" * 4))[0]
        if not unread or rank.poll() is not None:
            return
        time.sleep(0.05)
    raise AssertionError("The rank has not come to its end.")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: pipes that tell how much is unread")
@pytest.mark.parametrize(
    ("heard", "code"),
    [pytest.param(True, 0, id="heard"), pytest.param(False, -signal.SIGABRT, id="Paddle by itself still aborts")],
)
def test_a_rank_may_leave_while_rank_0_is_taken_down(tmp_path, heard, code):
    places, log = free_addresses(3), tmp_path / "log"
    with open(log, "w") as file:
        ranks = [start(rank, places, heard, file) for rank in range(2)]
        try:
            for rank in ranks:
                wait_until_last_moment(rank)
            assert [rank.poll() for rank in ranks] == [None, None], log.read_text()
            ranks[1].stdin.close()
            assert ranks[1].wait(PATIENCE) == 0, log.read_text()
            time.sleep(1)  # for rank 0 to take notice
            ranks[0].stdin.close()
            assert ranks[0].wait(PATIENCE) == code, log.read_text()
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()


@pytest.mark.parametrize(("world_size", "rank", "times"), [(1, 0, 0), (2, 0, 1), (2, 1, 0)])
def test_rank_0_of_several_logs_a_disconnect_before_anything_can_fail(monkeypatch, tmp_path, world_size, rank, times):
    heard = []
    monkeypatch.setattr(run, "log_one_disconnect", lambda: heard.append(True))

    def refuse(*groups):
        raise ValueError("bad input")

    arguments = SimpleNamespace(world_size=world_size, process_index=rank, output_dir=str(tmp_path), seed=1)
    with pytest.raises(ValueError, match="bad input"):
        run.build_trainer(refuse, arguments)
    assert len(heard) == times
