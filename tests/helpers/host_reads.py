"""Count what a piece of code reads back from the device, on a machine without one: on a GPU each reading is a wait."""

from collections.abc import Callable
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _Scalars(TorchDispatchMode):
    """Count scalars that become Python numbers: `item`, `int`, `float`, `bool`, a tensor as an index."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def host_reads(function: Callable[[], object]) -> int:
    """How many times `function` reads back: scalars, and calls of `tolist`, `numpy` and `cpu`."""
    calls = 0

    def counted(method):
        def counting(self, *args, **kwargs):
            nonlocal calls
            calls += 1
            # Not its scalars as well: a list is read in one go.
            with torch.utils._python_dispatch._disable_current_modes():
                return method(self, *args, **kwargs)

        return counting

    methods = {name: counted(getattr(torch.Tensor, name)) for name in ("tolist", "numpy", "cpu")}
    with patch.multiple(torch.Tensor, **methods), _Scalars() as scalars:
        function()
    return calls + scalars.count
