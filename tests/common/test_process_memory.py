"""Memory of this process, not of the one that started it."""

import numpy as np
from helpers import run_python

from ldm.common.memory import peak_memory, resident_memory

CODE = """
import numpy as np
from ldm.common.memory import peak_memory, resident_memory
before = resident_memory()
begin = peak_memory()
np.ones(2**25)  # 256 MiB, freed at once
print(before, begin, peak_memory(), resident_memory())
"""


def test_the_peak_is_the_processes_own():
    large = np.ones(2**27)  # 1 GiB, in this process alone
    before, begin, peak, now = map(int, run_python(CODE).split()[-4:])
    assert peak_memory() > large.nbytes <= resident_memory()
    assert before <= begin < 2**29
    assert 0.9 * 2**28 < peak - begin < 1.2 * 2**28 and now < peak


def test_a_process_may_have_a_limit_of_its_own(monkeypatch):
    """ulimit -v: what the machine has beyond it is not to be had."""
    import psutil

    from ldm.common.memory import host_available

    now = psutil.Process().memory_info().vms
    monkeypatch.setattr(psutil.Process, "rlimit", lambda *_: (now + (1 << 28), psutil.RLIM_INFINITY))
    assert 0 <= host_available() <= 1 << 28
    monkeypatch.setattr(psutil.Process, "rlimit", lambda *_: (now - 1, psutil.RLIM_INFINITY))
    assert host_available() == 0
    monkeypatch.setattr(psutil.Process, "rlimit", lambda *_: (psutil.RLIM_INFINITY,) * 2)
    assert host_available() > 1 << 28
