"""The exercises of lesson 11, four-step training.

Letters: R regions, J bins of a region, T anchors, D detections.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
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

# --- 11.1 ------------------------------------------------------------------------------------------------------

TOY_TEXT = """\
The lesson's toy with other numbers: the backbone is one weight, $w$ or $v$, the RPN $a$, the head $b$; the RPN should
answer {rpn} ($a \\cdot w = {rpn}$ in the end), the head {head}. All weights are 1 at first. With pencil and paper: two
weights that start alike and get the same gradient end alike.

Set `chicken_and_egg` to seven answers:

1. $w$ after step 1 (RPN and backbone 1); 2. $a$ after step 1;
3. $v$ after step 2 (head and backbone 2); 4. $b$ after step 2; 5. what the RPN would then say on backbone 2;
6. $a$ after step 3 (the RPN alone, on backbone 2);
7. if instead the head had been trained with backbone **1** after step 1: would the RPN then say more or less than
   {rpn}? `"more"` or `"less"`."""

OF_THE_TOY = (
    "w after step 1",
    "a after step 1",
    "v after step 2",
    "b after step 2",
    "what the RPN says on backbone 2",
    "a after step 3",
    "the RPN, if backbone 1 had learned twice",
)

CHICKEN_AND_EGG = Exercise(
    kind="predict",
    name="chicken_and_egg",
    number="11.1",
    title="The chicken and the egg",
    minutes=8,
    points=1,
    goals=(1,),
    core=True,
    text=TOY_TEXT.format(rpn=9, head=16),
    answer=(3, 3, 4, 4, 12, 2.25, "more"),
    stub="(..., ..., ..., ..., ..., ..., ...)",
    cases=parts(*OF_THE_TOY),
    impostors=(
        Impostor(
            "half_of_it",
            "w and a are multiplied, not added: 3 times 3 is 9.",
            answer=(4.5, 4.5, 8, 8, 36, 1.125, "more"),
        ),
        Impostor("a_stays", "v is 4 and stays; a · 4 must become 9.", answer=(3, 3, 4, 4, 12, 3, "more")),
        Impostor(
            "on_backbone_1", "The RPN says 9 on backbone 1; ask it on backbone 2.", answer=(3, 3, 4, 4, 9, 2.25, "more")
        ),
        Impostor(
            "one_backbone",
            "In step 2 the head learns with a *second* backbone, which is 1 at first as well.",
            answer=(3, 3, 4.53, 3.53, 13.6, 1.99, "more"),
        ),
        Impostor("v_from_w", "Backbone 2 starts from 1, not from backbone 1.", answer=(3, 3, 3, 16 / 3, 9, 3, "more")),
        Impostor(
            "less",
            "The head wants more than 3 · 1, so w grows under the RPN, whose a has not moved.",
            answer=(3, 3, 4, 4, 12, 2.25, "less"),
        ),
    ),
    hints=(
        "Which two numbers that are alike have the product 9?",
        "In step 2 neither a nor w moves. In step 3 only a moves: a · v must be what the RPN should say.",
        "a = w = 3, b = v = 4; then a · v = 12, and a = 9 / 4. If w had to help the head, would it grow?",
    ),
    variants=(
        Variant(
            "larger",
            TOY_TEXT.format(rpn=16, head=25),
            answer=(4, 4, 5, 5, 20, 3.2, "more"),
            without=("half_of_it", "a_stays", "on_backbone_1", "one_backbone", "v_from_w", "less"),
            impostors=(
                Impostor("a_stays", "v is 5 and stays; a · 5 must become 16.", answer=(4, 4, 5, 5, 20, 4, "more")),
                Impostor(
                    "on_backbone_1",
                    "The RPN says 16 on backbone 1; ask it on backbone 2.",
                    answer=(4, 4, 5, 5, 16, 3.2, "more"),
                ),
            ),
        ),
        Variant(
            "smaller",
            TOY_TEXT.format(rpn=36, head=4),
            answer=(6, 6, 2, 2, 12, 18, "less"),
            without=("half_of_it", "a_stays", "on_backbone_1", "one_backbone", "v_from_w", "less"),
            impostors=(
                Impostor(
                    "more",
                    "The head starts at 6 · 1 and wants only 4: w falls under the RPN.",
                    answer=(6, 6, 2, 2, 12, 18, "more"),
                ),
                Impostor("a_stays", "v is 2 and stays; a · 2 must become 36.", answer=(6, 6, 2, 2, 12, 6, "less")),
            ),
        ),
    ),
)

# --- 11.2 ------------------------------------------------------------------------------------------------------


def send_back(winners, grads, cells):
    """Gradient (cells,) from the cells that won the bins, winners (R, J), -1 for none, and the bins' grads (R, J)."""
    arrived = torch.zeros(cells)
    for winner, gradient in zip(winners.flatten().tolist(), grads.flatten().tolist(), strict=True):
        if winner >= 0:
            arrived[winner] += gradient
    return arrived


LESSON_WINNERS = tensor([[2, 4, 14, 21], [14, 10, 14, 23], [6, 2, 6, 14]])
LESSON_GRADS = tensor([[1.0, 2, 3, 4], [10, 20, 30, 40], [100, 200, 300, 400]])


LESSON_SENT = [0, 0, 201, 0, 2, 0, 400, 0, 0, 0, 20, 0, 0, 0, 443, 0, 0, 0, 0, 0, 0, 4, 0, 40]


