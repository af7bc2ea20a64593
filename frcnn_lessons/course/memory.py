"""How much memory a network keeps between its forward and its backward pass."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


def kept_for_backward(forward: Callable[[], Result], model: nn.Module) -> tuple[Result, int]:
    """Run a forward pass and count what it keeps for the backward pass.

    Counted exactly, by a hook that autograd calls for each tensor that it saves. The model's weights, which are there
    anyway, do not count, and tensors that share their memory count once.

    Args:
        forward: runs the model; called once.
        model: whose weights are left out.

    Returns:
        What `forward` gives, and the number of bytes.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}  # bytes by place in memory

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    return result, sum(size for place, size in kept.items() if place not in weights)
