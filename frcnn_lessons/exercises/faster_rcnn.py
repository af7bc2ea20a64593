"""The exercises of lesson 10, Faster R-CNN.

Letters: C classes, D numbers of a region, K objects.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn, tensor

from frcnn_lessons.exercises.description import (
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    on_paper,
    parts,
)

# --- 10.1 ------------------------------------------------------------------------------------------------------

ON_THE_WAY = (
    "the batch",
    "the map",
    "the anchors",
    "objectness",
    "the RPN's deltas",
    "the pooled features",
    "the class scores",
    "the head's deltas",
)
WAY_TEXT = """\
One image, shape `(3, {height}, {width})`, goes through the detector of the lesson. This one has a backbone of stride
{stride} with {channels} channels, for which images are padded to multiples of {stride}; {anchors} anchors a cell; {P}
proposals; {classes} classes; and pools to 7 x 7. Set `shapes_on_the_way` to eight shapes, as tuples, in this order:

1. the batch, 2. the map, 3. the anchors, 4. the RPN's objectness, 5. the RPN's deltas, 6. the pooled features of all
proposals, 7. the class scores, 8. the head's deltas, as `(proposals, ..., 4)`."""

SHAPES = (
    *((1, 3, 176, 256), (1, 112, 11, 16), (1056, 4), (1, 1056), (1, 1056, 4)),
    *((100, 112, 7, 7), (100, 6), (100, 6, 4)),
)