def _some_bins(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    winners = torch.randint(-1, 12, (count, 9), generator=draw)
    return winners, torch.randn(count, 9, generator=draw), 12


BACK_TEXT = """\
RoI pooling, backwards, by the paper's formula. `send_back(winners, grads, cells)`: for `R` regions of `J` bins each,
`winners`, shape `(R, J)`, holds the number of the cell that won each bin, and {empty} for an empty bin; `grads`, shape
`(R, J)`, what comes from above. Each bin sends its gradient to the one cell that won it, what a cell gets adds up, and
an empty bin sends nothing. Return {what}. `R` may be 0. Do it without autograd."""

SEND_BACK = Exercise(
    kind="implement",
    reference=send_back,
    number="11.2",
    title="Send it back",
    stars=2,
    minutes=10,
    points=3,
    goals=(2,),
    core=True,
    text=BACK_TEXT.format(empty="-1", what="what arrives at each of the `cells`, shape `(cells,)`"),
    cases=(
        on_paper("one region, four cells", tensor([[0, 1, 2, 3]]), tensor([[1.0, 2, 3, 4]]), 4, gives=[1, 2, 3, 4]),
        on_paper("a cell that won two bins", tensor([[0, 1, 1, 3]]), tensor([[1.0, 2, 3, 4]]), 4, gives=[1, 5, 0, 4]),
        on_paper("an empty bin", tensor([[0, -1, 1, 2]]), tensor([[1.0, 2, 3, 4]]), 4, gives=[1, 3, 4, 0]),
        on_paper("two regions, one cell", tensor([[1, 1], [1, 0]]), tensor([[1.0, -2], [4, 8]]), 3, gives=[8, 3, 0]),
        on_paper("nothing but empty bins", tensor([[-1, -1]]), tensor([[1.0, 2]]), 3, gives=[0, 0, 0]),
        on_paper(
            "the lesson's three regions",
            LESSON_WINNERS,
            LESSON_GRADS,
            24,
            gives=LESSON_SENT,
        ),
        edge("no regions", torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, 4), 5, gives=[0] * 5),
        *at_random(_some_bins, sizes=(7, 1, 2, 50, 0)),
    ),
    impostors=(
        Impostor(
            "last_one_stays",
            "A cell that won two bins got the gradient of one: `out[winners] += grads` counts repeated cells once.",
            change={"arrived[winner] += gradient": "arrived[winner] = gradient"},
        ),
        Impostor(
            "minus_one_is_last",
            "-1 is the last cell to Python: the gradient of an empty bin landed there.",
            change={"if winner >= 0": "if True"},
        ),
        Impostor(
            "empty_to_first",
            "The gradient of an empty bin landed in cell 0; it goes nowhere.",
            change={"if winner >= 0:": "if True:\n            winner = max(winner, 0)"},
        ),
        Impostor(
            "cell_0_left_out",
            "Cell 0 is a cell like the others: only -1 is empty.",
            change={"winner >= 0": "winner > 0"},
        ),
        Impostor(
            "counts",
            "These are the bins that each cell won; their *gradients* are to be added.",
            change={"+= gradient": "+= 1"},
        ),
        Impostor(
            "mean",
            "A cell gets the *sum* of what its bins send, not the mean.",
            change={
                "    return arrived": (
                    "    won = torch.zeros(cells)\n    for winner in winners.flatten().tolist():\n"
                    "        won[winner] += winner >= 0\n    return arrived / won.clamp(min=1)"
                )
            },
        ),
        Impostor(
            "largest",
            "A cell gets the sum of what its bins send, not the largest.",
            change={"arrived[winner] += gradient": "arrived[winner] = max(arrived[winner].item(), gradient)"},
        ),
        Impostor(
            "first_region_only",
            "Every region sends, not the first alone.",
            change={"winners.flatten()": "winners[:1].flatten()", "grads.flatten()": "grads[:1].flatten()"},
        ),
        Impostor(
            "per_region",
            "",
            function=lambda winners, grads, cells: (
                torch.stack([send_back(w[None], g[None], cells) for w, g in zip(winners, grads, strict=True)])
                if len(winners)
                else torch.zeros(0, cells)
            ),
        ),
    ),
    hints=(
        "On paper: for each bin, to which cell does its number go? Add.",
        "Two loops are fine. In one call: `index_add_` or `scatter_add_` add, where `out[i] += x` does not.",
        "`if winner >= 0: arrived[winner] += gradient`, for every bin of every region.",
    ),
    variants=(
        Variant(
            "from_one",
            BACK_TEXT.format(empty="0", what="what arrives at each of the `cells`, shape `(cells,)`").replace(
                "the number of the cell that won each bin,", "the number of the cell that won each bin, **from 1 on**,"
            ),
            change={
                "-1 for none": "0 for none",
                "winner >= 0": "winner > 0",
                "arrived[winner]": "arrived[winner - 1]",
            },
            inputs=lambda winners, grads, cells: (winners + 1, grads, cells),
            gives={"a cell that won two bins": [1, 5, 0, 4]},
            without=(
                *("last_one_stays", "minus_one_is_last", "empty_to_first", "cell_0_left_out", "mean", "largest"),
                "per_region",
            ),
            impostors=(
                Impostor(
                    "last_one_stays",
                    "A cell that won two bins got the gradient of one.",
                    change={"arrived[winner - 1] += gradient": "arrived[winner - 1] = gradient"},
                ),
                Impostor(
                    "empty_counts",
                    "0 stands for an empty bin, and 0 - 1 is the last cell to Python.",
                    change={"if winner > 0": "if True"},
                ),
            ),
        ),
        Variant(
            "as_a_map",
            BACK_TEXT.format(
                empty="-1",
                what="a map of `cells` = (rows, columns), shape `(rows, columns)`; cells are numbered row by row",
            ),
            change={
                "Gradient (cells,)": "Gradient (rows, columns)",
                "torch.zeros(cells)": "torch.zeros(cells[0] * cells[1])",
                "return arrived": "return arrived.reshape(cells)",
            },
            inputs=lambda winners, grads, cells: (winners, grads, (2, cells // 2 + cells % 2)),
            gives={
                "a cell that won two bins": [[1, 5], [0, 4]],
                "the lesson's three regions": ([LESSON_SENT[:12], LESSON_SENT[12:]]),
            },
            without=("mean", "per_region", "minus_one_is_last"),
            impostors=(
                Impostor(
                    "column_by_column",
                    "Cells are numbered row by row.",
                    change={"arrived.reshape(cells)": "arrived.reshape(cells[1], cells[0]).T"},
                ),
            ),
        ),
    ),
)

# --- 11.3 ------------------------------------------------------------------------------------------------------


def changed_tensors(before, after):
    """Names, sorted, of the tensors that are not the same in two state dicts."""
    changed = []
    for name in sorted({*before, *after}):
        a, b = before.get(name), after.get(name)
        alike = a is not None and b is not None and a.shape == b.shape and a.dtype == b.dtype
        if not (alike and ((a == b) | (a.isnan() & b.isnan())).all()):
            changed.append(name)
    return changed


def _state(**changed: Tensor) -> dict[str, Tensor]:
    """A small state dict; with some entries changed or added."""
    return {
        "conv.weight": tensor([[1.0, 2], [3, 4]]),
        "bn.running_mean": tensor([0.5, 0.25]),
        "bn.num_batches_tracked": tensor(7),
        "fc.bias": tensor([1.0, -1]),
    } | {name.replace("_dot_", "."): value for name, value in changed.items()}


def _less(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in _state().items() if key != name}


def _two_states(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    before = {
        f"layer{k}.{kind}": torch.randn(3, generator=draw) for k in range(count) for kind in ("weight", "running_var")
    }
    after = {name: value + 1e-6 * (torch.rand(1, generator=draw) > 0.6) for name, value in before.items()}
    return before, dict(reversed(after.items()))


CHANGED_TEXT = """\
The proof that something is frozen. `changed_tensors(before, after)` gets two state dicts, name to tensor, and returns
{what}. A tensor has changed if a value, its shape or its dtype is another one, however little, or if it is there on one
side only. NaN in the same place is the same. The order of the entries says nothing."""

CHANGED_TENSORS = Exercise(
    kind="implement",
    reference=changed_tensors,
    number="11.3",
    title="Frozen to the last bit?",
    minutes=10,
    points=2,
    goals=(3,),
    core=True,
    text=CHANGED_TEXT.format(what="a list of the names, **sorted**, of the tensors that changed"),
    cases=(
        on_paper("nothing changed", _state(), _state(), gives=[]),
        on_paper("a weight", _state(), _state(conv_dot_weight=tensor([[1.0, 2], [3, 5]])), gives=["conv.weight"]),
        on_paper("a weight, by 1e-6", _state(), _state(fc_dot_bias=tensor([1.000001, -1])), gives=["fc.bias"]),
        on_paper("a weight, by 2e-7", _state(), _state(fc_dot_bias=tensor([1.0000002, -1])), gives=["fc.bias"]),
        on_paper("a running mean", _state(), _state(bn_dot_running_mean=tensor([0.5, 0.5])), gives=["bn.running_mean"]),
        on_paper(
            "a count of batches",
            _state(),
            _state(bn_dot_num_batches_tracked=tensor(8)),
            gives=["bn.num_batches_tracked"],
        ),
        on_paper(
            "two at once",
            _state(),
            _state(fc_dot_bias=tensor([1.0, 1]), bn_dot_running_mean=tensor([0.0, 0])),
            gives=["bn.running_mean", "fc.bias"],
        ),
        on_paper("same sum", _state(), _state(fc_dot_bias=tensor([-1.0, 1])), gives=["fc.bias"]),
        on_paper("one is missing afterwards", _state(), _less("fc.bias"), gives=["fc.bias"]),
        on_paper("one is new", _state(), _state(new=tensor(1.0)), gives=["new"]),
        on_paper("another is new", _state(), _state(head_dot_bias=tensor(2.0)), gives=["head.bias"]),
        on_paper("the order is another", _state(), dict(reversed(_state().items())), gives=[]),
        on_paper("NaN in the same place", _state(x=tensor([torch.nan, 1])), _state(x=tensor([torch.nan, 1])), gives=[]),
        on_paper(
            "NaN and another number", _state(x=tensor([torch.nan, 1])), _state(x=tensor([torch.nan, 2])), gives=["x"]
        ),
        on_paper("NaN that was none before", _state(x=tensor([0.0, 1])), _state(x=tensor([torch.nan, 1])), gives=["x"]),
        on_paper("NaN twice, and nothing else", _state(x=tensor(torch.nan)), _state(x=tensor(torch.nan)), gives=[]),
        on_paper("shape (2) and (2, 1)", _state(x=torch.ones(2)), _state(x=torch.ones(2, 1)), gives=["x"]),
        on_paper("shape (1) and ()", _state(x=torch.ones(1)), _state(x=torch.tensor(1.0)), gives=["x"]),
        on_paper("float and half", _state(x=torch.ones(2)), _state(x=torch.ones(2).half()), gives=["x"]),
        on_paper("float and double", _state(x=torch.ones(2)), _state(x=torch.ones(2).double()), gives=["x"]),
        on_paper(
            "three that are sorted otherwise",
            _state(b=tensor(1.0), a=tensor(1.0), c=tensor(1.0)),
            _state(),
            gives=["a", "b", "c"],
        ),
        edge("nothing at all", {}, {}, gives=[]),
        edge("an empty tensor", _state(x=torch.zeros(0)), _state(x=torch.zeros(0)), gives=[]),
        *at_random(_two_states, sizes=(4, 1, 2, 12, 0)),
    ),
    impostors=(
        Impostor(
            "allclose",
            "A change of a millionth is a change: frozen means to the last bit.",
            change={"(a == b)": "torch.isclose(a, b)"},
        ),
        Impostor(
            "parameters_only",
            "Statistics of batch norm are part of the map: an entry was left out that is no parameter.",
            change={
                "sorted({*before, *after})": (
                    'sorted(n for n in {*before, *after} if "running" not in n and "tracked" not in n)'
                )
            },
        ),
        Impostor(
            "zip_order",
            "Entries were compared in the order in which they stand: take those of the same *name*.",
            change={
                "sorted({*before, *after})": "sorted({*before, *after} if [*before] == [*after] else before)",
                "after.get(name)": "dict(zip(before, after.values())).get(name)",
            },
        ),
        Impostor("before_only", "An entry that is new is a change, too.", change={"{*before, *after}": "{*before}"}),
        Impostor("after_only", "An entry that is missing is a change, too.", change={"{*before, *after}": "{*after}"}),
        Impostor(
            "in_both",
            "An entry that is there on one side only is a change, too.",
            change={"{*before, *after}": "{*before} & {*after}"},
        ),
        Impostor(
            "nan_differs",
            "NaN is not equal to itself: in the same place it counts as the same.",
            change={" | (a.isnan() & b.isnan())": ""},
        ),
        Impostor(
            "by_sum",
            "The same sum does not mean the same numbers.",
            change={"((a == b) | (a.isnan() & b.isnan())).all()": "(a.nansum() == b.nansum())"},
        ),
        Impostor(
            "shape_unseen",
            "Another shape is a change; comparing broadcasts them.",
            change={" and a.shape == b.shape": ""},
        ),
        Impostor("dtype_unseen", "Another dtype is a change.", change={" and a.dtype == b.dtype": ""}),
        Impostor(
            "identity",
            "Two tensors with the same numbers are the same here, though they are two objects.",
            change={"((a == b) | (a.isnan() & b.isnan())).all()": "a is b"},
        ),
        Impostor(
            "all_must_differ",
            "One number that changed is enough.",
            change={"((a == b) | (a.isnan() & b.isnan())).all()": "not ((a != b).all() and a.numel())"},
        ),
        Impostor("not_sorted", "", change={"in sorted({*before, *after})": "in reversed(sorted({*before, *after}))"}),
    ),
    hints=(
        "Which names are there in all? For each of them: is it on both sides?",
        "`torch.equal` compares shape and values, but not dtype, and NaN with nothing.",
        "`((a == b) | (a.isnan() & b.isnan())).all()`, once shape and dtype are known to be the same.",
    ),
    variants=(
        Variant(
            "unchanged",
            CHANGED_TEXT.format(what="a list of the names, **sorted**, of the tensors that did **not** change"),
            change={
                "that are not the same": "that are the same",
                "if not (alike": "if (alike",
            },
            gives={
                "a weight": ["bn.num_batches_tracked", "bn.running_mean", "fc.bias"],
                "one is new": ["bn.num_batches_tracked", "bn.running_mean", "conv.weight", "fc.bias"],
            },
            without=("before_only", "after_only", "in_both", "identity", "all_must_differ", "by_sum"),
            impostors=(
                Impostor(
                    "those_that_changed",
                    "These are the ones that changed; the others were asked for.",
                    function=changed_tensors,
                ),
            ),
        ),
        Variant(
            "parts",
            CHANGED_TEXT.format(
                what="a list, **sorted**, of the *parts* in which a tensor changed: names up to the first dot"
            ),
            change={
                "Names, sorted, of the tensors that": "Parts, sorted, of which tensors",
                "    return changed": ('    return sorted({name.split(".")[0] for name in changed})'),
            },
            gives={"two at once": ["bn", "fc"], "a weight": ["conv"]},
            without=("not_sorted",),
            impostors=(
                Impostor(
                    "names",
                    "These are the whole names: the part is what stands before the first dot.",
                    change={'name.split(".")[0]': "name"},
                ),
                Impostor(
                    "one_for_each",
                    "Each part once, even if several of its tensors changed.",
                    function=lambda before, after: [name.split(".")[0] for name in changed_tensors(before, after)],
                ),
            ),
            cases=(
                on_paper("nothing changed", _state(), _state(), gives=[]),
                on_paper("a weight", _state(), _state(conv_dot_weight=tensor([[1.0, 2], [3, 5]])), gives=["conv"]),
                on_paper("a weight, by 1e-6", _state(), _state(fc_dot_bias=tensor([1.000001, -1])), gives=["fc"]),
                on_paper("a weight, by 2e-7", _state(), _state(fc_dot_bias=tensor([1.0000002, -1])), gives=["fc"]),
                on_paper("a running mean", _state(), _state(bn_dot_running_mean=tensor([0.5, 0.5])), gives=["bn"]),
                on_paper(
                    "two at once",
                    _state(),
                    _state(fc_dot_bias=tensor([1.0, 1]), bn_dot_running_mean=tensor([0.0, 0])),
                    gives=["bn", "fc"],
                ),
                on_paper(
                    "two of one part",
                    _state(),
                    _state(bn_dot_num_batches_tracked=tensor(8), bn_dot_running_mean=tensor([0.0, 0])),
                    gives=["bn"],
                ),
                on_paper("same sum", _state(), _state(fc_dot_bias=tensor([-1.0, 1])), gives=["fc"]),
                on_paper(
                    "two with the same sum",
                    _state(),
                    _state(fc_dot_bias=tensor([-1.0, 1]), bn_dot_running_mean=tensor([0.25, 0.5])),
                    gives=["bn", "fc"],
                ),
                on_paper("one is missing afterwards", _state(), _less("fc.bias"), gives=["fc"]),
                on_paper("another is missing", _state(), _less("conv.weight"), gives=["conv"]),
                on_paper("one is new", _state(), _state(new=tensor(1.0)), gives=["new"]),
                on_paper("another is new", _state(), _state(head_dot_bias=tensor(1.0)), gives=["head"]),
                on_paper("the order is another", _state(), dict(reversed(_state().items())), gives=[]),
                on_paper("NaN", _state(x=tensor([torch.nan, 1])), _state(x=tensor([torch.nan, 1])), gives=[]),
                on_paper("NaN alone", _state(x=tensor(torch.nan)), _state(x=tensor(torch.nan)), gives=[]),
                on_paper("shape (2) and (2, 1)", _state(x=torch.ones(2)), _state(x=torch.ones(2, 1)), gives=["x"]),
                on_paper("shape (1) and ()", _state(x=torch.ones(1)), _state(x=torch.tensor(1.0)), gives=["x"]),
                on_paper("float and half", _state(x=torch.ones(2)), _state(x=torch.ones(2).half()), gives=["x"]),
                on_paper("float and double", _state(x=torch.ones(2)), _state(x=torch.ones(2).double()), gives=["x"]),
                *at_random(_two_states, sizes=(4, 1, 2, 12, 0)),
            ),
        ),
    ),
)

# --- 11.4 ------------------------------------------------------------------------------------------------------


def freeze(module):
    """Keep a module as it is from now on, whatever is called on it or on what holds it; return it."""
    module.requires_grad_(False)
    module.eval()
    stays = type("Frozen", (type(module),), {"train": lambda self, mode=True: self})
    module.__class__ = stays
    return module


def _nested(dropout: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(dropout)), nn.Linear(4, 3))


def _rows(seed: int = 0) -> Tensor:
    return 2 + 3 * torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))


