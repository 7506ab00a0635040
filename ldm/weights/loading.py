"""A file of either layout into a network's memory, without a second copy of it."""

import ctypes
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle

from ldm.weights.files import TensorFile, stamp
from ldm.weights.plan import check_dtype, plan_loading

THREADS = min(8, 2 * (os.cpu_count() or 1))  # two for a core: one of them often waits for the disk
MOST_OPEN = 16  # files that are kept open until they are loaded
AHEAD = 8 * THREADS  # tensors under way: no thread waits for a large one, and the system reads them meanwhile

_opened: dict[str, tuple] = {}  # path: (TensorFile, whether it has been loaded), of those not in use; the oldest first


@contextmanager
def opened(path, loading: bool = False):
    """The TensorFile of `path`, opened once for all that is asked of it: the file that was judged is the one that is loaded.

    A file that has changed since, in size, time or inode, is opened anew. loading: its data are read now, after which it is
    closed; what its header says is known further on.
    """
    place = os.path.abspath(path)
    file, loaded = _opened.pop(place, (None, False))
    if file is not None and (loading and loaded or not _is_current(path, file)):
        file.close()
        file = None
    file = TensorFile(path) if file is None else file
    file.path = Path(path)  # as it is called this time
    try:
        yield file
    finally:
        if loading:
            file.close()
        _keep(place, file, loaded or loading)


def _keep(place: str, file: TensorFile, loaded: bool):
    """For who asks next. What is in use is not kept, so that no other thread closes it."""
    spare = [_opened.pop(place, None)]  # of another thread, opened meanwhile
    _opened[place] = file, loaded
    spare += [_opened.pop(oldest, None) for oldest in list(_opened)[:-MOST_OPEN]]
    for entry in filter(None, spare):
        entry[0].close()


def _is_current(path, file: TensorFile) -> bool:
    try:
        return stamp(os.stat(path)) == file.stamp
    except OSError:
        return False


def load_weights(network: paddle.nn.Layer, path, name: str, dtype: str = "float32"):
    """Fill `network` (kind `name`, a key of RULES) from a safetensors file of either layout.

    Each tensor is read, widened and transposed straight into the network's memory, several at a time.
    BatchNorm statistics stay float32; everything else becomes `dtype`. Returns the network.
    """
    check_dtype(dtype)
    targets, under_way = network.state_dict(), deque()

    def finish(key, value, reading):
        reading.result()
        fill(targets[key], value, _stored_dtype(key, dtype))

    with opened(path, loading=True) as file, ThreadPoolExecutor(THREADS) as pool:
        for ours, theirs, layout in plan_loading(file, network, name):
            # paddle.empty takes a device from Paddle 3.2 on only
            value = paddle._C_ops.empty(targets[ours].shape, paddle.float32, paddle.CPUPlace())
            file.prefetch(theirs)
            reading = pool.submit(file.read_into, theirs, layout.released_view(memory_of(value)))
            under_way.append((ours, value, reading))
            if len(under_way) > AHEAD:
                finish(*under_way.popleft())
        for entry in under_way:
            finish(*entry)
        file.check_unchanged()
    return network


def memory_of(tensor: paddle.Tensor) -> np.ndarray:
    """A float32 CPU tensor's own memory, to be written to while the tensor lives. Paddle's DLPack gives numpy a read-only one."""
    memory = (ctypes.c_float * tensor.size).from_address(tensor.data_ptr())
    return np.frombuffer(memory, np.float32).reshape(tuple(tensor.shape))


def fill(parameter: paddle.Tensor, value, dtype: str):
    """Give `parameter` (possibly built lazily) the contents of `value` in `dtype`, on the current device."""
    if not isinstance(value, paddle.Tensor):
        value = paddle.to_tensor(value)
    value = value.astype(dtype).contiguous()
    device = paddle.get_device()
    if device != "cpu":
        value = value.to(device)  # files are read into the CPU's memory
    parameter.get_tensor()._clear()
    value._share_buffer_to(parameter)


def _stored_dtype(key: str, dtype: str) -> str:
    return "float32" if key.endswith(("._mean", "._variance")) else dtype
