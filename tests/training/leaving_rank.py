"""One of two ranks that leaves when it is told to; started by test_distributed.py. Argument: whether to hear a goodbye.

What C registers first to be done at a process's end is done last, when Paddle's libraries have been taken down: a byte is
read from standard input then, and a second one. Whoever holds the other end sees the first taken and lets the rank go.
"""

import ctypes
import sys

libc = ctypes.CDLL(None)
for _ in range(2):
    libc.__cxa_atexit(libc.getchar, None, None)

import paddle  # noqa: E402
from paddle.base.core import create_or_get_global_tcp_store  # noqa: E402

from ldm.training.distributed import log_one_disconnect  # noqa: E402

paddle.distributed.init_parallel_env()
# As in a run of PaddleNLP's trainer, whose groups of ranks are never let go, and so the store's listener never stops
ctypes.pythonapi.Py_IncRef(ctypes.py_object(create_or_get_global_tcp_store()))
if sys.argv[1] == "True" and paddle.distributed.get_rank() == 0:
    log_one_disconnect()
paddle.distributed.barrier()