def _trained(whole: nn.Module) -> None:
    """Three steps in training mode."""
    whole.train()
    optimiser = torch.optim.SGD(whole.parameters(), lr=0.1)
    for step in range(3):
        optimiser.zero_grad()
        (whole(_rows(step)) ** 2).mean().backward()
        optimiser.step()


def _frozen_and_trained(
    freeze_it: Callable[..., Any], copied: bool = False
) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """A frozen part and the whole that held it in training, and the part's state before."""
    part = _nested()
    freeze_it(part)
    whole = nn.Sequential(part, nn.Linear(3, 2))
    if copied:
        whole = copy.deepcopy(whole)
        part = whole[0]
    before = copy.deepcopy(part.state_dict())
    _trained(whole)
    return part, whole, before


def _moved(freeze_it: Callable[..., Any], which: str, copied: bool = False) -> int:
    part, _, before = _frozen_and_trained(freeze_it, copied)
    names = [n for n in before if ("running" in n or "tracked" in n) == (which == "statistics")]
    return len(set(names) & set(changed_tensors(before, part.state_dict())))


def _map_moves(freeze_it: Callable[..., Any], dropout: float = 0.5) -> bool:
    """Whether the frozen part answers otherwise in the training of the whole than before."""
    part = _nested(dropout)
    freeze_it(part)
    wanted = copy.deepcopy(part).eval()(_rows())
    whole = nn.Sequential(part, nn.Linear(3, 2)).train()
    return not torch.allclose(whole[0](_rows()), wanted, atol=1e-6)