def _shapes(**changed: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The right shapes, with some of them changed: `_shapes(s7=(100, 5))`."""
    return tuple(changed.get(f"s{number}", shape) for number, shape in enumerate(SHAPES, start=1))


SHAPES_ON_THE_WAY = Exercise(
    kind="predict",
    name="shapes_on_the_way",
    number="10.1",
    title="Shapes on the way",
    minutes=10,
    points=2,
    goals=(1, 5),
    core=True,
    text=WAY_TEXT.format(height=170, width=250, stride=16, channels=112, anchors=6, P=100, classes=5),
    answer=SHAPES,
    stub="(..., ..., ..., ..., ..., ..., ..., ...)",
    cases=parts(*ON_THE_WAY),
    impostors=(
        Impostor(
            "not_padded",
            "The image is padded up to multiples of 16 first, and is not cut down.",
            answer=_shapes(s1=(1, 3, 170, 250), s2=(1, 112, 10, 15), s3=(900, 4), s4=(1, 900), s5=(1, 900, 4)),
        ),
        Impostor("cut_down", "The image is padded up, not cut down.", answer=_shapes(s1=(1, 3, 160, 240))),
        Impostor("no_batch", "A batch has an axis for its images, even for one.", answer=_shapes(s1=(3, 176, 256))),
        Impostor("channels_last", "Channels come before rows and columns.", answer=_shapes(s2=(1, 11, 16, 112))),
        Impostor(
            "an_anchor_a_cell",
            "176 cells, and 6 anchors for each of them.",
            answer=_shapes(s3=(176, 4), s4=(1, 176), s5=(1, 176, 4)),
        ),
        Impostor("two_logits", "One logit for each anchor, not two: object or not.", answer=_shapes(s4=(1, 1056, 2))),
        Impostor(
            "deltas_a_class",
            "The RPN knows no classes: four numbers for each anchor.",
            answer=_shapes(s5=(1, 1056, 6, 4)),
        ),
        Impostor("pooled_of_all", "Proposals are pooled, not anchors.", answer=_shapes(s6=(1056, 112, 7, 7))),
        Impostor(
            "no_background",
            "Background is a class as well.",
            answer=_shapes(s7=(100, 5), s8=(100, 5, 4)),
        ),
        Impostor("one_box", "The head has a box for each class, background's included.", answer=_shapes(s8=(100, 4))),
        Impostor(
            "no_box_for_background",
            "In this course's head background has four numbers as well, which nobody learns.",
            answer=_shapes(s8=(100, 5, 4)),
        ),
    ),
    hints=(
        "170 is no multiple of 16. What is the next one?",
        "Rows and columns of the map times anchors; from the proposals on everything has 100 rows.",
        "The batch is (1, 3, 176, 256); the map has 11 x 16 cells; five classes and background are six.",
    ),
    variants=(
        Variant(
            "small",
            WAY_TEXT.format(height=90, width=130, stride=8, channels=96, anchors=9, P=50, classes=3),
            answer=(
                *((1, 3, 96, 136), (1, 96, 12, 17), (1836, 4), (1, 1836), (1, 1836, 4)),
                *((50, 96, 7, 7), (50, 4), (50, 4, 4)),
            ),
            without=(
                *("not_padded", "cut_down", "no_batch", "channels_last", "an_anchor_a_cell", "two_logits"),
                *("deltas_a_class", "pooled_of_all", "no_background", "one_box", "no_box_for_background"),
            ),
            impostors=(
                Impostor(
                    "cut_down",
                    "The image is padded up to multiples of 8, not cut down.",
                    answer=(
                        *((1, 3, 88, 128), (1, 96, 11, 16), (1584, 4), (1, 1584), (1, 1584, 4)),
                        *((50, 96, 7, 7), (50, 4), (50, 4, 4)),
                    ),
                ),
                Impostor(
                    "no_background",
                    "Background is a class as well.",
                    answer=(
                        *((1, 3, 96, 136), (1, 96, 12, 17), (1836, 4), (1, 1836), (1, 1836, 4)),
                        *((50, 96, 7, 7), (50, 3), (50, 3, 4)),
                    ),
                ),
            ),
        ),
        Variant(
            "large",
            WAY_TEXT.format(height=600, width=1000, stride=16, channels=512, anchors=9, P=300, classes=20),
            answer=(
                *((1, 3, 608, 1008), (1, 512, 38, 63), (21546, 4), (1, 21546), (1, 21546, 4)),
                *((300, 512, 7, 7), (300, 21), (300, 21, 4)),
            ),
            without=(
                *("not_padded", "cut_down", "no_batch", "channels_last", "an_anchor_a_cell", "two_logits"),
                *("deltas_a_class", "pooled_of_all", "no_background", "one_box", "no_box_for_background"),
            ),
            impostors=(
                Impostor(
                    "cut_down",
                    "The image is padded up to multiples of 16, not cut down.",
                    answer=(
                        *((1, 3, 592, 992), (1, 512, 37, 62), (20646, 4), (1, 20646), (1, 20646, 4)),
                        *((300, 512, 7, 7), (300, 21), (300, 21, 4)),
                    ),
                ),
                Impostor(
                    "no_background",
                    "Background is a class as well.",
                    answer=(
                        *((1, 3, 608, 1008), (1, 512, 38, 63), (21546, 4), (1, 21546), (1, 21546, 4)),
                        *((300, 512, 7, 7), (300, 20), (300, 20, 4)),
                    ),
                ),
            ),
        ),
    ),
)

# --- 10.2 ------------------------------------------------------------------------------------------------------


def training_step(model, optimiser, images, targets):
    """Update the model once; return all that it reported, and the total of the losses, as plain numbers."""
    losses = model(images, targets)
    total = sum(value for name, value in losses.items() if name.startswith("loss_"))
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return {name: value.item() for name, value in losses.items()} | {"total": total.item()}


class OneWeight(nn.Module):
    """A "detector" of one weight w: its two losses are w times the first and the second number of the image."""

    def __init__(self, accuracy: float | None = None) -> None:
        """Start with w = 1; with `accuracy` it reports w times that as well, which is no loss."""
        super().__init__()
        self.w = nn.Parameter(tensor(1.0))
        self.accuracy = accuracy

    def forward(self, images: Tensor, _targets: Any) -> dict[str, Tensor]:
        """The dict that a detector gives in training."""
        losses = {"loss_object": self.w * images[0], "loss_box": self.w * images[1]}
        return losses if self.accuracy is None else losses | {"accuracy": self.w * self.accuracy}


def _after(
    step: Callable[..., Any], *images: tuple[float, float], accuracy: float | None = None, old: float = 0
) -> Any:
    """The weight after some steps of SGD with learning rate 0.1; `old` is a gradient that is there before."""
    model = OneWeight(accuracy)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    if old:
        model.w.grad = tensor(old)
    for image in images:
        step(model, optimiser, tensor(image), None)
    return model.w.item()


def _reported(step: Callable[..., Any], image: tuple[float, float], accuracy: float | None = None) -> Any:
    model = OneWeight(accuracy)
    return step(model, torch.optim.SGD(model.parameters(), lr=0.1), tensor(image), None)


def _are_floats(step: Callable[..., Any], accuracy: float | None) -> bool:
    return all(isinstance(value, float) for value in _reported(step, (0.25, 0.5), accuracy).values())


def _network_after(step: Callable[..., Any], seed: int) -> Any:
    """All weights of a small network after three steps."""
    draw = torch.Generator().manual_seed(seed)
    model = _Small()
    for weight in model.parameters():
        weight.data = torch.randn(weight.shape, generator=draw)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        step(model, optimiser, torch.randn(4, 3, generator=draw), torch.randn(4, generator=draw))
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        answers = self.second(self.first(images).tanh())[:, 0]
        off = answers - targets
        return {"loss_a": (off**2).mean(), "loss_b": off.abs().mean(), "accuracy": (off.abs() < 1).float().mean()}


STEP_WITHOUT = "The step was made without this gradient: set the old ones to zero, then backward, then the step."

TRAINING_STEP = Exercise(
    kind="find the bug",
    reference=training_step,
    given="as_given",
    number="10.2",
    title="A step that does not learn",
    stars=2,
    minutes=15,
    points=3,
    goals=(3,),
    core=True,
    text="""\
"The loss does not fall, and memory grows with every step." There are several mistakes in this step; correct them all.

`training_step(model, optimiser, images, targets)`: `model(images, targets)` gives a dict of tensors. What begins with
`loss_` is to be added up and made smaller; the rest, such as `accuracy`, is only reported. Update the weights once, by
the gradient of *this* step alone, whatever gradients were there before, clipped to a norm of 1. Return a dict of plain
floats: all that the model gave, and `total`, the sum of the losses.

In the cases the model has a single weight $w$, which is 1 at first. Its losses are $w$ times the first and $w$ times
the second number of the image, and the learning rate is 0.1. For the image (0.25, 0.25), $w$ goes from 1 to 0.95.""",
    cases=(
        on_paper("w after a step on (0.25, 0.25)", gives=0.95, experiment=lambda f: _after(f, (0.25, 0.25))),
        on_paper("w after a step on (0.5, 0)", gives=0.95, experiment=lambda f: _after(f, (0.5, 0))),
        on_paper(
            "w after two steps on (0.25, 0.25)",
            gives=0.9,
            experiment=lambda f: _after(f, (0.25, 0.25), (0.25, 0.25)),
        ),
        on_paper(
            "w after a step on (0.25, 0.25), an old gradient of 8 was there",
            gives=0.95,
            experiment=lambda f: _after(f, (0.25, 0.25), old=8.0),
        ),
        on_paper(
            "w after a step on (0.5, 0.5), an old gradient of -1 was there",
            gives=0.9,
            experiment=lambda f: _after(f, (0.5, 0.5), old=-1.0),
        ),
        on_paper(
            "w after a step on (3, 0): the gradient is clipped to 1", gives=0.9, experiment=lambda f: _after(f, (3, 0))
        ),
        on_paper(
            "w after a step on (0.25, 0.25) with an accuracy of w / 4",
            gives=0.95,
            experiment=lambda f: _after(f, (0.25, 0.25), accuracy=0.25),
        ),
        on_paper(
            "w after a step on (0.5, 0.25) with an accuracy of w / 8",
            gives=0.925,
            experiment=lambda f: _after(f, (0.5, 0.25), accuracy=0.125),
        ),
        on_paper("w after a step on (0, 0)", gives=1, experiment=lambda f: _after(f, (0, 0))),
        on_paper(
            "what is returned for (0.25, 0.5)",
            gives={"loss_object": 0.25, "loss_box": 0.5, "total": 0.75},
            experiment=lambda f: _reported(f, (0.25, 0.5)),
        ),
        on_paper(
            "what is returned for (0.25, 0.5) with an accuracy of 0.5",
            gives={"loss_object": 0.25, "loss_box": 0.5, "accuracy": 0.5, "total": 0.75},
            experiment=lambda f: _reported(f, (0.25, 0.5), 0.5),
        ),
        on_paper(
            "what is returned for (0.5, 0.5) with an accuracy of 0.25",
            gives={"loss_object": 0.5, "loss_box": 0.5, "accuracy": 0.25, "total": 1},
            experiment=lambda f: _reported(f, (0.5, 0.5), 0.25),
        ),
        on_paper("are all that it returns plain floats?", gives=True, experiment=lambda f: _are_floats(f, 0.5)),
        on_paper(
            "are all that it returns plain floats, without an accuracy?",
            gives=True,
            experiment=lambda f: _are_floats(f, None),
        ),
        *at_random(
            lambda n, draw: (int(torch.randint(1000, (1,), generator=draw)) + n,),
            count=4,
            experiment=_network_after,
        ),
    ),
    impostors=(
        Impostor(
            "as_given",
            STEP_WITHOUT,
            change={
                'value for name, value in losses.items() if name.startswith("loss_")': "losses.values()",
                "    optimiser.zero_grad()\n    total.backward()": "    total.backward()\n    optimiser.zero_grad()",
                '{name: value.item() for name, value in losses.items()} | {"total": total.item()}': "losses",
            },
        ),
        Impostor(
            "zero_after_backward",
            STEP_WITHOUT,
            change={
                "    optimiser.zero_grad()\n    total.backward()": "    total.backward()\n    optimiser.zero_grad()"
            },
        ),
        Impostor(
            "no_zero",
            "Step 2 was made with the gradient of step 1 as well: set gradients to zero.",
            change={"    optimiser.zero_grad()\n": ""},
        ),
        Impostor(
            "zero_at_the_end",
            "A gradient that was there before the first step took part: set gradients to zero before backward.",
            change={
                "    optimiser.zero_grad()\n": "",
                "    optimiser.step()\n": "    optimiser.step()\n    optimiser.zero_grad()\n",
            },
        ),
        Impostor(
            "accuracy_added",
            "The accuracy was added to the losses: the network is punished for being right.",
            change={'value for name, value in losses.items() if name.startswith("loss_")': "losses.values()"},
        ),
        Impostor(
            "tensors_returned",
            "A tensor keeps its whole graph alive, so memory grows: return `value.item()`.",
            change={"value.item() for": "value for", '"total": total.item()': '"total": total'},
        ),
        Impostor(
            "not_clipped",
            "A gradient of 3 moved w by 0.3: clip the norm to 1, after backward and before the step.",
            change={"    nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n": ""},
        ),
        Impostor(
            "mean_of_losses",
            "The losses are added up; here their mean was taken.",
            change={'name.startswith("loss_"))': 'name.startswith("loss_")) / 2'},
        ),
        Impostor(
            "first_loss_only",
            "Every loss counts, not the first alone.",
            change={"sum(value": "next(value"},
        ),
        Impostor(
            "clipped_to_half",
            "The norm is to be 1 at most.",
            change={"model.parameters(), 1.0)": "model.parameters(), 0.5)"},
        ),
        Impostor(
            "no_total",
            "The total is missing from what is returned.",
            change={' | {"total": total.item()}': ""},
        ),
        Impostor(
            "losses_only",
            "What is no loss is not learned from, but it is reported.",
            change={
                "for name, value in losses.items()} |": (
                    'for name, value in losses.items() if name.startswith("loss_")} |'
                )
            },
        ),
    ),
    hints=(
        "Go through the lines: what is in `.grad` after each of them?",
        "Which of the entries are losses? In which order stand zero_grad, backward, clip and step?",
        "zero_grad, backward, clip, step; sum only what `startswith('loss_')`; return `.item()` of everything.",
    ),
    tolerance=1e-5,
)

# --- 10.3 ------------------------------------------------------------------------------------------------------


def background_to_front(weight, bias, box_weight, box_bias):
    """From (C + 1, D), (C + 1,), (4C, D), (4C,), background last, to the same with background first."""
    return (
        torch.cat([weight[-1:], weight[:-1]]),
        torch.cat([bias[-1:], bias[:-1]]),
        torch.cat([torch.zeros_like(box_weight[:4]), box_weight]),
        torch.cat([torch.zeros_like(box_bias[:4]), box_bias]),
    )


def _column(*numbers: float) -> Tensor:
    return tensor(numbers)[:, None]


def _some_heads(count: int, draw: torch.Generator) -> tuple[Tensor, ...]:
    shapes = ((count + 2, 3), (count + 2,), (4 * count + 4, 3), (4 * count + 4,))
    return tuple(torch.randn(shape, generator=draw) for shape in shapes)


ONE_CLASS = _column(1, 9), tensor([0.1, 0.9]), _column(11, 12, 13, 14), tensor([1.0, 2, 3, 4])
TWO_CLASSES = (
    *(_column(1, 2, 9), tensor([0.1, 0.2, 0.9])),
    *(_column(11, 12, 13, 14, 21, 22, 23, 24), tensor([1.0, 2, 3, 4, 5, 6, 7, 8])),
)
THREE_CLASSES = (
    *(_column(1, 2, 3, 9), tensor([0.1, 0.2, 0.3, 0.9])),
    *(
        _column(*(10 * c + d for c in (1, 2, 3) for d in (1, 2, 3, 4))),
        tensor([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ),
)
FRONT_TEXT = """\
Somebody's trained head has its background **last**; detectron2 stores it so. Ours has it first.
`background_to_front(weight, bias, box_weight, box_bias)` gets the weights of the two last layers:

- class scores: `weight`, shape `(C + 1, D)`, and `bias`, shape `(C + 1,)`: classes 0 to C - 1, then background;
- boxes: `box_weight`, shape `(4C, D)`, and `box_bias`, shape `(4C,)`: four rows, dx, dy, dw, dh, for each class; none
  for background.
"""

BACKGROUND_TO_FRONT = Exercise(
    kind="implement",
    reference=background_to_front,
    number="10.3",
    title="Background to the front",
    stars=2,
    minutes=15,
    points=3,
    goals=(4,),
    core=True,
    text=FRONT_TEXT
    + """
Return the same four for **background first**, a tuple: `(C + 1, D)`, `(C + 1,)`, and for the boxes `(4C + 4, D)` and
`(4C + 4,)`, with zeros for the box of background, then the classes in their order. Each class must get the score and
the box that it had.""",
    cases=(
        on_paper(
            "one class",
            *ONE_CLASS,
            gives=([[9], [1]], [0.9, 0.1], [[0], [0], [0], [0], [11], [12], [13], [14]], [0, 0, 0, 0, 1, 2, 3, 4]),
        ),
        on_paper(
            "two classes",
            *TWO_CLASSES,
            gives=(
                [[9], [1], [2]],
                [0.9, 0.1, 0.2],
                [[0], [0], [0], [0], [11], [12], [13], [14], [21], [22], [23], [24]],
                [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            ),
        ),
        on_paper(
            "three classes: the biases of the classes",
            *THREE_CLASSES,
            gives=[0.9, 0.1, 0.2, 0.3],
            experiment=lambda f, *layers: f(*layers)[1],
        ),
        on_paper(
            "three classes: the first column of the box weights",
            *THREE_CLASSES,
            gives=[0, 0, 0, 0, 11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 34],
            experiment=lambda f, *layers: torch.as_tensor(f(*layers)[2])[:, 0],
        ),
        *at_random(_some_heads, sizes=(2, 1, 5, 19, 0)),
    ),
    impostors=(
        Impostor(
            "class_only",
            "Class 1's box is now read where class 0's stands: the boxes need four rows in front, too.",
            change={
                "torch.cat([torch.zeros_like(box_weight[:4]), box_weight])": "box_weight",
                "torch.cat([torch.zeros_like(box_bias[:4]), box_bias])": "box_bias",
            },
        ),
        Impostor(
            "wrong_way",
            "The first class went to the end; the last row has to come to the front.",
            change={
                "[weight[-1:], weight[:-1]]": "[weight[1:], weight[:1]]",
                "[bias[-1:], bias[:-1]]": "[bias[1:], bias[:1]]",
            },
        ),
        Impostor(
            "one_row_of_zeros",
            "A box is four rows: background's is, too.",
            change={"box_weight[:4]": "box_weight[:1]", "box_bias[:4]": "box_bias[:1]"},
        ),
        Impostor(
            "bias_forgotten",
            "The rows of the weights were moved, and the biases stayed where they were.",
            change={"torch.cat([bias[-1:], bias[:-1]])": "bias"},
        ),
        Impostor(
            "box_bias_at_the_end",
            "The zeros of the box *biases* stand at the end: those of the weights are right.",
            change={"[torch.zeros_like(box_bias[:4]), box_bias]": "[box_bias, torch.zeros_like(box_bias[:4])]"},
        ),
        Impostor(
            "reversed",
            "All rows are turned round: with one class that looks right, with two the classes change places.",
            change={"[weight[-1:], weight[:-1]]": "[weight.flip(0)]", "[bias[-1:], bias[:-1]]": "[bias.flip(0)]"},
        ),
        Impostor(
            "exchanged",
            "First and last row changed places; the others have to move down by one instead.",
            change={
                "[weight[-1:], weight[:-1]]": "[weight[-1:], weight[1:-1], weight[:1]]",
                "[bias[-1:], bias[:-1]]": "[bias[-1:], bias[1:-1], bias[:1]]",
            },
        ),
        Impostor(
            "zeros_at_the_end",
            "The zeros belong to background, and so to the front.",
            change={
                "[torch.zeros_like(box_weight[:4]), box_weight]": "[box_weight, torch.zeros_like(box_weight[:4])]",
                "[torch.zeros_like(box_bias[:4]), box_bias]": "[box_bias, torch.zeros_like(box_bias[:4])]",
            },
        ),
        Impostor(
            "last_box_to_front",
            "The last four rows are no background: they are the box of the last class.",
            change={
                "[torch.zeros_like(box_weight[:4]), box_weight]": "[box_weight[-4:], box_weight]",
                "[torch.zeros_like(box_bias[:4]), box_bias]": "[box_bias[-4:], box_bias]",
            },
        ),
        Impostor(
            "numbers_outside",
            "A class has its four rows together: dx dy dw dh, dx dy dw dh, ...; a zero was put before each number.",
            change={
                "torch.cat([torch.zeros_like(box_weight[:4]), box_weight])": (
                    "torch.cat([0 * box_weight[:4][:, None], box_weight.unflatten(0, (4, -1))], 1).flatten(0, 1)"
                ),
                "torch.cat([torch.zeros_like(box_bias[:4]), box_bias])": (
                    "torch.cat([0 * box_bias[:4][:, None], box_bias.unflatten(0, (4, -1))], 1).flatten()"
                ),
            },
        ),
        Impostor(
            "in_place",
            "",
            function=lambda weight, bias, box_weight, box_bias: (
                weight.copy_(weight.roll(1, 0)),
                bias.copy_(bias.roll(1, 0)),
                torch.cat([torch.zeros_like(box_weight[:4]), box_weight]),
                torch.cat([torch.zeros_like(box_bias[:4]), box_bias]),
            ),
        ),
    ),
    hints=(
        "Write the rows of a head with two classes under each other, before and after.",
        "`weight[-1:]` is the row of background, still with two axes; `torch.cat` puts rows under each other.",
        "`torch.cat([weight[-1:], weight[:-1]])`, and `torch.cat([torch.zeros_like(box_weight[:4]), box_weight])`.",
    ),
    variants=(
        Variant(
            "to_the_back",
            """\
A head of ours, with background **first**, is to be given to somebody whose program has it **last**.
`background_to_front(weight, bias, box_weight, box_bias)`, in spite of its name, gets the two last layers:

- class scores: `weight`, shape `(C + 1, D)`, and `bias`, shape `(C + 1,)`: background, then the C classes;
- boxes: `box_weight`, shape `(4C + 4, D)`, and `box_bias`, shape `(4C + 4,)`: four rows, dx, dy, dw, dh, for each.

Return the same four for **background last**, a tuple: `(C + 1, D)`, `(C + 1,)`, and for the boxes `(4C, D)` and
`(4C,)`, without background's four rows. Each class must keep its score and its box.""",
            change={
                "torch.cat([weight[-1:], weight[:-1]])": "torch.cat([weight[1:], weight[:1]])",
                "torch.cat([bias[-1:], bias[:-1]])": "torch.cat([bias[1:], bias[:1]])",
                "torch.cat([torch.zeros_like(box_weight[:4]), box_weight])": "box_weight[4:]",
                "torch.cat([torch.zeros_like(box_bias[:4]), box_bias])": "box_bias[4:]",
                "(4C, D), (4C,), background last": "(4C + 4, D), (4C + 4,), background first",
                "with background first": "with background last",
            },
            cases=(
                on_paper(
                    "one class",
                    *ONE_CLASS[:2],
                    _column(0, 0, 0, 0, 11, 12, 13, 14),
                    tensor([0.0, 0, 0, 0, 1, 2, 3, 4]),
                    gives=([[9], [1]], [0.9, 0.1], [[11], [12], [13], [14]], [1, 2, 3, 4]),
                ),
                on_paper(
                    "two classes",
                    _column(9, 1, 2),
                    tensor([0.9, 0.1, 0.2]),
                    _column(*(5, 6, 7, 8), *(11, 12, 13, 14), *(21, 22, 23, 24)),
                    tensor([0.5, 0.5, 0.5, 0.5, 1, 2, 3, 4, 5, 6, 7, 8]),
                    gives=(
                        [[1], [2], [9]],
                        [0.1, 0.2, 0.9],
                        [[11], [12], [13], [14], [21], [22], [23], [24]],
                        [1, 2, 3, 4, 5, 6, 7, 8],
                    ),
                ),
                *at_random(_some_heads, sizes=(2, 1, 5, 19, 3)),
            ),
            without=(
                *("class_only", "wrong_way", "one_row_of_zeros", "bias_forgotten", "box_bias_at_the_end", "reversed"),
                *("exchanged", "zeros_at_the_end", "last_box_to_front", "numbers_outside", "in_place"),
            ),
            impostors=(
                Impostor(
                    "wrong_way",
                    "The last class came to the front; the first row has to go to the end.",
                    change={
                        "[weight[1:], weight[:1]]": "[weight[-1:], weight[:-1]]",
                        "[bias[1:], bias[:1]]": ("[bias[-1:], bias[:-1]]"),
                    },
                ),
                Impostor(
                    "last_four_dropped",
                    "The last four rows are a class's box: background's are the first.",
                    change={"box_weight[4:]": "box_weight[:-4]", "box_bias[4:]": "box_bias[:-4]"},
                ),
            ),
        ),
        Variant(
            "y_first",
            FRONT_TEXT.replace("dx, dy, dw, dh", "**dy, dx, dh, dw**")
            + """
Return the same four for **background first** and with the rows of each box in the order **dx, dy, dw, dh**, a tuple:
`(C + 1, D)`, `(C + 1,)`, and for the boxes `(4C + 4, D)` and `(4C + 4,)`, with zeros for the box of background, then
the classes in their order. Each class must get the score and the box that it had.""",
            change={
                "    return (\n": (
                    "    box_weight = box_weight.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)\n"
                    "    box_bias = box_bias.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)\n"
                    "    return (\n"
                ),
            },
            cases=(
                on_paper(
                    "one class",
                    *ONE_CLASS,
                    gives=(
                        [[9], [1]],
                        [0.9, 0.1],
                        [[0], [0], [0], [0], [12], [11], [14], [13]],
                        [0, 0, 0, 0, 2, 1, 4, 3],
                    ),
                ),
                on_paper(
                    "two classes",
                    *TWO_CLASSES,
                    gives=(
                        [[9], [1], [2]],
                        [0.9, 0.1, 0.2],
                        [[0], [0], [0], [0], [12], [11], [14], [13], [22], [21], [24], [23]],
                        [0, 0, 0, 0, 2, 1, 4, 3, 6, 5, 8, 7],
                    ),
                ),
                *at_random(_some_heads, sizes=(2, 1, 5, 19, 0)),
            ),
            without=("numbers_outside", "in_place", "class_only", "one_row_of_zeros"),
            impostors=(
                Impostor(
                    "order_kept",
                    "The rows of a box are still dy, dx, dh, dw.",
                    change={"[:, [1, 0, 3, 2]]": ""},
                ),
                Impostor(
                    "order_reversed",
                    "dy and dx change places, and dh and dw; all four turned round is another order.",
                    change={"[:, [1, 0, 3, 2]]": "[:, [3, 2, 1, 0]]"},
                ),
            ),
        ),
    ),
)

