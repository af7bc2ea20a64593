"""What `test_distributed.py` starts with torchrun: `gradients`, or the command `train` with a process that is killed.

torchrun --nproc-per-node 2 two_processes.py gradients FILE
torchrun --nproc-per-node 2 two_processes.py train ...
"""

import os
import signal
import sys
import time
from unittest.mock import patch

import torch

from frcnn_lessons import distributed, sampling
from frcnn_lessons.course import cli, train_command
from helpers.tiny_scenes import scene, tiny_model, total


def gradients() -> dict[str, torch.Tensor]:
    """Of a Faster R-CNN with a frozen stage, for two images of which one has no objects; this process's part of them.

    What is drawn at random is taken in order instead, for two processes do not draw what one does.
    """
    torch.set_num_threads(1)
    images, targets = scene()
    images = [image[:, :60, :66] for image in images]  # of one size, or one process would pad them to another
    targets[1] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    model = tiny_model()
    model.backbone.freeze(1, batch_norm=True)
    with (
        distributed.processes(torch.device("cpu")),
        patch.object(sampling, "draw", lambda rows, count, _: rows[:count]),
    ):
        learner = model
        if torch.distributed.is_initialized():
            learner = distributed.Parallel(model)
            mine = slice(distributed.rank(), None, torch.distributed.get_world_size())
            images, targets = images[mine], targets[mine]
        total(learner(images, targets)).backward()
        return {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}


def killed_in_the_second_epoch(*arguments):
    """In place of `evaluate_voc`."""
    calls.append(arguments)
    if len(calls) == 2:
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the other is ended by torchrun meanwhile, and not by luck only after it has finished
    return evaluate(*arguments)


if __name__ == "__main__":
    if sys.argv[1] == "gradients":
        found = gradients()
        if os.environ["RANK"] == "0":
            torch.save(found, sys.argv[2])
    else:
        calls, evaluate = [], train_command.evaluate_voc
        if "KILL" in os.environ:
            train_command.evaluate_voc = killed_in_the_second_epoch
        cli.main()
