"""What the settings of a training mean, and which are refused. The rate itself is followed in test_training.py."""

import math

import pytest
import torch
from torch import nn

from frcnn_lessons.schedule import Settings, make_optimiser, make_schedule


def test_the_defaults_are_those_of_the_papers():
    parameters = [nn.Parameter(torch.zeros(1))]
    optimiser = make_optimiser(parameters, Settings(epochs=1))
    group = optimiser.param_groups[0]
    assert isinstance(optimiser, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.001, 0.9, 0.0005)
    assert isinstance(make_optimiser(parameters, Settings(epochs=1, optimiser="adamw")), torch.optim.AdamW)
    with pytest.raises(ValueError, match="warmup_steps"):
        make_schedule(optimiser, Settings(epochs=1, warmup_steps=5), 5)


@pytest.mark.usefixtures("unchecked")
def test_half_a_step_of_warm_up_is_refused():
    optimiser = make_optimiser([nn.Parameter(torch.zeros(1))], Settings(epochs=1))
    with pytest.raises(ValueError, match="warmup_steps"):
        make_schedule(optimiser, Settings(epochs=1, warmup_steps=1.5), 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "linear"},
        {"epochs": 0},
        {"epochs": 1.5},
        {"learning_rate": math.nan},
        {"learning_rate": 0.0},
        {"momentum": math.nan},
        {"weight_decay": -0.1},
        {"clip_norm": 0.0},
        {"drop_at": (60_000,)},
        {"drop_at": (1.0,)},
        {"drop_at": 0.75},
        {"drop_to": math.nan},
        {"final_learning_rate": math.inf},
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**{"epochs": 1, **wrong})