def _two_answers_differ(freeze_it: Callable[..., Any]) -> bool:
    part = _nested()
    freeze_it(part)
    whole = nn.Sequential(part, nn.Linear(3, 2)).train()
    return not torch.allclose(whole(_rows()), whole(_rows()))


def _train_on_itself(freeze_it: Callable[..., Any]) -> int:
    part = _nested()
    freeze_it(part)
    before = copy.deepcopy(part.state_dict())
    part.train()
    part(_rows())
    return len(changed_tensors(before, part.state_dict()))


def _learns(freeze_it: Callable[..., Any]) -> bool:
    torch.manual_seed(1)
    before, head = nn.Linear(3, 3), nn.Linear(3, 2)
    part = _nested()
    freeze_it(part)
    first, last = before.weight.clone(), head.weight.clone()
    _trained(nn.Sequential(before, part, head))
    return not torch.equal(before.weight, first) and not torch.equal(head.weight, last)


def _lets_gradients_through(freeze_it: Callable[..., Any]) -> bool:
    part, rows = _nested(), _rows().requires_grad_()
    freeze_it(part)
    answer = part(rows).sum()
    return answer.requires_grad and bool(torch.autograd.grad(answer, rows)[0].any())


def _same_keys(freeze_it: Callable[..., Any]) -> bool:
    part = _nested()
    keys = list(part.state_dict())
    return list(freeze_it(part).state_dict()) == keys


def _is_itself(freeze_it: Callable[..., Any]) -> bool:
    part = _nested()
    return freeze_it(part) is part


FREEZE = Exercise(
    kind="find the bug",
    reference=freeze,
    given="as_given",
    number="11.4",
    title="Frozen, until somebody calls train()",
    stars=2,
    minutes=15,
    points=3,
    goals=(3, 5),
    core=True,
    text="""\
"I froze the backbone. Then the training loop called `detector.train()`, as it does at the start of every epoch, and the
detections began to drift." Correct the function.

`freeze(module)` keeps a module as it is from now on, and returns this very module. No tensor of its state dict may
change, and it answers as in evaluation, whatever `.train()` is called **on it or on a module that holds it**. It may
hold other modules, with batch norm and dropout. What lies before and behind it goes on learning, through it. A copy
of it (`copy.deepcopy`) is frozen, too, and the names in its state dict are those of before.

(`frcnn_lessons.backbones.Backbone` shows one way; it is not the only one.)""",
    cases=(
        on_paper("weights that moved in three steps", gives=0, experiment=lambda f: _moved(f, "weights")),
        on_paper("statistics that moved in three steps", gives=0, experiment=lambda f: _moved(f, "statistics")),
        on_paper(
            "statistics that moved in three steps of a copy",
            gives=0,
            experiment=(lambda f: _moved(f, "statistics", copied=True)),
        ),
        on_paper(
            "weights that moved in three steps of a copy",
            gives=0,
            experiment=lambda f: _moved(f, "weights", copied=True),
        ),
        on_paper("tensors that moved after its own train()", gives=0, experiment=_train_on_itself),
        on_paper(
            "without dropout: does its answer in training differ from that in evaluation?",
            gives=False,
            experiment=lambda f: _map_moves(f, dropout=0.0),
        ),
        on_paper("does its answer in training differ from that in evaluation?", gives=False, experiment=_map_moves),
        on_paper("do two answers to the same input differ?", gives=False, experiment=_two_answers_differ),
        on_paper("do the layers before and behind it learn?", gives=True, experiment=_learns),
        on_paper("does a gradient pass through it?", gives=True, experiment=_lets_gradients_through),
        on_paper("are the names in the state dict the same?", gives=True, experiment=_same_keys),
        on_paper("is what it returns the module itself?", gives=True, experiment=_is_itself),
    ),
    impostors=(
        Impostor(
            "as_given",
            "`train()` on the whole switches batch norm and dropout back on: the module itself has to resist.",
            change={
                '    stays = type("Frozen", (type(module),), {"train": lambda self, mode=True: self})\n': "",
                "    module.__class__ = stays\n": "",
            },
        ),
        Impostor(
            "batch_norm_only",
            "Batch norm is frozen, and dropout goes on: two answers to the same input differ.",
            function=lambda module: (
                (
                    module.requires_grad_(False),
                    [freeze(part) for part in module.modules() if isinstance(part, nn.BatchNorm1d)],
                )
                and module
            ),
        ),
        Impostor(
            "train_only",
            "Its weights learn still: no gradients *and* evaluation mode.",
            change={"    module.requires_grad_(False)\n": ""},
        ),
        Impostor(
            "no_gradient_through",
            "Gradients do not pass through it any more: what lies before it cannot learn.",
            change={
                "return module": "f = module.forward\n    module.forward = lambda x: f(x).detach()\n    return module"
            },
        ),
        Impostor(
            "momentum_0",
            "The running means stay, but in training the batch's own are used: the answer moves, and batches count.",
            change={
                '    stays = type("Frozen", (type(module),), {"train": lambda self, mode=True: self})\n': "",
                "    module.__class__ = stays\n": (
                    "    for part in module.modules():\n"
                    "        if isinstance(part, nn.BatchNorm1d):\n            part.momentum = 0.0\n"
                ),
            },
        ),
        Impostor(
            "a_copy",
            "It froze a copy; the module that was handed in learns still.",
            change={"module.requires_grad_(False)": "module = copy.deepcopy(module).requires_grad_(False)"},
        ),
        Impostor(
            "wrapped",
            "The module is inside another one now: names in the state dict have changed.",
            function=lambda module: freeze(nn.Sequential(module)),
        ),
    ),
    hints=(
        "`whole.train()` calls `train()` of everything it holds. What would you like the frozen one to do then?",
        "A module whose class has a `train` of its own that changes nothing. How does `Backbone.train` do it?",
        "An object may get another class: one made from `type(module)`, with `train` that returns `self`.",
    ),
    may_change=True,
    may_draw=True,
)

