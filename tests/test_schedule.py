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


def test_a_cosine_by_epoch_is_torchs_own_stepped_once_an_epoch():
    epochs, steps = 4, 3
    rates = []
    for settings, by_step in ((Settings(epochs, 0.001, schedule="cosine by epoch"), True), (Settings(epochs), False)):
        optimiser = make_optimiser([nn.Parameter(torch.zeros(1))], settings)
        oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, 1e-5)
        schedule = make_schedule(optimiser, settings, epochs * steps) if by_step else oracle
        rates.append([])
        for step in range(epochs * steps):
            rates[-1].append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            if by_step or step % steps == steps - 1:
                schedule.step()
        rates[-1].append(optimiser.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0][:4] == pytest.approx([0.001, 0.001, 0.001, 1e-5 + 0.00099 * (1 + math.cos(math.pi / 4)) / 2])
    assert rates[0][-1] == pytest.approx(1e-5)


def test_a_warm_up_before_a_cosine_by_epoch_moves_no_stair():
    rates = {}
    for warmup in (0, 2):
        settings = Settings(4, 0.001, schedule="cosine by epoch", warmup_steps=warmup)
        optimiser = make_optimiser([nn.Parameter(torch.zeros(1))], settings)
        schedule, rates[warmup] = make_schedule(optimiser, settings, 12), []
        for _ in range(12):
            rates[warmup].append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
    assert rates[2][0] == pytest.approx(1e-6)
    assert rates[2][2:] == pytest.approx(rates[0][2:])
