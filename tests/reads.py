"""Count what a piece of code reads back from the device: on a GPU, each of these waits for all work before it."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Scalars(TorchDispatchMode):
    """`float(x)`, `int(x)`, `bool(x)`, `x.item()` all end in this operation."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.seen.append("scalar")
        return function(*args, **(kwargs or {}))


@contextmanager
def reads() -> Iterator[list[str]]:
    """Yield a list that gets an entry for each scalar read, and each `tolist`, `numpy` and `cpu` of a tensor."""
    seen: list[str] = []

    def counted(name):
        original = getattr(Tensor, name)

        def method(self, *args, **kwargs):
            seen.append(name)
            return original(self, *args, **kwargs)

        return method

    with patch.multiple(Tensor, **{name: counted(name) for name in ("tolist", "numpy", "cpu")}), _Scalars(seen):
        yield seen