# --- 11.5 ------------------------------------------------------------------------------------------------------


def resume():
    """Two functions: save(path, model, optimiser, generator, epoch) and load(path, model, optimiser, generator)."""

    def save(path, model, optimiser, generator, epoch):
        content = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "generator": generator.get_state(),
            "epoch": epoch,
        }
        torch.save(content, path)

    def load(path, model, optimiser, generator):
        content = torch.load(path, weights_only=True)
        model.load_state_dict(content["model"])
        optimiser.load_state_dict(content["optimiser"])
        generator.set_state(content["generator"])
        return content["epoch"] + 1

    return save, load


def _fresh(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer, torch.Generator]:
    """A small model, its optimiser and a generator, as a program makes them when it starts."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return model, optimiser, torch.Generator().manual_seed(seed)


def _epoch(model: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator) -> None:
    """Six rows in an order that is drawn, in batches of three."""
    rows = torch.arange(12.0).reshape(6, 2).sin()
    for batch in torch.randperm(6, generator=generator).split(3):
        optimiser.zero_grad()
        ((model(rows[batch])[:, 0] - rows[batch].sum(dim=1)) ** 2).mean().backward()
        optimiser.step()


def _interrupted(make: Callable[..., Any], epochs: int = 2, more: int = 0) -> tuple[Any, ...]:
    """Train, save, and load into new objects, with functions made anew; then train on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step_3.pt"
        first = _fresh()
        for _ in range(epochs):
            _epoch(*first)
        make()[0](path, *first, epochs - 1)
        second = _fresh(seed=5)
        begin = make()[1](path, *second)
    for _ in range(more):
        _epoch(*second)
    return first, second, begin


def _unequal(make: Callable[..., Any], more: int) -> int:
    """How many tensors of the model are not as they would be without a break."""
    first, second, _ = _interrupted(make, more=more)
    for _ in range(more):
        _epoch(*first)
    return len(changed_tensors(first[0].state_dict(), second[0].state_dict()))


def _momentum(make: Callable[..., Any]) -> Any:
    first, second, _ = _interrupted(make)
    wanted, got = ([s["momentum_buffer"] for s in one[1].state.values()] for one in (first, second))
    return len(wanted) == len(got) and all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def _next_rows(make: Callable[..., Any], epochs: int) -> Any:
    _, (_, _, generator), _ = _interrupted(make, epochs)
    return torch.randperm(6, generator=generator).tolist()


def _right_rows(epochs: int) -> list[int]:
    _, _, generator = _fresh()
    for _ in range(epochs):
        torch.randperm(6, generator=generator)
    rows: list[int] = torch.randperm(6, generator=generator).tolist()
    return rows


def _disturbed(make: Callable[..., Any]) -> bool:
    """Whether a training that is saved after each epoch ends otherwise than one that is not."""
    plain_, saved = _fresh(), _fresh()
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(3):
            _epoch(*plain_)
            _epoch(*saved)
            make()[0](Path(folder) / "a.pt", *saved, epoch)
    return changed_tensors(plain_[0].state_dict(), saved[0].state_dict()) != []


