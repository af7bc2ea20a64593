"""How fast a detector learns: the settings of a training, its optimiser and its learning rate. Lesson 07.

Sources: Fast R-CNN, section 2.3 "SGD hyper-parameters"; Faster R-CNN, section 3.1.3; Goyal et al. 2017, section 2.2
(warm-up); Loshchilov and Hutter 2017 (cosine); Pascanu et al. 2013 (clipping); Micikevicius et al. 2018 (precision).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import lr_scheduler

from frcnn_lessons.settings import Count, Inside, Positive, Share, Weight, Whole, check_settings


@dataclass(frozen=True)
class Settings:
    """How to train. A checkpoint remembers its settings and refuses to go on with others.

    Attributes:
        epochs: how often every image is seen.
        learning_rate: the highest; 0.001 in both papers, for a pretrained network and two images a step. A network
            that starts from random weights bears, and needs, more.
        optimiser: "sgd" with `momentum`, as in the papers, or "adamw", which needs less tuning and ignores it.
        momentum, weight_decay: Fast R-CNN, section 2.3; Faster R-CNN, section 3.1.3.
        schedule: "step" cuts the rate where `drop_at` says, "cosine" lowers it smoothly to `final_learning_rate`,
            "cosine by epoch" does so in one stair an epoch, "constant" keeps it.
        drop_at: after which shares of all steps "step" multiplies the rate by `drop_to`. Both papers drop it once, to
            a tenth, after three quarters: 30k of 40k steps (Fast R-CNN, 2.3), 60k of 80k (Faster R-CNN, 3.1.3).
        final_learning_rate: where a cosine ends.
        warmup_steps: over so many first steps the rate grows evenly from a thousandth to the full one (Goyal et al.,
            2.2). The papers had none.
        clip_norm: a gradient longer than this (all parameters taken as one vector) is shortened to it. None for no
            limit, as in the papers.
        precision: what the forward pass computes in; weights stay float32. "float16" scales the loss (Micikevicius et
            al., 3.2), because small gradients would become 0; a step whose gradient overflows is left out, and the
            schedule waits for the next.
    """

    epochs: Count
    learning_rate: Positive = 0.001
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: Share = 0.9
    weight_decay: Weight = 0.0005
    schedule: Literal["step", "cosine", "cosine by epoch", "constant"] = "step"
    drop_at: tuple[Inside, ...] = (0.75,)
    drop_to: Share = 0.1
    final_learning_rate: Weight = 1e-5
    warmup_steps: Whole = 0
    clip_norm: Positive | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_settings(self)


def make_optimiser(parameters: Sequence[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """The optimiser that the settings ask for."""
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def cosine(share: float) -> float:
    """Half a wave of a cosine, from 1 at a share of 0 to 0 at 1."""
    return (1 + math.cos(math.pi * share)) / 2


def make_schedule(optimiser: torch.optim.Optimizer, settings: Settings, total_steps: int) -> lr_scheduler.LRScheduler:
    """The learning rate as a function of the step; call its `step` once after each step of the optimiser.

    Args:
        total_steps: the length of the training. "cosine" ends there, the shares of `drop_at` are shares of it.

    Raises:
        ValueError: if the warm-up takes the whole training, or is no whole number of steps.
    """
    warmup = settings.warmup_steps
    if warmup not in range(total_steps):
        raise ValueError(f"warmup_steps must be 0 to {total_steps - 1}, less than all steps; got {warmup}")
    main: lr_scheduler.LRScheduler
    if settings.schedule == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimiser, total_steps - warmup, settings.final_learning_rate)
    elif settings.schedule == "cosine by epoch":
        low = settings.final_learning_rate / settings.learning_rate
        main = lr_scheduler.LambdaLR(
            optimiser,
            # After a warm-up the schedule that follows counts from 0 again.
            lambda step: low + (1 - low) * cosine((step + warmup) * settings.epochs // total_steps / settings.epochs),
        )
    else:
        shares = settings.drop_at if settings.schedule == "step" else ()
        drops = [round(share * total_steps) - warmup for share in shares]
        main = lr_scheduler.MultiStepLR(optimiser, drops, settings.drop_to)
    if warmup == 0:
        return main
    rise = lr_scheduler.LinearLR(optimiser, start_factor=0.001, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimiser, [rise, main], milestones=[warmup])