# --- 10.4 ------------------------------------------------------------------------------------------------------


def kind_of_error(label, overlaps, labels, taken, threshold=0.5):
    """What one detection is, by its IoU (K,) with each object, their classes (K,), and which were found before (K,)."""
    own = [k for k in range(len(labels)) if labels[k] == label]
    best = max(own, key=lambda k: overlaps[k], default=None)
    if best is not None and overlaps[best] >= threshold:
        return "duplicate" if taken[best] else "correct"
    if best is not None and overlaps[best] >= 0.1:
        return "localisation"
    if any(overlaps[k] >= 0.1 for k in range(len(labels)) if labels[k] != label):
        return "confusion"
    return "background"


def things(*rows: tuple[float, int, bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Overlaps, labels and taken of objects, from a row for each."""
    overlaps, labels, taken = zip(*rows, strict=True)
    return tensor(overlaps).float(), tensor(labels), tensor(taken)


def _some_things(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    labels = torch.randint(1, 4, (count,), generator=draw)
    taken = torch.rand(count, generator=draw) > 0.5
    return 2, torch.rand(count, generator=draw) ** (1 + count % 3), labels, taken


BUS, CAR = 2, 1
KIND_TEXT = """\
Which kind of answer is *one* detection of class `label`? `kind_of_error(label, overlaps, labels, taken, threshold=0.5)`
gets its IoU with each of `K` objects, shape `(K,)`, their classes, `(K,)`, and whether a surer detection has found them
before, `(K,)`. Look at the object **of its own class** that it overlaps best, and return the first that fits:

- `"correct"`: its IoU with that object is at least `threshold`, and the object was not found before;
- `"duplicate"`: its IoU with it is at least `threshold`, but it was found before;
- `"localisation"`: its IoU with it is at least 0.1;
- `"confusion"`: its IoU with an object of *another* class is at least 0.1;
- `"background"`: none of these.

`K` may be 0. Do it without `frcnn_lessons.metrics`."""

KIND_OF_ERROR = Exercise(
    kind="implement",
    reference=kind_of_error,
    number="10.4",
    title="What kind of error?",
    stars=2,
    minutes=15,
    points=3,
    goals=(5,),
    core=True,
    text=KIND_TEXT,
    cases=(
        on_paper("0.8 with a bus, and it says bus", BUS, *things((0.8, BUS, False)), gives="correct"),
        on_paper("the same, and the bus was found before", BUS, *things((0.8, BUS, True)), gives="duplicate"),
        on_paper("0.4 with a bus", BUS, *things((0.4, BUS, False)), gives="localisation"),
        on_paper("0.9 with a car, and it says bus", BUS, *things((0.9, CAR, False)), gives="confusion"),
        on_paper("0.3 with a car, and it says bus", BUS, *things((0.3, CAR, False)), gives="confusion"),
        on_paper("0.05 with a bus", BUS, *things((0.05, BUS, False)), gives="background"),
        on_paper("exactly 0.1 with a bus", BUS, *things((0.1, BUS, False)), gives="localisation"),
        on_paper("exactly 0.1 with a car", BUS, *things((0.1, CAR, False)), gives="confusion"),
        on_paper("0.05 with a car", BUS, *things((0.05, CAR, False)), gives="background"),
        on_paper(
            "0.4 with a bus, 0.9 with a car", BUS, *things((0.4, BUS, False), (0.9, CAR, False)), gives=("localisation")
        ),
        on_paper("0.6 with a bus, 0.9 with a car", BUS, *things((0.6, BUS, False), (0.9, CAR, False)), gives="correct"),
        on_paper(
            "0.6 with a bus, 0.9 with a car that was found",
            BUS,
            *things((0.6, BUS, False), (0.9, CAR, True)),
            gives=("correct"),
        ),
        on_paper(
            "0.05 with a bus, 0.9 with a car", BUS, *things((0.05, BUS, False), (0.9, CAR, False)), gives=("confusion")
        ),
        on_paper("exactly 0.5 with a bus", BUS, *things((0.5, BUS, False)), gives="correct"),
        on_paper("exactly 0.5 with a bus found before", BUS, *things((0.5, BUS, True)), gives="duplicate"),
        on_paper("0.5 with a bus, threshold 0.75", BUS, *things((0.5, BUS, False)), 0.75, gives="localisation"),
        on_paper(
            "0.6 with a bus found before, threshold 0.75", BUS, *things((0.6, BUS, True)), 0.75, gives="localisation"
        ),
        on_paper("0.4 with a bus, threshold 0.25", BUS, *things((0.4, BUS, False)), 0.25, gives="correct"),
        on_paper("0.4 with a bus found before", BUS, *things((0.4, BUS, True)), gives="localisation"),
        on_paper(
            "0.8 with a bus found before, 0.6 with one that was not",
            BUS,
            *things((0.8, BUS, True), (0.6, BUS, False)),
            gives="duplicate",
        ),
        on_paper(
            "0.8 with a bus, 0.6 with one found before",
            BUS,
            *things((0.6, BUS, True), (0.8, BUS, False)),
            gives="correct",
        ),
        on_paper(
            "0.3 with each of two buses", BUS, *things((0.3, BUS, False), (0.3, BUS, False)), gives="localisation"
        ),
        edge(
            "no objects",
            BUS,
            torch.zeros(0),
            torch.zeros(0, dtype=torch.long),
            torch.zeros(0, dtype=torch.bool),
            gives=("background"),
        ),
        *at_random(_some_things),
    ),
    impostors=(
        Impostor(
            "best_of_all",
            "Its own class comes first: 0.4 with a bus is localisation, though a car lies under it with 0.9.",
            change={
                "if labels[k] == label]": "]",
                "if best is not None and overlaps[best] >= threshold:\n": (
                    'if len(labels) and labels[best] != label and overlaps[best] >= 0.1:\n        return "confusion"\n'
                    "    if best is not None and overlaps[best] >= threshold:\n"
                ),
            },
        ),
        Impostor(
            "next_best",
            "The best object of its class was found before: a duplicate. The next best does not help (VOC's rule).",
            change={
                "    best = max": (
                    "    free = [k for k in own if not taken[k] and overlaps[k] >= threshold]\n"
                    '    if free:\n        return "correct"\n    best = max'
                )
            },
        ),
        Impostor(
            "above_a_tenth",
            "An IoU of exactly 0.1 is enough for localisation and for confusion.",
            change={">= 0.1": "> 0.1"},
        ),
        Impostor(
            "above",
            "An IoU of exactly the threshold is enough.",
            change={"overlaps[best] >= threshold": "overlaps[best] > threshold"},
        ),
        Impostor(
            "confusion_needs_threshold",
            "With an object of another class 0.1 is enough for a confusion.",
            change={"any(overlaps[k] >= 0.1": "any(overlaps[k] >= threshold"},
        ),
        Impostor(
            "confusion_first",
            "Localisation comes before confusion: it has found something of its class, if badly.",
            change={
                '    if best is not None and overlaps[best] >= 0.1:\n        return "localisation"\n': "",
                '        return "confusion"\n': (
                    '        return "confusion"\n    if best is not None and overlaps[best] >= 0.1:\n'
                    '        return "localisation"\n'
                ),
            },
        ),
        Impostor(
            "duplicate_if_any_taken",
            "Only the object that it overlaps *best* matters: another one was found before.",
            change={"if taken[best]": "if any(taken[k] for k in own)"},
        ),
        Impostor(
            "never_duplicate",
            "An object that was found before makes it a duplicate.",
            change={'"duplicate" if taken[best] else "correct"': '"correct"'},
        ),
        Impostor(
            "taken_first",
            "Below the threshold it does not matter who was found before.",
            change={
                "    if best is not None and overlaps[best] >= threshold:": (
                    '    if best is not None and overlaps[best] >= 0.1 and taken[best]:\n        return "duplicate"\n'
                    "    if best is not None and overlaps[best] >= threshold:"
                )
            },
        ),
        Impostor(
            "any_overlap",
            "Below 0.1 it is hardly on the object at all: that is no localisation.",
            change={"overlaps[best] >= 0.1": "overlaps[best] > 0"},
        ),
        Impostor(
            "own_class_confused",
            "A confusion is with an object of *another* class.",
            change={
                "if any(overlaps[k] >= 0.1 for k in range(len(labels)) if labels[k] != label)": (
                    "if any(overlaps[k] > 0 for k in range(len(labels)))"
                )
            },
        ),
        Impostor(
            "fixed_threshold",
            "`threshold` was not looked at.",
            change={"overlaps[best] >= threshold": "overlaps[best] >= 0.5"},
        ),
    ),
    hints=(
        "Which objects have its class? Which of these does it overlap best?",
        "Four questions one after the other, each with a `return`; the last line is background.",
        "`own = [k for k in range(len(labels)) if labels[k] == label]`, then `max(own, key=lambda k: overlaps[k])`.",
    ),
    forbidden=("frcnn_lessons.metrics",),
    variants=(
        Variant(
            "free_objects",
            KIND_TEXT.replace(
                "Look at the object **of its own class** that it overlaps best, and return the first that fits:",
                "Return the first that fits:",
            )
            .replace(
                "its IoU with that object is at least `threshold`, and the object was not found before",
                "its IoU with an object of its class that was **not found before** is at least `threshold`",
            )
            .replace(
                "its IoU with it is at least `threshold`, but it was found before",
                ("its IoU with an object of its class is at least `threshold`, but all of these were found before"),
            )
            .replace("its IoU with it is at least 0.1", "its IoU with an object of its class is at least 0.1"),
            change={
                "    best = max": (
                    "    if any(overlaps[k] >= threshold and not taken[k] for k in own):\n"
                    '        return "correct"\n    best = max'
                ),
                '"duplicate" if taken[best] else "correct"': '"duplicate"',
            },
            gives={"0.8 with a bus found before, 0.6 with one that was not": "correct"},
            without=(
                *("best_of_all", "next_best", "above", "duplicate_if_any_taken", "never_duplicate", "taken_first"),
                *("fixed_threshold", "own_class_confused"),
            ),
            impostors=(
                Impostor(
                    "best_only",
                    "The best one was found before; but another of its class is free and overlaps enough.",
                    function=kind_of_error,
                ),
                Impostor(
                    "found_before",
                    "An object that was found before cannot be found again.",
                    change={"and not taken[k] for": "for"},
                ),
            ),
        ),
        Variant(
            "from_a_quarter",
            KIND_TEXT.replace("0.1", "0.25"),
            change={"0.1": "0.25"},
            gives={"0.05 with a car": "background"},
            cases=(
                on_paper("0.8 with a bus, and it says bus", BUS, *things((0.8, BUS, False)), gives="correct"),
                on_paper("the same, and the bus was found before", BUS, *things((0.8, BUS, True)), gives="duplicate"),
                on_paper("exactly 0.25 with a bus", BUS, *things((0.25, BUS, False)), gives="localisation"),
                on_paper("exactly 0.25 with a car", BUS, *things((0.25, CAR, False)), gives="confusion"),
                on_paper("0.2 with a bus", BUS, *things((0.2, BUS, False)), gives="background"),
                on_paper("0.05 with a car", BUS, *things((0.05, CAR, False)), gives="background"),
                on_paper(
                    "0.2 with a bus, 0.4 with a car",
                    BUS,
                    *things((0.2, BUS, False), (0.4, CAR, False)),
                    gives=("confusion"),
                ),
                on_paper(
                    "0.4 with a bus, 0.9 with a car",
                    BUS,
                    *things((0.4, BUS, False), (0.9, CAR, False)),
                    gives=("localisation"),
                ),
                *at_random(_some_things),
            ),
            without=(
                *("best_of_all", "next_best", "above", "confusion_needs_threshold", "confusion_first", "any_overlap"),
                *("duplicate_if_any_taken", "never_duplicate", "taken_first", "own_class_confused", "fixed_threshold"),
                "above_a_tenth",
            ),
            impostors=(
                Impostor(
                    "from_a_tenth",
                    "The lower bound is 0.25 here, for localisation and for confusion.",
                    change={"0.25": "0.1"},
                ),
                Impostor(
                    "confusion_needs_threshold",
                    "With an object of another class 0.25 is enough for a confusion.",
                    change={"any(overlaps[k] >= 0.25": "any(overlaps[k] >= threshold"},
                ),
            ),
        ),
    ),
)

# --- 10.5 ------------------------------------------------------------------------------------------------------


def check_targets(boxes, labels, classes, size):
    """The first of K objects that must not be trained on, or None; boxes (K, 4) xyxy, size (height, width)."""
    height, width = size
    for k, ((x1, y1, x2, y2), label) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True)):
        fits = 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height  # False as well where one of them is NaN
        if not fits or not 1 <= label <= classes:
            return k
    return None


GOOD = [2.0, 3, 20, 13]
NAN, INF = math.nan, math.inf


def _objects(*rows: list[float], labels: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """The objects of an image 20 high and 30 wide, with three classes; all of class 2 where nothing is said."""
    return tensor(rows).float(), tensor(labels or (2,) * len(rows)), 3, (20, 30)


def _some_targets(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    corner = tensor([25.0, 15]) * torch.rand(count, 2, generator=draw)
    found = torch.cat([corner, corner + 0.5 + 4 * torch.rand(count, 2, generator=draw)], dim=1)
    labels = torch.randint(1, 4, (count,), generator=draw)
    for k in torch.nonzero(torch.rand(count, generator=draw) < 0.3).flatten().tolist():
        kind = int(torch.randint(6, (1,), generator=draw))
        if kind < 4:
            found[k, kind] = (NAN, INF, -1.0, 40.0)[int(torch.randint(4, (1,), generator=draw))]
        else:
            labels[k] = (0, 4)[kind - 4]
    return found, labels, 3, (20, 30)


CHECK_TARGETS = Exercise(
    kind="implement",
    reference=check_targets,
    number="10.5",
    title="Fit to be learned from?",
    stars=2,
    minutes=15,
    points=3,
    goals=(6,),
    core=True,
    text="""\
`check_targets(boxes, labels, classes, size)`: the guard at the entrance. Of `K` objects, `boxes` of shape `(K, 4)`,
`xyxy`, and `labels` of shape `(K,)`, return the index of the **first** that must not be trained on, or `None` if all
are good. An object is bad if

- one of its numbers is not finite (NaN or infinite);
- it has no width or no height, or its corners are exchanged;
- it reaches out of the image of `size` (height, width); to touch the border is allowed;
- its label is none of 1 to `classes`: 0 is background.

`K` may be 0.""",
    cases=(
        on_paper("a good one", *_objects(GOOD), gives=None),
        on_paper("a good one, then one without width", *_objects(GOOD, [5, 3, 5, 13]), gives=1),
        on_paper("one that is half a pixel wide", *_objects([2, 3, 2.5, 13]), gives=None),
        on_paper("one without height", *_objects([2, 3, 20, 3], GOOD), gives=0),
        on_paper("x1 > x2", *_objects(GOOD, GOOD, [20, 3, 2, 13]), gives=2),
        on_paper("y1 > y2", *_objects([2, 13, 20, 3]), gives=0),
        on_paper("x2 is NaN", *_objects(GOOD, [2, 3, NAN, 13]), gives=1),
        on_paper("y1 is NaN", *_objects([2, NAN, 20, 13]), gives=0),
        on_paper("x2 is infinite", *_objects(GOOD, [2, 3, INF, 13]), gives=1),
        on_paper("x1 is minus infinite", *_objects([-INF, 3, 20, 13]), gives=0),
        on_paper("the whole image", *_objects([0, 0, 30, 20]), gives=None),
        on_paper("one that touches the lower border", *_objects([2, 3, 20, 20]), gives=None),
        on_paper("x2 is 31", *_objects([0, 0, 31, 20]), gives=0),
        on_paper("y2 is 21", *_objects([0, 0, 30, 21]), gives=0),
        on_paper("x1 is -1", *_objects(GOOD, [-1, 3, 20, 13]), gives=1),
        on_paper("y1 is -1", *_objects([2, -1, 20, 13]), gives=0),
        on_paper("x2 is 25, more than the height", *_objects([2, 3, 25, 13]), gives=None),
        on_paper("label 0", *_objects(GOOD, GOOD, labels=(1, 0)), gives=1),
        on_paper("label 3 of 3", *_objects(GOOD, GOOD, labels=(1, 3)), gives=None),
        on_paper("label 4 of 3", *_objects(GOOD, GOOD, labels=(4, 1)), gives=0),
        on_paper("label 9 of 3", *_objects(GOOD, GOOD, labels=(2, 9)), gives=1),
        on_paper("a label of -1", *_objects(GOOD, labels=(-1,)), gives=0),
        on_paper("two bad ones", *_objects(GOOD, [5, 3, 5, 13], [-1, 3, 20, 13]), gives=1),
        on_paper("a bad label, then a bad box", *_objects(GOOD, GOOD, [5, 3, 5, 13], labels=(1, 0, 1)), gives=1),
        edge("no objects", torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 3, (20, 30), gives=None),
        *at_random(_some_targets),
    ),
    impostors=(
        Impostor(
            "nan_passes",
            "A comparison with NaN is never true: ask for what must be *right*, not for what is wrong.",
            change={
                "fits = 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height": (
                    "fits = not (x1 < 0 or x2 <= x1 or x2 > width or y1 < 0 or y2 <= y1 or y2 > height)"
                )
            },
        ),
        Impostor(
            "inverted_only",
            "x1 = x2 has no width, and the loss takes the logarithm of it.",
            change={"x1 < x2": "x1 <= x2", "y1 < y2": "y1 <= y2"},
        ),
        Impostor("label_0", "0 is background, and no class to learn.", change={"1 <= label": "0 <= label"}),
        Impostor(
            "last_class_refused",
            "Classes are 1 to `classes`, the last included.",
            change={"label <= classes": "label < classes"},
        ),
        Impostor("labels_unseen", "The labels were not looked at.", change={" or not 1 <= label <= classes": ""}),
        Impostor(
            "above_unseen",
            "A label above the number of classes is bad as well.",
            change={"1 <= label <= classes": "1 <= label"},
        ),
        Impostor(
            "size_exchanged",
            "The size is (height, width): x is compared with the width.",
            change={"height, width = size": "width, height = size"},
        ),
        Impostor(
            "border_refused",
            "A box that touches the border is good.",
            change={"0 <= x1 <": "0 < x1 <", "<= width": "< width", "0 <= y1 <": "0 < y1 <", "<= height": "< height"},
        ),
        Impostor(
            "outside_unseen",
            "A box that reaches out of the image is bad.",
            change={
                "0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height": (
                    "-math.inf < x1 < x2 < math.inf and -math.inf < y1 < y2 < math.inf"
                )
            },
        ),
        Impostor(
            "left_and_top_unseen",
            "A box may reach out of the image on the left and at the top, too.",
            change={"0 <= x1 <": "-math.inf < x1 <", "0 <= y1 <": "-math.inf < y1 <"},
        ),
        Impostor(
            "last_bad",
            "The *first* bad one was asked for.",
            change={
                "    for k,": "    answer = None\n    for k,",
                "return k": "answer = k",
                "return None": "return answer",
            },
        ),
        Impostor(
            "boxes_then_labels",
            "The first bad *object* was asked for: look at box and label of each, one object after the other.",
            change={
                "if not fits or not 1 <= label <= classes:\n            return k\n": (
                    "if not fits:\n            return k\n"
                    "    for k, label in enumerate(labels.tolist()):\n"
                    "        if not 1 <= label <= classes:\n            return k\n"
                )
            },
        ),
        Impostor(
            "true_or_false",
            "An index was asked for, or None; this is whether there is a bad one.",
            change={"return k": "return True", "return None": "return False"},
        ),
    ),
    hints=(
        "What is `nan < 5`? And `nan > 5`? Which way must the question be put, then?",
        "`0 <= x1 < x2 <= width` asks four things at once, and is False for NaN and infinity.",
        "Go through the objects; return the first k for which box or label is not right; None behind the loop.",
    ),
)

# --- 10.6 ------------------------------------------------------------------------------------------------------

HANDED_OVER = Exercise(
    kind="explain",
    name="handed_over",
    number="10.6",
    title="Handed over",
    stars=2,
    minutes=10,
    points=2,
    goals=(2,),
    core=True,
    text="""\
The proposals are computed from the RPN's weights, yet the head's loss is not sent back through their coordinates. What
is lost, why is it left out, and why does it not matter much? (At most 100 words.)""",
    answer="""\
The RPN is never told where the *head* would like a box to be, so the sum of the four losses is only approximately
minimised. It is left out because RoI pooling rounds a box to cells, so that its coordinates have no gradient, and a
layer that has one is more work. It matters little because the RPN's own box loss tells it directly where the object is,
and the head moves the box once more.""",
    guide="""\
Half a point: the RPN is not told where the head would like the box. Half a point: pooling by rounding has no gradient
for coordinates, or: it is simpler and cheaper. 1 point: the RPN's own box loss says where the object is.""",
    hints=(
        "Which arrow in the lesson's first picture is dashed?",
        "What would the head's loss say to the RPN, if it could? Who says that already?",
        "Lesson 10, the text behind 'Who teaches whom', and 'approximate' joint training.",
    ),
)

# --- 10.7 ------------------------------------------------------------------------------------------------------


def parts_reached(loss, parts):
    """Names of the parts {name: module} of which some parameter gets a gradient from the loss that is not all 0."""
    reached = set()
    for name, part in parts.items():
        learning = [weight for weight in part.parameters() if weight.requires_grad]
        if not learning:
            continue
        gradients = torch.autograd.grad(loss, learning, retain_graph=True, allow_unused=True)
        if any(gradient is not None and (gradient != 0).any() for gradient in gradients):
            reached.add(name)
    return reached


def _two_branches() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A backbone with two branches, one of them on a map without gradient, and losses of them."""
    parts: dict[str, Any] = {name: nn.Linear(2, 2) for name in ("backbone", "rpn", "head", "frozen")}
    for number, part in enumerate(parts.values()):
        for weight in part.parameters():
            weight.data = torch.arange(weight.numel()).reshape(weight.shape) + 1.0 + number
    parts["frozen"].requires_grad_(False)
    parts["relu"] = nn.ReLU()
    features = parts["backbone"](torch.ones(1, 2))
    proposals, classes = parts["rpn"](features), parts["head"](features)
    return parts, {
        "the RPN's loss": proposals.sum(),
        "the head's loss": classes.sum(),
        "both": proposals.sum() + classes.sum(),
        "the head's loss on proposals handed over": parts["head"](proposals.detach() + features.detach()).sum(),
        "a loss through a frozen part": parts["head"](parts["frozen"](features)).sum(),
        "the head's loss, and 0 times the RPN's": classes.sum() + 0 * proposals.sum(),
        "0 times the head's loss, and the RPN's": proposals.sum() + 0 * classes.sum(),
        "a loss of the RPN's weight only": parts["rpn"].weight.sum(),
        "a loss of the RPN's bias only": parts["rpn"].bias.sum(),
        "a loss of the head's bias only": parts["head"].bias.sum(),
    }


def _reached(function: Callable[..., Any], loss: str, times: int = 1) -> Any:
    parts, losses = _two_branches()
    for _ in range(times):
        answer = function(losses[loss], parts)
    return sorted(answer)


def _gradients_left(function: Callable[..., Any], old: bool) -> Any:
    """How many gradients are there afterwards that were not, or are not as they were."""
    parts, losses = _two_branches()
    weights = [weight for part in parts.values() for weight in part.parameters()]
    before = torch.ones(2, 2) * 7
    if old:
        parts["rpn"].weight.grad = before.clone()
    function(losses["the head's loss"], parts)
    return sum(
        weight.grad is not None and not (weight is parts["rpn"].weight and torch.equal(weight.grad, before))
        for weight in weights
    ) + (old and parts["rpn"].weight.grad is None)


PARTS_REACHED = Exercise(
    kind="implement",
    reference=parts_reached,
    number="10.7",
    title="Which parts does it reach?",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=False,
    text="""\
`parts_reached(loss, parts)`: `parts` is a dict of modules, such as `{"backbone": ..., "rpn": ...}`. Return the **set**
of names of those parts of which at least one parameter gets a gradient from `loss` that is not all 0.

Leave everything as it was: no `.grad` is set or changed, and the function can be called again with the same loss. A
part may be frozen, or have no parameters.

In the cases a backbone feeds an RPN and a head (`relu` has no parameters, `frozen` learns nothing).""",
    cases=(
        *(
            on_paper(f"parts that {loss} reaches", gives=names, experiment=lambda f, loss=loss: _reached(f, loss))
            for loss, names in {
                "the RPN's loss": ["backbone", "rpn"],
                "the head's loss": ["backbone", "head"],
                "both": ["backbone", "head", "rpn"],
                "the head's loss on proposals handed over": ["head"],
                "a loss through a frozen part": ["backbone", "head"],
                "the head's loss, and 0 times the RPN's": ["backbone", "head"],
                "0 times the head's loss, and the RPN's": ["backbone", "rpn"],
                "a loss of the RPN's bias only": ["rpn"],
                "a loss of the head's bias only": ["head"],
                "a loss of the RPN's weight only": ["rpn"],
            }.items()
        ),
        on_paper(
            "called twice with the head's loss",
            gives=["backbone", "head"],
            experiment=lambda f: _reached(f, "the head's loss", 2),
        ),
        on_paper("gradients left behind", gives=0, experiment=lambda f: _gradients_left(f, old=False)),
        on_paper("gradients changed, one was there before", gives=0, experiment=lambda f: _gradients_left(f, old=True)),
        on_paper(
            "is it a set?",
            gives=True,
            experiment=lambda f: isinstance(f(_two_branches()[1]["both"], {"relu": nn.ReLU()}), (set, frozenset)),
        ),
    ),
    impostors=(
        Impostor(
            "backward",
            "It left gradients behind: `torch.autograd.grad` gives them without touching `.grad`.",
            function=lambda loss, parts: {
                name
                for _ in [loss.backward(retain_graph=True)]
                for name, part in parts.items()
                if any(weight.grad is not None and (weight.grad != 0).any() for weight in part.parameters())
            },
        ),
        Impostor(
            "graph_lost",
            "The graph was used up: `retain_graph=True` keeps it for the next call.",
            change={"retain_graph=True, ": ""},
        ),
        Impostor(
            "zero_counts",
            "A gradient of nothing but 0 reaches nobody.",
            change={" and (gradient != 0).any()": ""},
        ),
        Impostor(
            "could_learn",
            "These are the parts that *could* learn: ask which of them this loss reaches.",
            change={"any(gradient is not None and (gradient != 0).any() for gradient in gradients)": "True"},
        ),
        Impostor(
            "all_parameters",
            "One parameter with a gradient is enough.",
            change={"if any(gradient is not None and": "if all(gradient is not None and"},
        ),
        Impostor(
            "first_parameter",
            "Only the first parameter of a part was looked at; here it is the bias that learns.",
            change={"for gradient in gradients)": "for gradient in gradients[:1])"},
        ),
    ),
    hints=(
        "`torch.autograd.grad(loss, weights)` gives gradients and leaves `.grad` alone.",
        "For a weight that the loss does not know, `allow_unused=True` gives None. A graph is used up, unless kept.",
        "Skip parts in which nothing requires a gradient; `retain_graph=True, allow_unused=True`; any not all 0.",
    ),
    may_draw=True,
)

# --- 10.8 ------------------------------------------------------------------------------------------------------


def _pairs(value: Any) -> list[tuple[str, str]]:
    """Pairs of loss and part in alphabetical order, in whatever they were given."""
    return sorted({(str(loss), str(part)) for loss, part in value})


ALL_OF_BACKBONE = [(loss, "backbone") for loss in ("box_reg", "classifier", "objectness", "rpn_box_reg")]
THROUGH = [("classifier", "rpn"), ("box_reg", "rpn")]

WHO_TEACHES_WHOM = Exercise(
    kind="predict",
    name="who_teaches_whom",
    number="10.8",
    title="Who teaches whom",
    stars=2,
    minutes=10,
    points=2,
    goals=(2,),
    core=False,
    text="""\
In the lesson you filled in a table: which of the four losses, `"objectness"`, `"rpn_box_reg"`, `"classifier"` and
`"box_reg"`, reaches which part, `"backbone"`, `"rpn"` and `"head"`. Now the detector is changed. Which entries of the
table **change**, from yes to no or from no to yes?

- `b`: proposals are handed over *with* their gradient, and RoI align pools them;
- `c`: proposals are handed over with their gradient, and RoI *pooling* pools them;
- `d`: as in the lesson, but the backbone is frozen.

Set `who_teaches_whom` to a dict of three lists of pairs, such as
`{"b": [("objectness", "head")], "c": [], "d": []}`.""",
    answer={"b": THROUGH, "c": [], "d": ALL_OF_BACKBONE},
    stub='{"b": ..., "c": ..., "d": ...}',
    cases=tuple(
        on_paper(
            f"the entries that change in {key}",
            gives=_pairs(changes),
            experiment=(lambda value, key=key: _pairs(value()[key])),
        )
        for key, changes in (("b", THROUGH), ("c", []), ("d", ALL_OF_BACKBONE))
    ),
    impostors=(
        Impostor(
            "pooling_like_align",
            "RoI pooling rounds the box to cells: shift it a little and nothing changes, so there is no gradient.",
            answer={"b": THROUGH, "c": THROUGH, "d": ALL_OF_BACKBONE},
        ),
        Impostor(
            "box_only",
            "Both of the head's losses depend on where the proposal lies.",
            answer={"b": [("box_reg", "rpn")], "c": [], "d": ALL_OF_BACKBONE},
        ),
        Impostor(
            "both_ways",
            "The RPN's losses do not depend on the head, whichever way proposals are handed over.",
            answer={"b": [*THROUGH, ("objectness", "head"), ("rpn_box_reg", "head")], "c": [], "d": ALL_OF_BACKBONE},
        ),
        Impostor(
            "nothing_learns",
            "A frozen backbone still hands on gradients to nobody but itself; RPN and head go on learning.",
            answer={
                "b": THROUGH,
                "c": [],
                "d": [
                    *ALL_OF_BACKBONE,
                    ("objectness", "rpn"),
                    ("rpn_box_reg", "rpn"),
                    ("classifier", "head"),
                    ("box_reg", "head"),
                ],
            },
        ),
        Impostor(
            "half_of_the_backbone",
            "All four losses reached the backbone, and none does when it is frozen.",
            answer={"b": THROUGH, "c": [], "d": ALL_OF_BACKBONE[:2]},
        ),
    ),
    hints=(
        "Write down the lesson's table first: which corner is empty because of the cut?",
        "A gradient for a coordinate says what happens when it moves a *little*. Does rounding notice?",
        "b: two entries, both from the head's losses. c: look at rounding again. d: a whole column.",
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    SHAPES_ON_THE_WAY,
    TRAINING_STEP,
    BACKGROUND_TO_FRONT,
    KIND_OF_ERROR,
    CHECK_TARGETS,
    HANDED_OVER,
    PARTS_REACHED,
    WHO_TEACHES_WHOM,
)