def _is_safe(make: Callable[..., Any], epochs: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        training = _fresh()
        for _ in range(epochs):
            _epoch(*training)
        make()[0](path, *training, epochs - 1)
        try:
            torch.load(path, weights_only=True)
        except Exception:
            return False
    return True


RESUME = Exercise(
    kind="implement",
    reference=resume,
    number="11.5",
    title="Pull the plug",
    stars=3,
    minutes=30,
    points=4,
    goals=(4,),
    core=True,
    text="""\
Write two functions, inside `resume()`, which returns both: `return save, load`.

- `save(path, model, optimiser, generator, epoch)` writes **one** file, after `epoch` (counted from 0) is complete.
- `load(path, model, optimiser, generator)` gets *new* objects, made by a program that has just started, puts everything
  back into them, and returns the number of the epoch to begin with.

After a break the training must end with the same weights, to the last bit, as one without a break. The model has batch
norm, the optimiser momentum, and the generator draws the order of the pictures in each epoch. Saving must not disturb
the training that goes on, and the file must be readable with `torch.load(path, weights_only=True)`, as everything that
comes from strangers should be. Do it without `frcnn_lessons.checkpoints`.""",
    cases=(
        on_paper("the epoch to begin with, after epochs 0 and 1", gives=2, experiment=lambda f: _interrupted(f)[2]),
        on_paper("the epoch to begin with, after epoch 0", gives=1, experiment=lambda f: _interrupted(f, 1)[2]),
        on_paper("tensors of the model that are not as they were", gives=0, experiment=lambda f: _unequal(f, 0)),
        on_paper("is the momentum as it was?", gives=True, experiment=_momentum),
        on_paper("the order drawn next, after two epochs", gives=_right_rows(2), experiment=lambda f: _next_rows(f, 2)),
        on_paper("the order drawn next, after one epoch", gives=_right_rows(1), experiment=lambda f: _next_rows(f, 1)),
        on_paper(
            "one epoch more: tensors that are not the same to the bit", gives=0, experiment=lambda f: _unequal(f, 1)
        ),
        on_paper(
            "two epochs more: tensors that are not the same to the bit", gives=0, experiment=lambda f: _unequal(f, 2)
        ),
        on_paper("does saving disturb the training that goes on?", gives=False, experiment=_disturbed),
        on_paper(
            "can the file be read with weights_only=True, after an epoch?",
            gives=True,
            experiment=lambda f: _is_safe(f, 1),
        ),
        on_paper(
            "can the file be read with weights_only=True, before the first?",
            gives=True,
            experiment=lambda f: _is_safe(f, 0),
        ),
    ),
    impostors=(
        Impostor(
            "no_optimiser",
            "The momentum was lost: the optimiser has a state dict as well.",
            change={'        optimiser.load_state_dict(content["optimiser"])\n': ""},
        ),
        Impostor(
            "no_generator",
            "Other pictures are drawn from then on: the state of the generator belongs to the file.",
            change={'        generator.set_state(content["generator"])\n': ""},
        ),
        Impostor(
            "seed_again",
            "The generator began from its seed again: the first epochs are repeated.",
            change={'generator.set_state(content["generator"])': "generator.manual_seed(0)"},
        ),
        Impostor(
            "neither",
            "The weights are back, but the momentum and the state of the generator are part of a training, too.",
            change={
                '        optimiser.load_state_dict(content["optimiser"])\n': "",
                '        generator.set_state(content["generator"])\n': "",
            },
        ),
        Impostor(
            "epoch_again",
            "The last epoch would be trained twice: it was complete when it was saved.",
            change={'content["epoch"] + 1': 'content["epoch"]'},
        ),
        Impostor(
            "parameters_only",
            "Parameters are not all: running means and variances are in the state dict.",
            change={
                "model.state_dict()": "[weight.detach() for weight in model.parameters()]",
                'model.load_state_dict(content["model"])': (
                    'for weight, stored in zip(model.parameters(), content["model"]):\n            weight.data = stored'
                ),
            },
        ),
        Impostor(
            "model_pickled",
            "A whole model in a file can hold any code: store its state dict.",
            change={
                '"model": model.state_dict()': '"model": model',
                "weights_only=True": "weights_only=False",
                'content["model"])': 'content["model"].state_dict())',
            },
        ),
        Impostor(
            "draws_a_seed",
            "Saving drew from the generator: the training that goes on gets other pictures.",
            change={
                '"generator": generator.get_state()': '"generator": torch.randint(9, (), generator=generator).item()',
                'generator.set_state(content["generator"])': 'generator.manual_seed(content["generator"])',
            },
        ),
        Impostor(
            "model_not_loaded",
            "The model that was handed in is as new: load the weights into it.",
            change={'        model.load_state_dict(content["model"])\n': ""},
        ),
    ),
    hints=(
        "What is there in the running program that a new one would not have? Four things.",
        "Model and optimiser have `state_dict` and `load_state_dict`, a generator `get_state` and `set_state`.",
        "One dict with four entries for `torch.save`; in `load` all of them back, and `return content['epoch'] + 1`.",
    ),
    forbidden=("frcnn_lessons.checkpoints",),
    may_change=True,
    may_draw=True,
)

# --- 11.6 ------------------------------------------------------------------------------------------------------

WHAT_IS_FROZEN = Exercise(
    kind="explain",
    name="what_is_frozen",
    number="11.6",
    title="Not a bit has changed",
    stars=2,
    minutes=8,
    points=2,
    goals=(5,),
    core=True,
    text="""\
A colleague freezes a backbone with `requires_grad_(False)`, trains a new head for a day, and compares
`list(model.parameters())` of the backbone before and after: not a bit has changed. Yet the old head, put back on, finds
less. Explain, and name the comparison that would have shown it (at most 80 words).""",
    answer="""\
Batch norm in training mode normalises with the batch at hand and updates its running mean and variance, gradient or
not. These are buffers and no parameters, so the comparison did not see them; but the map is computed with them, and
the old head has learned to read another map. Comparing the two state dicts with torch.equal, entry by entry, would
have shown it; evaluation mode would have prevented it.""",
    guide="""\
1 point: batch norm in training mode updates running mean and variance, which are buffers and no parameters. Half a
point: the map is a function of them. Half a point: compare state dicts with `torch.equal`.""",
    hints=(
        "What does a model store that is no parameter?",
        "Which layers do something else in training than in evaluation?",
        "Lesson 11, 'Break it: freeze too little': the line 'weights only'.",
    ),
)

# --- 11.7 ------------------------------------------------------------------------------------------------------

WHO_LEARNS_WHEN = Exercise(
    kind="predict",
    name="who_learns_when",
    number="11.7",
    title="Who learns when",
    minutes=8,
    points=1,
    goals=(1,),
    core=False,
    text="""\
Four steps and four parts, in the order backbone 1, backbone 2, RPN, head. For each step say of each part `"learns"`,
`"fixed"` (it takes part and does not change), or `"-"` (it is not in the game). Set `who_learns_when` to four tuples of
four words, one for each step.""",
    answer=(
        ("learns", "-", "learns", "-"),
        ("fixed", "learns", "fixed", "learns"),
        ("-", "fixed", "learns", "-"),
        ("-", "fixed", "fixed", "learns"),
    ),
    stub="(..., ..., ..., ...)",
    cases=parts("step 1", "step 2", "step 3", "step 4"),
    impostors=(
        Impostor(
            "backbone_2_in_step_3",
            "In step 3 backbone 2 may not learn: the head has learned to read it as it is.",
            answer=(
                ("learns", "-", "learns", "-"),
                ("fixed", "learns", "fixed", "learns"),
                ("-", "learns", "learns", "-"),
                ("-", "fixed", "fixed", "learns"),
            ),
        ),
        Impostor(
            "backbone_1_in_step_3",
            "After step 2 nobody needs backbone 1: the RPN moves to backbone 2.",
            answer=(
                ("learns", "-", "learns", "-"),
                ("fixed", "learns", "fixed", "learns"),
                ("fixed", "-", "learns", "-"),
                ("-", "fixed", "fixed", "learns"),
            ),
        ),
        Impostor(
            "one_backbone_in_step_2",
            "In step 2 the head learns with a backbone of its own; the first would change under the RPN.",
            answer=(
                ("learns", "-", "learns", "-"),
                ("learns", "-", "fixed", "learns"),
                ("-", "fixed", "learns", "-"),
                ("-", "fixed", "fixed", "learns"),
            ),
        ),
        Impostor(
            "no_proposals_in_step_2",
            "In step 2 somebody has to make the proposals: backbone 1 and the RPN, fixed.",
            answer=(
                ("learns", "-", "learns", "-"),
                ("-", "learns", "-", "learns"),
                ("-", "fixed", "learns", "-"),
                ("-", "fixed", "fixed", "learns"),
            ),
        ),
        Impostor(
            "both_in_step_4",
            "In step 4 only the head learns; its proposals come from an RPN that is fixed.",
            answer=(
                ("learns", "-", "learns", "-"),
                ("fixed", "learns", "fixed", "learns"),
                ("-", "fixed", "learns", "-"),
                ("-", "fixed", "learns", "learns"),
            ),
        ),
    ),
    hints=(
        "In each step: who makes the map, who the proposals, who is trained?",
        "Step 2 is the only one with both backbones. Which one learns there?",
        "One map for two users in the end: backbone 2, which is fixed from step 3 on.",
    ),
)

# --- 11.8 ------------------------------------------------------------------------------------------------------


def fill_up(verdict, size, share, generator):
    """Rows of objects and rows of background for a mini-batch of `size`, drawn from verdicts (T,) of 1, 0 and -1."""
    objects, background = (torch.nonzero(verdict == kind).flatten() for kind in (1, 0))
    objects = objects[torch.randperm(len(objects), generator=generator)[: int(share * size)]]
    background = background[torch.randperm(len(background), generator=generator)[: size - len(objects)]]
    return objects, background


def _verdicts(objects: int, background: int, ignored: int) -> Tensor:
    """So many of each, mixed up."""
    every = tensor([1] * objects + [0] * background + [-1] * ignored)
    return every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))]


def _draw(function: Callable[..., Any], verdict: Tensor, size: int, share: float, seed: int = 0) -> list[Tensor]:
    answer = function(verdict, size, share, torch.Generator().manual_seed(seed))
    return [torch.as_tensor(kind).long().flatten() for kind in answer]


def _counts(function: Callable[..., Any], verdict: Tensor, size: int, share: float) -> Any:
    return [len(kind) for kind in _draw(function, verdict, size, share)]


def _kinds_drawn(function: Callable[..., Any], verdict: Tensor, size: int, share: float) -> Any:
    """All that was drawn, by verdict: [what the objects are, what the background is]."""
    return [sorted(set(verdict[kind].tolist())) for kind in _draw(function, verdict, size, share)]


def _repeats(function: Callable[..., Any], verdict: Tensor, size: int, share: float) -> Any:
    return sum(len(kind) - len(kind.unique()) for kind in _draw(function, verdict, size, share))


def _differ(function: Callable[..., Any], verdict: Tensor, size: int, share: float) -> Any:
    """Whether two seeds draw other rows, of objects and of background."""
    pairs = zip(*(_draw(function, verdict, size, share, seed) for seed in (0, 1)), strict=True)
    return [set(a.tolist()) != set(b.tolist()) for a, b in pairs]


STREET, MANY = _verdicts(4, 300, 20), _verdicts(90, 300, 20)

