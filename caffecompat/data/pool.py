"""Memory of batches, used again once nobody holds the batch: taking it anew costs as much as filling it."""

from __future__ import annotations

import weakref
from collections import deque
from math import prod

import numpy as np

from caffecompat.data.source import Floats
from caffecompat.graph.spec import Shape


class Pool:
    """Arrays of one size; any number of threads may take some.

    Args:
        most: how many that nobody holds are kept.
    """

    def __init__(self, most: int) -> None:
        self._free: deque[Floats] = deque(maxlen=most)

    def empty(self, shape: Shape) -> Floats:
        """A float32 array of this shape, its values undefined: numpy.empty, of memory given back where there is some.

        The memory is given back when the array goes, and every view and tensor of it.
        """
        size = prod(shape)
        try:
            block = self._free.popleft()
        except IndexError:
            block = np.empty(size, np.float32)
        if block.size != size:
            block = np.empty(size, np.float32)
        # Views of views refer to the first array whose memory is no array's: this one, thanks to the memoryview.
        array = np.frombuffer(block.data, np.float32)
        weakref.finalize(array, self._free.append, block).atexit = False
        return array.reshape(shape)
