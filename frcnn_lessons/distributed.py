"""One detector trained by several processes, on as many GPUs or machines: PyTorch's own DistributedDataParallel.

    torchrun --nproc-per-node 2 -m frcnn_lessons.course.cli train DATA --out DIR --batch-size 8

Every process has the whole network and a share of each batch. It computes the gradient of its share, the gradients are
averaged over all while the backward pass still runs, and all make the same step: what one process would learn from the
batch, but for random draws and batch norm. Sent is the gradient, 4 bytes a parameter. One writes files. Lesson 12.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Sampler


@contextmanager
def processes(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; yield the device of this one: each has its own GPU."""
    if not distributed.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process; 0 for the first, and for one that is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


class Parallel(DistributedDataParallel):
    """A detector whose gradients are averaged over all processes. For `training.train` it looks like the detector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.description = getattr(model, "description", {})

    def named_modules(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        """Those of the detector, by the names that they have there; so its parameters keep their names, too."""
        return self.module.named_modules(*arguments, **options)

    def state_dict(self, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        return self.module.state_dict(*arguments, **options)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        return self.module.load_state_dict(*arguments, **options)


class Share(Sampler[list[int]]):
    """The part of each batch that belongs to this process. All go by the order that the first has drawn."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        drawn = [list(self.batches)]
        distributed.broadcast_object_list(drawn)
        for batch in drawn[0]:
            # Nobody may stay away from a step, or the others would wait for ever: the last image is seen twice then.
            yield batch[rank() :: distributed.get_world_size()] or batch[-1:]


def shared(loader: DataLoader) -> DataLoader:
    """A DataLoader of `datasets.batches`, for this process's part of each batch."""
    rest: Any = {"num_workers": loader.num_workers, "generator": loader.generator, "collate_fn": loader.collate_fn}
    return DataLoader(loader.dataset, batch_sampler=Share(loader.batch_sampler), **rest)