FILL_UP = Exercise(
    kind="implement",
    reference=fill_up,
    number="11.8",
    title="Fill up the mini-batch",
    minutes=10,
    points=2,
    goals=(5,),
    core=False,
    text="""\
`fill_up(verdict, size, share, generator)` draws a mini-batch of `size` anchors from their verdicts, shape `(T,)`: 1 for
object, 0 for background, -1 for ignored. Up to `int(share * size)` objects, and **background fills up** the rest; at
random, without replacement, with the `generator` (`torch.randperm(n, generator=generator)`). It returns two tensors of
row numbers, objects and background. They are fewer than `size` only if there are not enough. Do it without
`frcnn_lessons.sampling`.""",
    cases=(
        on_paper(
            "how many of 4 objects and 300 background, size 128", STREET, 128, 0.5, gives=[4, 124], experiment=_counts
        ),
        on_paper("how many of 90 objects, size 128", MANY, 128, 0.5, gives=[64, 64], experiment=_counts),
        on_paper("how many, a quarter of 128", MANY, 128, 0.25, gives=[32, 96], experiment=_counts),
        on_paper("how many, no objects", _verdicts(0, 30, 5), 16, 0.5, gives=[0, 16], experiment=_counts),
        on_paper("how many, only 10 background", _verdicts(4, 10, 30), 32, 0.5, gives=[4, 10], experiment=_counts),
        on_paper("how many, 6 objects and 3 background", _verdicts(6, 3, 2), 8, 0.5, gives=[4, 3], experiment=_counts),
        on_paper("which kinds are drawn", MANY, 128, 0.5, gives=[[1], [0]], experiment=_kinds_drawn),
        on_paper(
            "which kinds, little background", _verdicts(4, 5, 30), 32, 0.5, gives=[[1], [0]], experiment=_kinds_drawn
        ),
        on_paper("rows drawn twice, 4 objects", STREET, 128, 0.5, gives=0, experiment=_repeats),
        on_paper("rows drawn twice, 90 objects", MANY, 128, 0.5, gives=0, experiment=_repeats),
        on_paper("do two seeds draw other rows?", MANY, 128, 0.5, gives=[True, True], experiment=_differ),
        on_paper("do two seeds draw other rows, a quarter?", MANY, 64, 0.25, gives=[True, True], experiment=_differ),
        edge("nothing at all", torch.zeros(0, dtype=torch.long), 8, 0.5, gives=[0, 0], experiment=_counts),
    ),
    impostors=(
        Impostor(
            "equal_numbers",
            "Background fills up the rest: as many as objects leaves most of the mini-batch unused.",
            change={"[: size - len(objects)]": "[: len(objects)]"},
        ),
        Impostor(
            "half_background",
            "Background may be more than its half where objects are few.",
            change={"[: size - len(objects)]": "[: size - int(share * size)]"},
        ),
        Impostor(
            "all_objects",
            "Up to `int(share * size)` objects, not more.",
            change={"[: int(share * size)]": "[:size]"},
        ),
        Impostor(
            "share_of_objects",
            "The share is one of `size`, not of the objects.",
            change={"[: int(share * size)]": "[: int(share * len(objects))]"},
        ),
        Impostor(
            "with_replacement",
            "Some rows came twice: drawn with replacement.",
            change={
                "objects[torch.randperm(len(objects), generator=generator)[: int(share * size)]]": (
                    "objects[torch.randint(max(len(objects), 1), (int(share * size) * (len(objects) > 0),), "
                    "generator=generator)]"
                ),
                "background[torch.randperm(len(background), generator=generator)[: size - len(objects)]]": (
                    "background[torch.randint(max(len(background), 1), "
                    "((size - len(objects)) * (len(background) > 0),), generator=generator)]"
                ),
            },
        ),
        Impostor(
            "ignored_drawn",
            "An ignored anchor, -1, is no background and never drawn.",
            change={
                "torch.nonzero(verdict == kind).flatten() for kind in (1, 0)": (
                    "torch.nonzero(which).flatten() for which in (verdict == 1, verdict != 1)"
                )
            },
        ),
        Impostor(
            "first_ones",
            "It takes the first ones: they are to be drawn at random.",
            change={
                "torch.randperm(len(objects), generator=generator)": "torch.arange(len(objects))",
                "torch.randperm(len(background), generator=generator)": "torch.arange(len(background))",
            },
        ),
    ),
    hints=(
        "Three questions: where are the objects, how many of them, and what is left of `size`?",
        "`torch.nonzero(verdict == 1).flatten()` gives rows; `torch.randperm(n, generator=...)[:k]` draws k.",
        "The number of background rows is `size - len(objects)`, with the objects that were really drawn.",
    ),
    forbidden=("frcnn_lessons.sampling",),
)

# --- 11.9 ------------------------------------------------------------------------------------------------------


def calibration(scores, right, bins=10):
    """(count, mean score, share right) for each of some equal bins of scores (D,); right (D,) says which were right."""
    table = []
    which = (scores * bins).floor().clamp(max=bins - 1)  # (D,): a score of 1 belongs to the last bin
    for number in range(bins):
        inside = which == number
        count = int(inside.sum())
        if count:
            table.append((count, scores[inside].mean().item(), right[inside].float().mean().item()))
        else:
            table.append((0, None, None))
    return table


NONE = (0, None, None)


def _some_scores(count: int, draw: torch.Generator) -> tuple[Any, ...]:
    scores = torch.rand(count, generator=draw)
    return scores, torch.rand(count, generator=draw) < scores, (10, 4, 3)[count % 3]


CALIBRATION = Exercise(
    kind="implement",
    reference=calibration,
    number="11.9",
    title="Is 0.9 right nine times in ten?",
    stars=2,
    minutes=12,
    points=3,
    goals=(5,),
    core=False,
    text="""\
`calibration(scores, right, bins=10)`: scores from 0 to 1, shape `(D,)`, and whether each detection was right, `(D,)`.
Cut the range into `bins` equal bins and return a list with a tuple for each, from the lowest on: `(count, mean score,
share that was right)`, and `(0, None, None)` for an empty bin. A score on an edge belongs to the bin above, and a score
of 1 to the last. `D` may be 0.""",
    cases=(
        on_paper("two bins", tensor([0.25, 0.75]), tensor([False, True]), 2, gives=[(1, 0.25, 0), (1, 0.75, 1)]),
        on_paper(
            "two in a bin",
            tensor([0.125, 0.375, 0.75]),
            tensor([False, True, True]),
            2,
            gives=[(2, 0.25, 0.5), (1, 0.75, 1)],
        ),
        on_paper("an empty bin", tensor([0.75, 0.875]), tensor([True, False]), 2, gives=[NONE, (2, 0.8125, 0.5)]),
        on_paper("on an edge", tensor([0.5]), tensor([True]), 2, gives=[NONE, (1, 0.5, 1)]),
        on_paper(
            "edges of four bins",
            tensor([0.25, 0.5, 0.75]),
            tensor([True, False, True]),
            4,
            gives=[NONE, (1, 0.25, 1), (1, 0.5, 0), (1, 0.75, 1)],
        ),
        on_paper("0 and 1", tensor([0.0, 1]), tensor([False, True]), 2, gives=[(1, 0, 0), (1, 1, 1)]),
        on_paper("1 and 0.875", tensor([1, 0.875]), tensor([True, False]), 4, gives=[NONE] * 3 + [(2, 0.9375, 0.5)]),
        on_paper(
            "ten bins",
            tensor([0.95, 0.91, 0.15, 0.12]),
            tensor([True, False, False, False]),
            gives=([NONE, (2, 0.135, 0)] + [NONE] * 7 + [(2, 0.93, 0.5)]),
        ),
        edge("no detections", torch.zeros(0), torch.zeros(0, dtype=torch.bool), 3, gives=[NONE] * 3),
        *at_random(_some_scores),
    ),
    impostors=(
        Impostor(
            "one_falls_off",
            "A score of 1 fell out of the last bin.",
            change={".clamp(max=bins - 1)": ""},
        ),
        Impostor(
            "edges_below",
            "A score on an edge belongs to the bin *above*.",
            change={"(scores * bins).floor().clamp(max=bins - 1)": "((scores * bins).ceil() - 1).clamp(min=0)"},
        ),
        Impostor(
            "middle_of_the_bin",
            "The mean of the *scores* was asked for, not the middle of the bin.",
            change={"scores[inside].mean().item()": "(number + 0.5) / bins"},
        ),
        Impostor(
            "zero_for_empty",
            "Nothing was there: no answer is not 0 % right.",
            change={"(0, None, None)": "(0, 0.0, 0.0)"},
        ),
        Impostor("empty_left_out", "", change={"        else:\n            table.append((0, None, None))\n": ""}),
        Impostor(
            "right_over_all",
            "The share is of the detections in the bin, not of all.",
            change={"right[inside].float().mean().item()": "right[inside].sum().item() / len(right)"},
        ),
        Impostor(
            "number_right",
            "That is how many were right; their share was asked for.",
            change={"right[inside].float().mean().item()": "right[inside].sum().item()"},
        ),
        Impostor(
            "share_wrong",
            "That is the share that was *wrong*.",
            change={"right[inside].float().mean().item()": "1 - right[inside].float().mean().item()"},
        ),
        Impostor("highest_first", "From the lowest bin on.", change={"return table": "return table[::-1]"}),
    ),
    hints=(
        "Into which bin of four does 0.3 go? Multiply and round down.",
        "`(scores * bins).floor()` is the bin, with one exception at the upper end.",
        "`.clamp(max=bins - 1)`; then a loop over the bins with a mask, `which == number`.",
    ),
)

