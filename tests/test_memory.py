"""What a forward pass keeps, against a count by hand."""

import torch
from torch import nn

from frcnn_lessons.course.memory import kept_for_backward


def test_activations_count_in_bytes_and_weights_do_not():
    # A linear layer keeps its input for the gradient of its weights, 5 x 3 numbers, and ReLU what it gave, 5 x 4.
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    x = torch.randn(5, 3)
    given, kept = kept_for_backward(lambda: model(x), model)
    assert torch.equal(given, model(x))
    assert kept == 4 * (5 * 3 + 5 * 4)


def test_what_is_kept_twice_counts_once():
    model = nn.Linear(3, 3)
    x = torch.randn(5, 3)
    _, kept = kept_for_backward(lambda: model(x) + model(x.view(5, 3)), model)
    assert kept == 4 * 5 * 3


def test_without_a_gradient_nothing_is_kept_and_with_one_it_still_flows():
    model = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    with torch.no_grad():
        assert kept_for_backward(lambda: model(x), model)[1] == 0
    kept_for_backward(lambda: model(x).sum(), model)[0].backward()
    assert torch.allclose(model.weight.grad, x.sum(dim=0).expand(4, 3))