# --- 11.10 -----------------------------------------------------------------------------------------------------


def nudge(f, x, eps=1e-3):
    """Gradient of the number f(x) at x, of any shape, by a little more and a little less in one entry at a time."""
    slope = torch.zeros_like(x)
    for place in range(x.numel()):
        step = torch.zeros_like(x)
        step.view(-1)[place] = eps
        slope.view(-1)[place] = (f(x + step) - f(x - step)) / (2 * eps)
    return slope


def sum_of_squares(x: Tensor) -> Tensor:
    """The sum of all entries squared."""
    return (x**2).sum()


def largest(x: Tensor) -> Tensor:
    """The largest entry."""
    return x.max()


def seven(_x: Tensor) -> Tensor:
    """7, whatever is given."""
    return torch.tensor(7.0, dtype=torch.float64)


def first_times_last(x: Tensor) -> Tensor:
    """The first entry times the last."""
    return x.flatten()[0] * x.flatten()[-1]


def thousand_and_sum(x: Tensor) -> Tensor:
    """1000 and the sum of all entries: a float in single precision has no digits left for it."""
    return 1000 + x.sum()


def _most_entries_moved(function: Callable[..., Any], x: Tensor) -> int:
    """In how many entries the input of a call differed from x, at most."""
    most = [0]

    def watched(given: Tensor) -> Tensor:
        most[0] = max(most[0], int((given != x).sum()))
        return (given**2).sum()

    function(watched, x.clone())
    return most[0]


def _double(*numbers: Any) -> Tensor:
    return tensor(numbers, dtype=torch.float64)


NUDGE = Exercise(
    kind="implement",
    reference=nudge,
    number="11.10",
    title="A witness who knows no gradients",
    stars=2,
    minutes=12,
    points=3,
    goals=(2,),
    core=False,
    text="""\
`nudge(f, x, eps=1e-3)`: the gradient of the number `f(x)` with respect to each entry of `x`, a float64 tensor of any
shape, by central differences: for one entry at a time, `f` with `eps` more, less `f` with `eps` less, over `2 * eps`.
It returns a tensor of the shape of `x`, which may be empty; `x` is as before. Do it without autograd.""",
    cases=(
        on_paper("the sum of squares at (1, 2)", sum_of_squares, _double(1, 2), gives=[2, 4]),
        on_paper("the largest of (1, 5, 2)", largest, _double(1, 5, 2), gives=[0, 1, 0]),
        on_paper("a constant", seven, _double(1, 2), gives=[0, 0]),
        on_paper("the first times the last of (2, 3, 5)", first_times_last, _double(2, 3, 5), gives=[5, 0, 2]),
        on_paper(
            "the sum of squares of a table",
            sum_of_squares,
            _double([1, 2, 3], [4, 5, 6]),
            gives=[[2, 4, 6], [8, 10, 12]],
        ),
        on_paper("1000 and the sum", thousand_and_sum, _double(0.1, 0.2), gives=[1, 1]),
        on_paper("the larger of (1, 1.25), eps 1/2", largest, _double(1, 1.25), 0.5, gives=[0.25, 0.75]),
        on_paper("the larger of (1, 1.5), eps 1", largest, _double(1, 1.5), 1.0, gives=[0.25, 0.75]),
        on_paper("entries that differ in a call, at most", _double(1, 2, 3), gives=1, experiment=_most_entries_moved),
        edge("nothing", sum_of_squares, torch.zeros(0, dtype=torch.float64), gives=[]),
        *at_random(lambda n, draw: (sum_of_squares, torch.randn(n, 2, generator=draw, dtype=torch.float64)), count=5),
    ),
    impostors=(
        Impostor(
            "one_sided",
            "It is off by eps: take a step to both sides, and the error cancels.",
            change={"(f(x + step) - f(x - step)) / (2 * eps)": "(f(x + step) - f(x)) / eps"},
        ),
        Impostor("divided_by_eps", "From -eps to +eps it is *two* eps.", change={"/ (2 * eps)": "/ eps"}),
        Impostor(
            "backwards",
            "The signs are turned round: more, less less.",
            change={"f(x + step) - f(x - step)": ("f(x - step) - f(x + step)")},
        ),
        Impostor(
            "not_put_back",
            "The second entry was nudged on top of the first: one at a time.",
            change={
                "    for place in range(x.numel()):\n        step = torch.zeros_like(x)\n": (
                    "    step = torch.zeros_like(x)\n    for place in range(x.numel()):\n"
                )
            },
        ),
        Impostor(
            "all_at_once",
            "All entries were nudged together: that is the slope in one direction only.",
            change={"step.view(-1)[place] = eps": "step.view(-1)[:] = eps"},
        ),
        Impostor("flat", "", change={"return slope": "return slope.flatten()[:, None]"}),
        Impostor(
            "single_precision",
            "In single precision the difference of two numbers near 1000 has no digits left.",
            change={"slope = torch.zeros_like(x)\n": "x = x.float()\n    slope = torch.zeros_like(x)\n"},
        ),
        Impostor("fixed_eps", "`eps` was not looked at.", change={"    slope =": "    eps = 1e-3\n    slope ="}),
        Impostor(
            "in_place",
            "",
            function=lambda f, x, eps=1e-3: (nudge(f, x, eps), x.add_(eps))[0],
        ),
    ),
    hints=(
        "Two calls of `f` for each entry. What must be the same in both but for this entry?",
        "A tensor of zeros like `x` with eps in one place: `f(x + step)` and `f(x - step)`.",
        "`(f(x + step) - f(x - step)) / (2 * eps)`, in a loop over `x.numel()` places; `view(-1)` numbers them.",
    ),
    forbidden=("torch.autograd",),
    tolerance=1e-6,
)

EXERCISES: tuple[Exercise, ...] = (
    CHICKEN_AND_EGG,
    SEND_BACK,
    CHANGED_TENSORS,
    FREEZE,
    RESUME,
    WHAT_IS_FROZEN,
    WHO_LEARNS_WHEN,
    FILL_UP,
    CALIBRATION,
    NUDGE,
)
