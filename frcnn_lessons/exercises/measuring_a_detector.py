"""The exercises of lesson 04, measuring a detector.

Shapes: D detections ("answers") and K objects of an image.
"""

import itertools
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, tensor

from frcnn_lessons import boxes, metrics, plots
from frcnn_lessons.exercises.description import (
    Case,
    Exercise,
    Impostor,
    Variant,
    at_random,
    edge,
    edited,
    faulty,
    on_paper,
    parts,
    right,
)

NAN = float("nan")
PLUS = tensor([0.0, 0, 1, 1])


def numpy_draw(draw: torch.Generator) -> np.random.Generator:
    """NumPy's random numbers, the same for the same draw."""
    return np.random.default_rng(int(torch.randint(2**31, (1,), generator=draw)))


# --- 04.1 ------------------------------------------------------------------------------------------------------


def verdict_of(place: int) -> Any:
    """A case for one of the six letters."""
    return on_paper(
        f"answer {'ABCDEF'[place]}", gives=..., experiment=lambda value: "".join(value()[0])[place : place + 1].upper()
    )


VERDICTS_BY_HAND = Exercise(
    kind="predict",
    name="verdicts_by_hand",
    number="04.1",
    title="Verdicts by hand",
    minutes=10,
    points=2,
    goals=(1,),
    core=True,
    text="""\
All are buses, in two images; boxes are `xyxy`.

| image | objects |
|---|---|
| 0 | P (0, 0, 10, 10), and Q (20, 0, 30, 10), which is *difficult* |
| 1 | R (0, 0, 8, 8) |

| answer | score | image | box |
|---|---|---|---|
| A | 0.95 | 0 | (1, 0, 11, 10) |
| B | 0.90 | 0 | (0, 0, 10, 10) |
| C | 0.80 | 1 | (0, 0, 8, 6) |
| D | 0.70 | 1 | (2, 2, 10, 10) |
| E | 0.60 | 0 | (20, 0, 30, 8) |
| F | 0.50 | 0 | (21, 0, 31, 10) |

By VOC's rule, IoU at least 0.5: which are right (`T`), wrong (`F`) or neither (`-`)? And what is AP over all points?
Set `verdicts_by_hand` to six letters in one string, and a number, such as `("TTFF--", 2 / 3)`.""",
    answer=("TFTF--", 5 / 6),
    stub="(..., ...)",
    cases=(
        on_paper("how many letters", gives=..., experiment=lambda value: len(value()[0])),
        *map(verdict_of, range(6)),
        on_paper("AP", gives=..., experiment=lambda value: value()[1]),
    ),
    impostors=(
        Impostor("best_fit_first", "A is surer and comes first, though B fits better.", answer=("FTTF--", 5 / 6)),
        Impostor("twice", "A took bus P before B came: every object is found once.", answer=("TTTF--", 5 / 6)),
        Impostor(
            "touching_is_enough",
            "D and R share 36 squares of 92, which is less than half; and C has taken R.",
            answer=("TFTT--", 5 / 6),
        ),
        Impostor(
            "difficult_counts",
            "Q is difficult: an answer on it is neither right nor wrong, as often as there is one.",
            answer=("TFTFTF", 5 / 6),
        ),
        Impostor(
            "difficult_is_wrong",
            "Q is difficult: an answer on it is not right, but not wrong either.",
            answer=("TFTFFF", 5 / 6),
        ),
        Impostor(
            "difficult_once",
            "Q is difficult: *every* answer on it is neither, not only the first.",
            answer=("TFTF-F", 5 / 6),
        ),
        Impostor("three_objects", "Two objects count: Q is difficult.", answer=("TFTF--", 5 / 9)),
        Impostor("eleven_points", "That is the 11-point figure; all points are asked for.", answer=("TFTF--", 28 / 33)),
        Impostor(
            "mean_precision",
            "That is the mean of the precisions; AP is the area: 1/2 wide at each answer that is right.",
            answer=("TFTF--", 2 / 3),
        ),
        Impostor("precision", "That is the precision at the end of the list, not an area.", answer=("TFTF--", 1 / 2)),
    ),
    hints=(
        "From the surest answer on: which object does it overlap best, by how much, and is it free?",
        "B comes too late for P. D and R share 6 x 6 squares of 64 + 64 - 36. Q is difficult.",
        "The list that counts is T, F, T, F, with two objects: two rectangles, each 1/2 wide.",
    ),
    variants=(
        Variant(
            "trucks",
            """\
All are trucks, in two images; boxes are `xyxy`.

| image | objects |
|---|---|
| 0 | P (0, 0, 10, 10), and Q (20, 0, 30, 10), which is *difficult* |
| 1 | R (0, 0, 8, 8) |

| answer | score | image | box |
|---|---|---|---|
| A | 0.90 | 1 | (0, 0, 8, 8) |
| B | 0.80 | 0 | (20, 0, 30, 10) |
| C | 0.70 | 0 | (0, 0, 10, 4) |
| D | 0.60 | 1 | (0, 0, 8, 6) |
| E | 0.50 | 0 | (0, 0, 10, 8) |
| F | 0.40 | 0 | (0, 0, 10, 10) |

By VOC's rule, IoU at least 0.5: which are right (`T`), wrong (`F`) or neither (`-`)? And what is AP over all points?
Set `verdicts_by_hand` to six letters in one string, and a number, such as `("TTFF--", 2 / 3)`.""",
            answer=("T-FFTF", 3 / 4),
            without=(
                *("best_fit_first", "twice", "touching_is_enough", "difficult_counts", "difficult_is_wrong"),
                *("difficult_once", "three_objects", "eleven_points", "mean_precision", "precision"),
            ),
            impostors=(
                Impostor(
                    "best_fit_first", "E is surer and comes first, though F fits better.", answer=("T-FFFT", 3 / 4)
                ),
                Impostor("twice", "A took R before D came: every object is found once.", answer=("T-FTTF", 3 / 4)),
                Impostor(
                    "difficult_counts",
                    "Q is difficult: an answer on it is neither right nor wrong.",
                    answer=("TTFFTF", 3 / 4),
                ),
                Impostor("three_objects", "Two objects count: Q is difficult.", answer=("T-FFTF", 1 / 2)),
            ),
        ),
        Variant(
            "cars",
            """\
All are cars, in two images; boxes are `xyxy`, and none is difficult.

| image | objects |
|---|---|
| 0 | P (0, 0, 10, 10) and Q (20, 0, 30, 10) |
| 1 | R (0, 0, 8, 8) |

| answer | score | image | box |
|---|---|---|---|
| A | 0.90 | 0 | (21, 0, 31, 10) |
| B | 0.80 | 1 | (4, 0, 12, 8) |
| C | 0.70 | 0 | (20, 0, 30, 10) |
| D | 0.60 | 0 | (0, 0, 10, 5) |
| E | 0.50 | 1 | (0, 0, 8, 8) |
| F | 0.40 | 1 | (0, 0, 8, 7) |

By VOC's rule, IoU at least 0.5: which are right (`T`), wrong (`F`) or neither (`-`)? And what is AP over all points?
Set `verdicts_by_hand` to six letters in one string, and a number, such as `("TTFF--", 2 / 3)`.""",
            answer=("TFFTTF", 11 / 15),
            without=(
                *("best_fit_first", "twice", "touching_is_enough", "difficult_counts", "difficult_is_wrong"),
                *("difficult_once", "three_objects", "eleven_points", "mean_precision", "precision"),
            ),
            impostors=(
                Impostor(
                    "best_fit_first", "A is surer and comes first, though C fits better.", answer=("FFTTTF", 11 / 15)
                ),
                Impostor(
                    "share_of_the_box",
                    "Half of B lies on R, but the two share 32 squares of 96.",
                    answer=("TTFTFF", 11 / 15),
                ),
                Impostor("above", "An IoU of exactly 0.5 counts, as that of D with P.", answer=("TFFFTF", 11 / 15)),
                Impostor(
                    "no_envelope",
                    "At each recall the *best* precision from there on counts: 0.6 also at the second object.",
                    answer=("TFFTTF", 0.7),
                ),
            ),
        ),
    ),
)

# --- 04.2 ------------------------------------------------------------------------------------------------------


def match_next_best(scores, iou, threshold=0.5):
    """The object (D,) that each of D answers gets, or -1, by COCO's rule, from scores (D,) and IoU (D, K)."""
    answer, free = [-1] * len(scores), set(range(iou.shape[1]))
    for i in scores.argsort(descending=True).tolist():
        choices = [k for k in free if iou[i, k] >= threshold]
        if choices:
            answer[i] = max(choices, key=lambda k: iou[i, k])
            free.remove(answer[i])
    return answer


def objects_choose(scores, iou, threshold=0.5):
    """A wrong answer: every object takes the answer that fits it best."""
    answer = [-1] * len(scores)
    for k in range(iou.shape[1]):
        free = [i for i in range(len(scores)) if answer[i] < 0 and iou[i, k] >= threshold]
        if free:
            answer[max(free, key=lambda i: iou[i, k])] = k
    return answer


def used_up(scores, iou, threshold=0.5):
    """A wrong answer: an answer below the threshold uses up its best free object."""
    answer, free = [-1] * len(scores), set(range(iou.shape[1]))
    for i in scores.argsort(descending=True).tolist():
        if free:
            best = max(free, key=lambda k: iou[i, k])
            free.remove(best)
            if iou[i, best] >= threshold:
                answer[i] = best
    return answer


def some_matches(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Answers with different scores, and IoUs that are often above 0.5."""
    return torch.rand(count, generator=draw), torch.rand(count, (count + 1) // 2, generator=draw)


TWO_ON_ONE = tensor([[0.9, 0.6], [0.8, 0.7]])

MATCH_NEXT_BEST = Exercise(
    kind="implement",
    reference=match_next_best,
    number="04.2",
    title="COCO hands out objects",
    stars=2,
    minutes=20,
    points=3,
    goals=(1,),
    core=False,
    text="""\
`match_next_best(scores, iou, threshold=0.5)`: COCO's rule for one class of one image. `scores`, shape `(D,)`, and the
IoU of the `D` answers with the `K` objects, shape `(D, K)`, are tensors. From the surest answer on, each takes the
**free** object that it overlaps best, if that IoU is **at least** the threshold.

Return `D` whole numbers, in the order of the input: the index of the object that each answer got, or -1. `D` and `K`
may be 0; no two scores are equal.""",
    cases=(
        on_paper("the second answer takes its next best", tensor([0.9, 0.8]), TWO_ON_ONE, gives=[0, 1]),
        on_paper("the second answer is surer", tensor([0.8, 0.9]), TWO_ON_ONE, gives=[1, 0]),
        on_paper(
            "a third goes empty", tensor([0.9, 0.8, 0.7]), torch.cat([TWO_ON_ONE, TWO_ON_ONE[:1]]), gives=[0, 1, -1]
        ),
        on_paper("an IoU of exactly 0.5", tensor([0.9]), tensor([[0.5, 0.25]]), gives=[0]),
        on_paper("an IoU of 0.49", tensor([0.9]), tensor([[0.49, 0.25]]), gives=[-1]),
        on_paper("IoU 0.7 at a threshold of 0.75", tensor([0.9, 0.8]), TWO_ON_ONE, 0.75, gives=[0, -1]),
        on_paper("the better of two", tensor([0.9]), tensor([[0.6, 0.7]]), gives=[1]),
        on_paper("the surest is far off", tensor([0.9, 0.8]), tensor([[0.1], [0.9]]), gives=[-1, 0]),
        on_paper("the surest is the last", tensor([0.1, 0.2, 0.9]), tensor([[0.9], [0.6], [0.7]]), gives=[-1, -1, 0]),
        edge("no answers", torch.zeros(0), torch.zeros(0, 2), gives=[]),
        edge("no objects", tensor([0.9, 0.8]), torch.zeros(2, 0), gives=[-1, -1]),
        *at_random(some_matches, sizes=(7, 1, 2, 12, 0)),
    ),
    impostors=(
        Impostor(
            "voc",
            "That is VOC's rule, which looks at the best object only: in COCO an answer may take its next best.",
            change={"for k in free if": "for k in (free & {int(iou[i].argmax())} if free else ()) if"},
        ),
        Impostor(
            "unsorted",
            "The surest answer chooses first, wherever it stands.",
            change={"scores.argsort(descending=True).tolist()": "range(len(scores))"},
        ),
        Impostor(
            "ascending",
            "The *surest* answer chooses first, not the least sure.",
            change={"descending=True": "descending=False"},
        ),
        Impostor(
            "in_order_of_scores",
            "Answer i's object belongs in place i, in the order of the input.",
            change={"return answer": "return [answer[i] for i in scores.argsort(descending=True).tolist()]"},
        ),
        Impostor(
            "reused", "An object was given away twice: it is free only once.", change={"free.remove(answer[i])": "pass"}
        ),
        Impostor(
            "first_free",
            "Of the free objects it takes the one that it overlaps *best*.",
            change={"max(choices, key=lambda k: iou[i, k])": "min(choices)"},
        ),
        Impostor("above", "An IoU of exactly the threshold is enough.", change={">= threshold": "> threshold"}),
        Impostor(
            "used_up",
            "An answer below the threshold takes nothing: the object stays free for the next.",
            function=used_up,
        ),
        Impostor("no_threshold", "Below the threshold an answer gets nothing.", change={">= threshold": ">= 0"}),
        Impostor("objects_choose", "The answers choose, the surest first, not the objects.", function=objects_choose),
    ),
    hints=(
        "Two answers on the same object: the surer one gets it. What does the other one do by COCO's rule?",
        "Keep a set of the free objects; go through `scores.argsort(descending=True)`.",
        "`choices = [k for k in free if iou[i, k] >= threshold]`, then the one with the largest IoU, and remove it.",
    ),
    forbidden=("frcnn_lessons.metrics",),
)

# --- 04.3 ------------------------------------------------------------------------------------------------------


def ap_interpolated(right, objects, points=101):
    """AP as the mean of the best precisions at `points` recalls from 0 to 1; right (D,) holds 1 and 0, surest first."""
    if objects == 0:
        return float("nan")
    hits = np.cumsum(right)
    precision, recall = hits / np.arange(1, len(right) + 1), hits / objects
    tops = [max(precision[recall >= at], default=0) for at in np.linspace(0, 1, points)]
    return np.mean(tops)


def some_list(count: int, draw: torch.Generator) -> tuple[np.ndarray, int, int]:
    """Verdicts, and a number of objects whose recalls fall between the points."""
    rng = numpy_draw(draw)
    right = (rng.random(count) < 0.6).astype(int)
    return right, next(n for n in (3, 7, 13, 37, 61) if n >= right.sum()), int(rng.choice([101, 101, 11]))


def verdicts(letters: str) -> np.ndarray:
    """1 for T and 0 for F."""
    return np.array([letter == "T" for letter in letters], dtype=int)


AP_INTERPOLATED = Exercise(
    kind="implement",
    reference=ap_interpolated,
    number="04.3",
    title="AP at 101 recalls",
    stars=2,
    minutes=20,
    points=3,
    goals=(2,),
    core=True,
    text="""\
COCO reads the envelope at 101 recalls, VOC read it at 11. `ap_interpolated(right, objects, points=101)` does both:
`right` is a NumPy array `(D,)` of 1 (right) and 0 (wrong), the surest answer first; `objects` says how many objects
there are. Return the mean, over `points` recalls evenly from 0 to 1 (both included), of the **best precision at this
recall or any higher one**; where no answer reaches a recall, the precision counts as 0.

Without objects the answer is `nan`; with objects and no answers it is 0.""",
    cases=(
        on_paper("T F T F F T, 3 objects, 11 points", verdicts("TFTFFT"), 3, 11, gives=8 / 11),
        on_paper("T F T F F T, 3 objects, 101 points", verdicts("TFTFFT"), 3, gives=73 / 101),
        on_paper("T F, 2 objects, 3 points", verdicts("TF"), 2, 3, gives=2 / 3),
        on_paper("F T, 1 object, 11 points", verdicts("FT"), 1, 11, gives=1 / 2),
        on_paper("F T T, 2 objects, 3 points", verdicts("FTT"), 2, 3, gives=2 / 3),
        on_paper("T, 4 objects, 101 points", verdicts("T"), 4, gives=26 / 101),
        on_paper("T T, 2 objects", verdicts("TT"), 2, gives=1),
        on_paper("F F, 2 objects", verdicts("FF"), 2, gives=0),
        on_paper("T F, no objects", verdicts("FF"), 0, gives=NAN),
        on_paper("no answers, 2 objects", verdicts(""), 2, gives=0),
        edge("no answers, no objects", verdicts(""), 0, gives=NAN),
        *at_random(some_list, sizes=(7, 1, 2, 60, 0)),
    ),
    impostors=(
        Impostor(
            "no_envelope",
            "The best precision at this recall *or any higher one* counts, not that where it is first reached.",
            change={"max(precision[recall >= at], default=0)": "next(iter(precision[recall >= at]), 0)"},
        ),
        Impostor(
            "above",
            "At least: a recall that is exactly reached counts.",
            change={"recall >= at": "recall > at"},
        ),
        Impostor(
            "lower_recalls",
            "The envelope looks to the right: at this recall or any *higher* one.",
            change={"recall >= at": "recall <= at"},
        ),
        Impostor(
            "reached_only",
            "What is never found counts as 0: the mean is over all points, not over those that were reached.",
            change={"points)]": "points) if at <= max(recall, default=1)]"},
        ),
        Impostor(
            "area",
            "That is the exact area, VOC's newer figure; here the mean of the heights at the points is asked for.",
            change={
                "np.mean(tops)": "sum(max(precision[n:]) for n, one in enumerate(right) if one) / objects",
            },
        ),
        Impostor(
            "recall_of_found",
            "Recall is a share of the *objects*, not of those that were found.",
            change={"hits / objects": "hits / max(hits.max(initial=0), 1)"},
        ),
        Impostor(
            "recall_of_answers",
            "Recall is a share of the *objects*, not of the answers.",
            change={"hits / objects": "hits / len(right)"},
        ),
        Impostor(
            "points_off",
            "The last of the recalls is 1: from 0 to 1, both included.",
            change={"np.linspace(0, 1, points)": "[i / points for i in range(points)]"},
        ),
        Impostor(
            "always_101",
            "It reads 101 recalls, whatever `points` says.",
            change={"np.linspace(0, 1, points)": "np.linspace(0, 1, 101)"},
        ),
        Impostor(
            "always_11",
            "It reads 11 recalls, whatever `points` says.",
            change={"np.linspace(0, 1, points)": "np.linspace(0, 1, 11)"},
        ),
        Impostor(
            "nan_for_no_answers",
            "Objects that nobody found can be measured: without answers AP is 0. Only without *objects* it is nan.",
            change={"if objects == 0:": "if objects == 0 or len(right) == 0:"},
        ),
        Impostor(
            "sum", "The mean over the points is asked for, not their sum.", change={"np.mean(tops)": "np.sum(tops)"}
        ),
        Impostor(
            "zero_for_nothing", "Without objects there is nothing to measure: nan.", change={'float("nan")': "0.0"}
        ),
    ),
    hints=(
        "Precision and recall after each answer first, as in the lesson. Which points lie at recall 1/2 or higher?",
        "`np.cumsum(right)` counts what is right so far; divide by 1, 2, 3 ... and by `objects`.",
        "`max(precision[recall >= at], default=0)` for `at` in `np.linspace(0, 1, points)`, and their mean.",
    ),
    forbidden=("frcnn_lessons.metrics",),
    variants=(
        Variant(
            "without_zero",
            """\
KITTI reads the envelope at 40 recalls and leaves out 0. `ap_interpolated(right, objects, points=101)`: `right` is a
NumPy array `(D,)` of 1 (right) and 0 (wrong), the surest answer first; `objects` says how many objects there are.
Return the mean, over the recalls **1/points, 2/points, ..., 1**, of the **best precision at this recall or any higher
one**; where no answer reaches a recall, the precision counts as 0.

Without objects the answer is `nan`; with objects and no answers it is 0.""",
            change={
                "recalls from 0 to 1;": "recalls after 0, up to 1;",
                "np.linspace(0, 1, points)": "np.arange(1, points + 1) / points",
            },
            gives={"T, 4 objects, 101 points": 25 / 101, "T T, 2 objects": 1},
            without=("points_off", "always_101", "always_11", "reached_only"),
            impostors=(
                Impostor(
                    "with_zero",
                    "Recall 0 is left out here: the first is 1/points.",
                    change={"np.arange(1, points + 1) / points": "np.linspace(0, 1, points)"},
                ),
                Impostor(
                    "one_more",
                    "Recall 0 is left out here, and there are `points` recalls.",
                    change={"np.arange(1, points + 1) / points": "np.arange(points + 1) / points"},
                ),
            ),
        ),
        Variant(
            "heights",
            """\
`ap_interpolated(right, objects, points=101)`, in spite of its name, returns the **heights** of the envelope, shape
`(points,)`, before their mean is taken. `right` is a NumPy array `(D,)` of 1 (right) and 0 (wrong), the surest answer
first; `objects`, at least 1, says how many objects there are. The recalls lie evenly from 0 to 1 (both included), and
each height is the **best precision at this recall or any higher one**; where no answer reaches a recall, it is 0.""",
            change={
                "AP as the mean of the best": "The best",
                '    if objects == 0:\n        return float("nan")\n': "",
                "return np.mean(tops)": "return tops",
            },
            cases=(
                on_paper(
                    "T F T F F T, 3 objects, 11 points",
                    verdicts("TFTFFT"),
                    3,
                    11,
                    gives=[1] * 4 + [2 / 3] * 3 + [0.5] * 4,
                ),
                on_paper("T F, 2 objects, 3 points", verdicts("TF"), 2, 3, gives=[1, 1, 0]),
                on_paper("F T, 1 object, 3 points", verdicts("FT"), 1, 3, gives=[0.5, 0.5, 0.5]),
                on_paper("F T T, 2 objects, 3 points", verdicts("FTT"), 2, 3, gives=[2 / 3] * 3),
                on_paper("T, 4 objects, 5 points", verdicts("T"), 4, 5, gives=[1, 1, 0, 0, 0]),
                on_paper("T, 4 objects, 11 points", verdicts("T"), 4, 11, gives=[1] * 3 + [0] * 8),
                edge("no answers, 2 objects", verdicts(""), 2, 3, gives=[0, 0, 0]),
                *at_random(some_list, sizes=(7, 1, 2, 60, 0)),
            ),
            without=(
                *("area", "sum", "zero_for_nothing", "reached_only", "always_101", "always_11"),
                "nan_for_no_answers",
            ),
            impostors=(Impostor("mean", "", change={"return tops": "return np.mean(tops)"}),),
        ),
    ),
)

# --- 04.4 ------------------------------------------------------------------------------------------------------


def ap_from_list(answers, objects):
    """AP over all points from answers (score, mark), marks "T", "F" and "-" (ignored), in any order."""
    if objects == 0:
        return float("nan")
    marks = [mark for _, mark in sorted(answers, reverse=True) if mark != "-"]
    precision = [marks[:n].count("T") / n for n in range(1, len(marks) + 1)]
    return sum(max(precision[n:]) for n, mark in enumerate(marks) if mark == "T") / objects


def trapezoid(answers, objects):
    """A wrong answer: the points of the curve joined by straight lines."""
    if objects == 0:
        return float("nan")
    marks = [mark for _, mark in sorted(answers, reverse=True) if mark != "-"]
    area, right, before = 0.0, 0, 1.0
    for n, mark in enumerate(marks, 1):
        right += mark == "T"
        area += (mark == "T") * (right / n + before) / 2 / objects
        before = right / n
    return area


def some_answers(count: int, draw: torch.Generator) -> tuple[list[tuple[float, str]], int]:
    """Answers in any order, no two scores alike."""
    rng = numpy_draw(draw)
    marks = rng.choice(list("TTFF-"), count).tolist()
    scores = (rng.permutation(count) / max(count, 1)).tolist()
    return list(zip(scores, marks, strict=True)), next(n for n in (3, 7, 13, 37) if n >= marks.count("T"))


LESSON_LIST = [(0.95, "T"), (0.9, "F"), (0.8, "T"), (0.7, "F"), (0.6, "F"), (0.4, "T")]

AP_FROM_LIST = Exercise(
    kind="implement",
    reference=ap_from_list,
    number="04.4",
    title="AP from a list",
    stars=2,
    minutes=20,
    points=3,
    goals=(2, 4),
    core=True,
    text="""\
`ap_from_list(answers, objects)`: the exact area under the envelope (all points) of one class. `answers` is a list of
pairs `(score, mark)` **in any order**, with the marks `"T"` (right), `"F"` (wrong) and `"-"` (on a difficult object);
`objects` says how many objects count. No two scores are equal.

Without objects the answer is `nan`; with objects and no answers that count it is 0.""",
    cases=(
        on_paper("T F T F F T of the lesson, 3 objects", LESSON_LIST, 3, gives=13 / 18),
        on_paper("the same list, the least sure first", LESSON_LIST[::-1], 3, gives=13 / 18),
        on_paper("0.2 F, 0.9 T, 1 object", [(0.2, "F"), (0.9, "T")], 1, gives=1),
        on_paper("0.9 F, 0.2 T, 1 object", [(0.9, "F"), (0.2, "T")], 1, gives=0.5),
        on_paper("F T T, 2 objects", [(0.9, "F"), (0.8, "T"), (0.7, "T")], 2, gives=2 / 3),
        on_paper("F F T T T, 3 objects", [(0.9, "F"), (0.8, "F"), (0.7, "T"), (0.6, "T"), (0.5, "T")], 3, gives=0.6),
        on_paper("- T - T, 2 objects", [(0.9, "-"), (0.8, "T"), (0.7, "-"), (0.6, "T")], 2, gives=1),
        on_paper("- F T, 2 objects", [(0.9, "-"), (0.8, "F"), (0.7, "T")], 2, gives=0.25),
        on_paper("one T, 5 objects", [(0.9, "T")], 5, gives=0.2),
        on_paper("T T F, 4 objects", [(0.9, "T"), (0.8, "T"), (0.7, "F")], 4, gives=0.5),
        on_paper("an F, no objects", [(0.9, "F")], 0, gives=NAN),
        on_paper("no answers, 3 objects", [], 3, gives=0),
        edge("no answers, no objects", [], 0, gives=NAN),
        edge("only ignored answers, 2 objects", [(0.9, "-"), (0.8, "-")], 2, gives=0),
        *at_random(some_answers),
    ),
    impostors=(
        Impostor(
            "unsorted",
            "Sort by score first: the same list in another order must give the same AP.",
            change={"sorted(answers, reverse=True)": "answers"},
        ),
        Impostor("ascending", "The *surest* answer comes first.", change={", reverse=True)": ")"}),
        Impostor(
            "ignored_is_wrong",
            "An answer on a difficult object is not wrong: it leaves the list.",
            change={' if mark != "-"]': "]"},
        ),
        Impostor(
            "ignored_is_right",
            "An answer on a difficult object is not right: it leaves the list.",
            change={
                'marks = [mark for _, mark in sorted(answers, reverse=True) if mark != "-"]': (
                    'marks = [mark.replace("-", "T") for _, mark in sorted(answers, reverse=True)]'
                )
            },
        ),
        Impostor(
            "trapezoid", "The curve is a staircase: each step is a rectangle, not a trapezoid.", function=trapezoid
        ),
        Impostor(
            "no_envelope",
            "The envelope is missing: at each recall the *best* precision from there on counts.",
            change={"max(precision[n:])": "precision[n]"},
        ),
        Impostor(
            "one_step_envelope",
            "The envelope was taken over one step: a better precision further on counts as well; go from the end.",
            change={"max(precision[n:])": "max(precision[n : n + 2])"},
        ),
        Impostor(
            "best_so_far",
            "The envelope looks to the right: the best precision from here *on*, not up to here.",
            change={"max(precision[n:])": "max(precision[: n + 1])"},
        ),
        Impostor(
            "nan_for_no_answers",
            "Objects that nobody found can be measured: without answers AP is 0. Only without *objects* it is nan.",
            change={
                "    precision = [": '    if not marks:\n        return float("nan")\n    precision = [',
            },
        ),
        Impostor(
            "objects_found",
            "Recall is over all *objects*: those that were missed count as well.",
            change={"/ objects": '/ max(marks.count("T"), 1)'},
        ),
        Impostor(
            "mean_precision",
            "That is the mean of the precisions after every answer: only those that are right make recall grow.",
            change={
                'sum(max(precision[n:]) for n, mark in enumerate(marks) if mark == "T") / objects': (
                    "sum(precision) / max(len(precision), 1)"
                )
            },
        ),
        Impostor(
            "eleven",
            "That is the 11-point figure: here the exact area is asked for.",
            change={
                'sum(max(precision[n:]) for n, mark in enumerate(marks) if mark == "T") / objects': (
                    "sum(max((p for p, n in zip(precision, range(1, len(marks) + 1)) "
                    'if marks[:n].count("T") / objects >= at / 10), default=0) for at in range(11)) / 11'
                )
            },
        ),
        Impostor(
            "precision",
            "That is the precision of the whole list, not an area.",
            change={
                'sum(max(precision[n:]) for n, mark in enumerate(marks) if mark == "T") / objects': (
                    "precision[-1] if precision else 0.0"
                )
            },
        ),
        Impostor(
            "zero_for_nothing", "Without objects there is nothing to measure: nan.", change={'float("nan")': "0.0"}
        ),
    ),
    hints=(
        "Sort, cross out the marks `-`, and do the lesson's list on paper: three rectangles.",
        "Each `T` makes recall grow by 1 / objects. How high is its rectangle?",
        "`max(precision[n:])` for every place n with a T, added up and divided by objects.",
    ),
    forbidden=("frcnn_lessons.metrics",),
    variants=(
        Variant(
            "eleven_points",
            """\
`ap_from_list(answers, objects)`: AP of one class in VOC's old way, the mean of the envelope's heights at the **11
recalls 0, 0.1, ..., 1**. `answers` is a list of pairs `(score, mark)` **in any order**, with the marks `"T"` (right),
`"F"` (wrong) and `"-"` (on a difficult object); `objects` says how many objects count. No two scores are equal.

Without objects the answer is `nan`; with objects and no answers that count it is 0.""",
            change={
                "AP over all points": "AP over 11 points",
                'return sum(max(precision[n:]) for n, mark in enumerate(marks) if mark == "T") / objects': (
                    'tenths = [10 * marks[:n].count("T") / objects for n in range(1, len(marks) + 1)]\n'
                    "    heights = [[p for p, at in zip(precision, tenths) if at >= tenth] for tenth in range(11)]\n"
                    "    return sum(max(height, default=0) for height in heights) / 11"
                ),
            },
            gives={"T F T F F T of the lesson, 3 objects": 8 / 11, "one T, 5 objects": 3 / 11},
            without=(
                *("trapezoid", "no_envelope", "best_so_far", "objects_found", "mean_precision", "eleven", "precision"),
                "one_step_envelope",
            ),
            impostors=(
                Impostor("area", "That is the exact area; here eleven heights are asked for.", function=ap_from_list),
            ),
        ),
        Variant(
            "no_envelope",
            """\
`ap_from_list(answers, objects)`: the area of one class under the curve **as it is, without the envelope**: each right
answer is 1 / objects wide, and as high as the precision *at* that answer. `answers` is a list of pairs `(score,
mark)` **in any order**, with the marks `"T"` (right), `"F"` (wrong) and `"-"` (on a difficult object); `objects` says
how many objects count. No two scores are equal.

Without objects the answer is `nan`; with objects and no answers that count it is 0.""",
            change={"AP over all points": "AP without the envelope", "max(precision[n:])": "precision[n]"},
            gives={"F T T, 2 objects": 7 / 12, "T F T F F T of the lesson, 3 objects": 13 / 18},
            without=(
                *("no_envelope", "best_so_far", "mean_precision", "eleven", "precision", "trapezoid"),
                "one_step_envelope",
            ),
            impostors=(
                Impostor(
                    "envelope",
                    "That is the area under the envelope; here the precision at each right answer counts.",
                    change={"precision[n] for": "max(precision[n:]) for"},
                ),
            ),
        ),
    ),
)

# --- 04.5 ------------------------------------------------------------------------------------------------------


def mean_ap(aps, objects):
    """Mean AP from the AP of each class, aps {class: AP}, and how many objects count, objects {class: number}."""
    counted = [aps.get(name, 0.0) for name in objects if objects[name] > 0]
    return sum(counted) / len(counted) if counted else float("nan")


def some_classes(_size: int, draw: torch.Generator) -> tuple[dict[str, float], dict[str, int]]:
    """Some classes without objects, some without answers."""
    rng = numpy_draw(draw)
    names = ["bus", "truck", "car", "tram", "van"][: rng.integers(1, 6)]
    objects = {name: int(rng.choice([0, 3, 17, 40])) for name in names}
    aps = {}
    for name in [*names, "boat"]:
        if rng.random() < 0.75:
            nothing = float(rng.choice([-1, NAN, 0.5]))
            aps[name] = float(rng.random()) if objects.get(name, 0) else nothing
    return aps, objects


MEAN_AP = Exercise(
    kind="find the bug",
    reference=mean_ap,
    given="as_given",
    number="04.5",
    title="The mean of which classes?",
    stars=2,
    minutes=10,
    points=2,
    goals=(3, 4),
    core=True,
    text="""\
"We added the class *tram* to the list. No test image shows one, and the score of the same detector fell." Find the
mistake and correct it.

`mean_ap(aps, objects)` gets two dicts by class: `aps` the AP of each class that has one, `objects` how many objects
count. It returns mAP, the plain mean of AP over the classes **that have objects**. A class with objects and without an
AP was never answered: that is an AP of 0. A class without objects is left out, whatever `aps` says of it (some write
`nan`, COCO writes -1), and so is a class that `objects` does not know. If no class has objects, mAP is `nan`.""",
    cases=(
        on_paper("bus 0.8 and truck 0.4", {"bus": 0.8, "truck": 0.4}, {"bus": 30, "truck": 10}, gives=0.6),
        on_paper("bus 0.8, and tram without objects", {"bus": 0.8}, {"bus": 30, "tram": 0}, gives=0.8),
        on_paper("bus 0.8, and 10 trucks never answered", {"bus": 0.8}, {"bus": 30, "truck": 10}, gives=0.4),
        on_paper(
            "bus 0.8, and nan for tram without objects", {"bus": 0.8, "tram": NAN}, {"bus": 30, "tram": 0}, gives=0.8
        ),
        on_paper(
            "bus 0.8, and -1 for tram without objects", {"bus": 0.8, "tram": -1.0}, {"bus": 30, "tram": 0}, gives=0.8
        ),
        on_paper(
            "bus 0.8, and 0.9 for tram without objects", {"bus": 0.8, "tram": 0.9}, {"bus": 30, "tram": 0}, gives=0.8
        ),
        on_paper("bus 0.8, and a class that is not known", {"bus": 0.8, "boat": 0.2}, {"bus": 30}, gives=0.8),
        on_paper("tram without objects alone", {"tram": 0.9}, {"tram": 0}, gives=NAN),
        on_paper("bus with AP 0, and truck 0.4", {"bus": 0.0, "truck": 0.4}, {"bus": 5, "truck": 10}, gives=0.2),
        edge("no classes", {}, {}, gives=NAN),
        *at_random(some_classes),
    ),
    impostors=(
        Impostor(
            "as_given",
            "A class without objects is no failure of the detector: leave it out.",
            change={" if objects[name] > 0": ""},
        ),
        Impostor(
            "only_answered",
            "A class that has objects and was never answered has an AP of 0: it counts.",
            change={"if objects[name] > 0": "if objects[name] > 0 and name in aps"},
        ),
        Impostor(
            "all_that_have_an_ap",
            "Which classes count is said by `objects`, not by `aps`.",
            change={
                "[aps.get(name, 0.0) for name in objects if objects[name] > 0]": "list(aps.values())",
            },
        ),
        Impostor(
            "nan_left_out",
            "Leaving out what is nan hides the nan, but keeps COCO's -1: ask `objects` which classes count.",
            change={
                "[aps.get(name, 0.0) for name in objects if objects[name] > 0]": (
                    "[ap for ap in aps.values() if ap == ap]"
                )
            },
        ),
        Impostor(
            "negative_left_out",
            "Whether a class counts is said by `objects`, not by the AP it has; one that counts and has none has 0.",
            change={
                "[aps.get(name, 0.0) for name in objects if objects[name] > 0]": (
                    "[ap for ap in aps.values() if ap >= 0]"
                )
            },
        ),
        Impostor(
            "positive_only",
            "A class with objects and an AP of 0 counts: leaving it out makes the score look better.",
            change={"if objects[name] > 0": "if objects[name] > 0 and aps.get(name, 0.0) > 0"},
        ),
        Impostor(
            "by_objects",
            "The plain mean: rare classes weigh as much as common ones.",
            change={
                "sum(counted) / len(counted) if counted": (
                    "sum(k * aps.get(n, 0.0) for n, k in objects.items() if k) / sum(objects.values()) if counted"
                )
            },
        ),
        Impostor(
            "by_all_classes",
            "The sum is right; divide it by the number of classes that *count*.",
            change={"/ len(counted)": "/ len(objects)"},
        ),
        Impostor(
            "zero_for_nothing",
            "If no class has objects, there is nothing to measure: nan.",
            change={'float("nan")': "0.0"},
        ),
    ),
    hints=(
        "Which classes does the given function count? Do the case of bus and tram on paper.",
        "Two kinds of classes have no AP: those without objects, and those that were never answered.",
        "Go through `objects`, keep those with more than 0, and take `aps.get(name, 0.0)`.",
    ),
    variants=(
        Variant(
            "at_least_ten",
            """\
"We added the class *tram* to the list. No test image shows one, and the score of the same detector fell." Find the
mistake and correct it; **and leave out every class with fewer than 10 objects**, as a handful is no statistics.

`mean_ap(aps, objects)` gets two dicts by class: `aps` the AP of each class that has one, `objects` how many objects
count. It returns the plain mean of AP over the classes that have **at least 10** objects. One of them without an AP
was never answered: that is an AP of 0. All other classes are left out, whatever `aps` says of them. If no class has
10 objects, the answer is `nan`.""",
            change={"objects[name] > 0": "objects[name] >= 10"},
            gives={"bus with AP 0, and truck 0.4": 0.4, "bus 0.8, and tram without objects": 0.8},
            without=(
                *("as_given", "only_answered", "positive_only", "by_objects"),
                *("all_that_have_an_ap", "nan_left_out", "negative_left_out"),
            ),
            impostors=(
                Impostor(
                    "as_given",
                    "A class without objects, or with a handful, is left out.",
                    change={" if objects[name] >= 10": ""},
                ),
                Impostor(
                    "any_object",
                    "Fewer than 10 objects are too few here.",
                    change={"objects[name] >= 10": "objects[name] > 0"},
                ),
                Impostor(
                    "more_than_ten",
                    "Exactly 10 objects are enough.",
                    change={"objects[name] >= 10": "objects[name] > 10"},
                ),
            ),
        ),
        Variant(
            "worst_class",
            """\
"We added the class *tram* to the list. No test image shows one, and the score of the same detector fell." Find the
mistake and correct it; **and return the AP of the worst class that counts**, not the mean.

`mean_ap(aps, objects)` gets two dicts by class: `aps` the AP of each class that has one, `objects` how many objects
count. Only classes **that have objects** count. A class with objects and without an AP was never answered: that is an
AP of 0. A class without objects is left out, whatever `aps` says of it, and so is a class that `objects` does not
know. If no class has objects, the answer is `nan`.""",
            change={"Mean AP from": "The worst AP from", "sum(counted) / len(counted)": "min(counted)"},
            gives={"bus 0.8 and truck 0.4": 0.4, "bus 0.8, and tram without objects": 0.8},
            without=("by_objects", "by_all_classes"),
            impostors=(
                Impostor(
                    "mean",
                    "That is the mean; the worst is asked for.",
                    change={"min(counted)": "sum(counted) / len(counted)"},
                ),
                Impostor("best", "That is the best; the worst is asked for.", change={"min(counted)": "max(counted)"}),
            ),
        ),
    ),
)

# --- 04.6 ------------------------------------------------------------------------------------------------------


def lowest_threshold(scores, right, precision):
    """The lowest score t such that of all answers with a score >= t at least this share is right; None for none."""
    found = None
    for t in sorted(set(scores), reverse=True):
        kept = [one for score, one in zip(scores, right, strict=True) if score >= t]
        if sum(kept) / len(kept) >= precision:
            found = t
    return found


def stops_early(scores, right, precision):
    """A wrong answer: it stops where precision falls below for the first time."""
    found = None
    for t in sorted(set(scores), reverse=True):
        kept = [one for score, one in zip(scores, right, strict=True) if score >= t]
        if sum(kept) / len(kept) < precision:
            break
        found = t
    return found


def one_by_one(scores, right, precision):
    """A wrong answer: equal scores are told apart."""
    found, hits = None, 0
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    for n, i in enumerate(order, 1):
        hits += right[i]
        if hits / n >= precision:
            found = scores[i]
    return found


def as_they_came(scores, right, precision):
    """A wrong answer: not sorted by score."""
    found, hits = None, 0
    for n, (score, one) in enumerate(zip(scores, right, strict=True), 1):
        hits += one
        if hits / n >= precision:
            found = score
    return found


def some_scores(count: int, draw: torch.Generator) -> tuple[list[float], list[bool], float]:
    """Answers with scores of which many are equal."""
    rng = numpy_draw(draw)
    scores = (rng.integers(1, 10, count) / 10).tolist()
    return scores, [bool(rng.random() < score) for score in scores], float(rng.choice([0.5, 0.625, 0.75]))


LOWEST_THRESHOLD = Exercise(
    kind="implement",
    reference=lowest_threshold,
    number="04.6",
    title="Where to stop",
    stars=2,
    minutes=15,
    points=3,
    goals=(3,),
    core=False,
    text="""\
A user wants to believe at least so many of the answers that are shown, and to miss as little as possible.
`lowest_threshold(scores, right, precision)`: `scores` is a list of numbers in any order, `right` a list of `True` and
`False`. Return the **lowest** score `t` of the list such that of the answers with a score of **at least t** at least
this share is right; `None` if there is no such score. Answers with the same score stand or fall together.""",
    cases=(
        on_paper(
            "0.9 T, 0.8 T, 0.7 F, 0.6 T at 0.75", [0.9, 0.8, 0.7, 0.6], [True, True, False, True], 0.75, gives=0.6
        ),
        on_paper("0.9 T, 0.8 F at 0.75", [0.9, 0.8], [True, False], 0.75, gives=0.9),
        on_paper("0.9 T, 0.8 F at 0.5", [0.9, 0.8], [True, False], 0.5, gives=0.8),
        on_paper("0.6 T, 0.9 F, 0.8 T at 0.5", [0.6, 0.9, 0.8], [True, False, True], 0.5, gives=0.6),
        on_paper("0.5 F, 0.9 T, 0.7 T at 0.75", [0.5, 0.9, 0.7], [False, True, True], 0.75, gives=0.7),
        on_paper("three of 0.9, T F F, at 0.5", [0.9, 0.9, 0.9], [True, False, False], 0.5, gives=None),
        on_paper("0.9 T, two of 0.7, T F, at 0.75", [0.9, 0.7, 0.7], [True, True, False], 0.75, gives=0.9),
        on_paper("0.9 F, 0.8 T at 0.75", [0.9, 0.8], [False, True], 0.75, gives=None),
        on_paper("0.9 T, 0.8 T, 0.7 T at 1", [0.9, 0.8, 0.7], [True, True, True], 1.0, gives=0.7),
        edge("no answers", [], [], 0.5, gives=None),
        *at_random(some_scores),
    ),
    impostors=(
        Impostor(
            "stops_early",
            "Precision may come back: go on to the end of the list.",
            function=stops_early,
        ),
        Impostor(
            "highest",
            "The *lowest* such score is asked for: it shows the most answers.",
            change={
                "if sum(kept) / len(kept) >= precision:": "if found is None and sum(kept) / len(kept) >= precision:"
            },
        ),
        Impostor(
            "cuts_ties",
            "Answers with the same score stand or fall together: whoever sets 0.9 gets all three.",
            function=one_by_one,
        ),
        Impostor("unsorted", "The scores come in any order: sort them first.", function=as_they_came),
        Impostor(
            "above_t",
            "Answers with a score of exactly t are shown as well.",
            change={"if score >= t]": "if score > t] or [0]"},
        ),
        Impostor(
            "above_precision",
            "At least: a precision of exactly what is asked for is enough.",
            change={">= precision": "> precision"},
        ),
        Impostor(
            "recall",
            "That is recall; precision is the share of the *shown answers* that are right.",
            change={"sum(kept) / len(kept)": "sum(kept) / max(sum(right), 1)"},
        ),
        Impostor(
            "lowest_of_all",
            "That is the lowest score of all, whatever the precision there.",
            change={"if sum(kept) / len(kept) >= precision:": "if True:"},
        ),
        Impostor("zero_for_none", "If no score will do, return None.", change={"found = None": "found = 0.0"}),
        Impostor("one_for_none", "If no score will do, return None.", change={"found = None": "found = 1.0"}),
    ),
    hints=(
        "Write the list of the first case down, sorted, with the precision after each answer.",
        "Try every score that occurs as a threshold; which of those that will do is the lowest?",
        "`for t in sorted(set(scores), reverse=True)`: keep those with `score >= t`, compare, remember t, go on.",
    ),
    forbidden=("frcnn_lessons.metrics",),
)

# --- 04.7 ------------------------------------------------------------------------------------------------------


def both_figures(letters: Any) -> tuple[float, float]:
    """The exact area and the 11-point figure of a list of T and F, with four objects."""
    text = "".join(map(str, letters)).upper()
    if not text or set(text) - set("TF") or text.count("T") > 4:
        raise ValueError("a list holds letters T and F, and at most four T, as there are four objects")
    curve = metrics.precision_recall(verdicts(text), 4)
    return metrics.average_precision(*curve), metrics.average_precision(*curve, kind="11")


def eleven_less_area(letters: Any) -> float:
    """By how much the 11-point figure of a list is above the exact area."""
    area, eleven = both_figures(letters)
    return eleven - area


def draw_lists(inputs: tuple[Any, ...], _expected: Any, _got: Any) -> None:
    """The envelope of each list, its eleven heights and both figures."""
    _, axes = plt.subplots(1, 3, figsize=(9.6, 2.9), sharey=True)
    for ax, (name, letters) in zip(axes, inputs[0].items(), strict=True):
        area, eleven = both_figures(letters)
        precision, recall = metrics.precision_recall(verdicts("".join(letters).upper()), 4)
        heights = metrics.envelope(precision)
        ax.step([0, *recall], [heights[0], *heights], color=plots.BLUE)
        places = np.linspace(0, 1, 11)
        tops = [max(precision[recall >= place], default=0) for place in places]
        ax.vlines(places, 0, tops, color=plots.ORANGE, lw=2)
        ax.plot(places, tops, "s", color=plots.ORANGE, ms=4)
        ax.set(xlim=(-0.03, 1.03), ylim=(0, 1.1), xlabel="recall")
        ax.set_title(f"{name}: area {area:.3f}, 11 points {eleven:.3f}", fontsize=9)
    axes[0].set_ylabel("best precision from here on")


TWO_LISTS = Exercise(
    kind="complete the picture",
    name="two_lists",
    number="04.7",
    title="Eleven points against the area",
    stars=2,
    minutes=12,
    points=2,
    goals=(2,),
    core=False,
    text="""\
There are **four objects**. Give three lists of answers, the surest first, in letters `T` and `F`:

- `"high"`: 4 to 6 answers, whose 11-point figure is *above* the exact area by at least 0.04;
- `"low"`: 4 to 6 answers, whose 11-point figure is *below* the exact area by at least 0.02;
- `"half"`: 8 answers, all four objects found, and both figures exactly 1/2.

There are several right answers.""",
    answer={"high": "TTFF", "low": "TTTF", "half": "FTFTFTFT"},
    stub='{"high": ..., "low": ..., "half": ...}',
    cases=(
        on_paper("high: it is 4 to 6 long", gives=True, experiment=lambda value: 4 <= len(value()["high"]) <= 6),
        on_paper(
            "high: the 11-point figure less the area (0.04 is enough)",
            gives=0.04,
            experiment=lambda value: min(eleven_less_area(value()["high"]), 0.04),
        ),
        on_paper("low: it is 4 to 6 long", gives=True, experiment=lambda value: 4 <= len(value()["low"]) <= 6),
        on_paper(
            "low: the area less the 11-point figure (0.02 is enough)",
            gives=0.02,
            experiment=lambda value: min(-eleven_less_area(value()["low"]), 0.02),
        ),
        on_paper("half: its length", gives=8, experiment=lambda value: len(value()["half"])),
        on_paper(
            "half: objects found",
            gives=4,
            experiment=lambda value: "".join(map(str, value()["half"])).upper().count("T"),
        ),
        on_paper("half: area and 11 points", gives=(0.5, 0.5), experiment=lambda value: both_figures(value()["half"])),
    ),
    impostors=(
        Impostor(
            "high_all_found",
            "All four are found at once, so both figures are 1. Look at what lies between the last recall that is "
            "reached and the next tenth.",
            answer={"high": "TTTT", "low": "TTTF", "half": "FTFTFTFT"},
        ),
        Impostor(
            "exchanged",
            "The two are exchanged.",
            answer={"high": "TTTF", "low": "TTFF", "half": "FTFTFTFT"},
        ),
        Impostor(
            "half_found",
            "Half of the objects is not half of the precision: all four are to be found.",
            answer={"high": "TTFF", "low": "TTTF", "half": "TTFFFFFF"},
        ),
        Impostor(
            "half_late",
            "The envelope lifts what comes before a good stretch: here the best precision is at the first answer, not "
            "at the last.",
            answer={"high": "TTFF", "low": "TTTF", "half": "TFTFTFTF"},
        ),
    ),
    hints=(
        "With four objects recall is 1/4, 1/2, 3/4 or 1. How many of the eleven places lie up to each of them?",
        "Up to recall 1/2 lie 6 of 11 places, which is more than half; up to 3/4 lie 8 of 11, which is less than 3/4.",
        "high: two found, all at once. low: three found. half: precision 1/2 after the second, fourth ... answer.",
    ),
    draw=draw_lists,
)

# --- 04.8 ------------------------------------------------------------------------------------------------------

ONE_POINT_BETTER = Exercise(
    kind="explain",
    name="one_point_better",
    number="04.8",
    title="One point better",
    stars=2,
    minutes=10,
    points=2,
    goals=(3,),
    core=True,
    text="""\
Paper A reports an AP of 41.2, paper B an AP50 of 61.0, both on COCO. On 100 street images, your detector has an AP50
of 0.62; last week's had 0.63. Which comparisons may you make, and what would you do before you say "better"? (At most
120 words.)""",
    answer="""\
A and B do not compare: COCO's AP is the mean over ten IoUs, AP50 one of them. Neither compares with mine, which is on
other images. Only my two detectors do, on the same images by the same rules (all points, difficult left out, no +1).
But 100 images are a sample: redrawn test sets give scores some points apart, so one point means nothing yet. I would
redraw the images for both detectors together (the bootstrap) and look how often the difference keeps its sign, or
take more images; and I would look at pictures of what goes wrong.""",
    guide="""\
1 point: AP and AP50 do not compare, nor do scores on different images; the two of the same images do. 1 point: 100
images are a sample; redraw them (bootstrap), best for both detectors together, or measure on more. Half a point for
conventions alone (11 points, difficult, +1).""",
    hints=(
        "What is behind the two letters AP in COCO, and what behind AP50?",
        "How far apart were two scores of the *same* detector on redrawn test images?",
        "Lesson 04, 'What a score does not say' and 'Who measures how'.",
    ),
)

# --- 04.9 ------------------------------------------------------------------------------------------------------


def catch_the_evaluator(evaluate):
    """True if `evaluate(predictions, targets)`, mAP at IoU 0.5 by VOC's rule over all points, is wrong."""

    def answers(*rows):  # of one image: (x1, y1, x2, y2, score, label)
        table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        return {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5].long()}

    def objects(*rows):  # of one image: (x1, y1, x2, y2, label, difficult)
        table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        return {"boxes": table[:, :4], "labels": table[:, 4].long(), "difficult": table[:, 5] > 0}

    p, q, r = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
    scenes = [
        # an object found twice, another one not at all
        ([answers((*p, 0.9, 1), (*p, 0.8, 1))], [objects((*p, 1, 0), (*q, 1, 0))], 0.5),
        # the wrong answer is in the first image, and less sure
        ([answers((*q, 0.3, 1)), answers((*p, 0.9, 1))], [objects((*r, 1, 1)), objects((*p, 1, 0))], 1),
        # a difficult object is missed; a difficult object is found
        ([answers((*p, 0.9, 1))], [objects((*p, 1, 0), (*q, 1, 1))], 1),
        ([answers((*q, 0.9, 1), (*p, 0.8, 1))], [objects((*p, 1, 0), (*q, 1, 1))], 1),
        # an IoU of 0.475, and of exactly 0.5
        ([answers((0, 0, 4, 1.9, 0.9, 1))], [objects((0, 0, 4, 4, 1, 0))], 0),
        ([answers((0, 0, 10, 5, 0.9, 1))], [objects((*p, 1, 0))], 1),
        # the teeth of the curve: F T T
        ([answers((*r, 0.9, 1), (*p, 0.8, 1), (*q, 0.7, 1))], [objects((*p, 1, 0), (*q, 1, 0))], 2 / 3),
        # a class that is answered and has no object
        ([answers((*p, 0.9, 1), (*q, 0.8, 2))], [objects((*p, 1, 0))], 1),
        # the right place with another class's label
        ([answers((*q, 0.9, 1), (*p, 0.8, 1))], [objects((*p, 1, 0), (*q, 2, 0))], 0.25),
    ]
    return any(abs(float(evaluate(given, truth)) - expected) > 1e-4 for given, truth, expected in scenes)


def evaluate_slowly(predictions, targets):
    """Mean AP at IoU 0.5 by VOC's rule; the faulty ones of this exercise are made from it."""
    aps = []
    for label in sorted({int(k) for t in targets for k in t["labels"][~t["difficult"]]}):
        objects, found, marks, answers = 0, set(), [], []
        for image, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
            objects += int(((target["labels"] == label) & ~target["difficult"]).sum())
            rows = zip(prediction["scores"].tolist(), prediction["labels"].tolist(), prediction["boxes"], strict=True)
            answers += [(score, image, box) for score, name, box in rows if name == label]
        for _, image, box in sorted(answers, key=lambda answer: -answer[0]):
            target = targets[image]
            overlaps = boxes.iou(box[None], target["boxes"])[0] * (target["labels"] == label)
            best = int(overlaps.argmax()) if len(overlaps) else -1
            if best < 0 or overlaps[best] < 0.5:
                marks.append(0)
            elif not target["difficult"][best]:
                marks.append(int((image, best) not in found))
                found.add((image, best))
        precision = [sum(marks[:n]) / n for n in range(1, len(marks) + 1)]
        aps.append(sum(max(precision[n:]) for n, mark in enumerate(marks) if mark) / max(objects, 1))
    return sum(aps) / len(aps) if aps else NAN


def _spoilt(label: str, change: dict[str, str]) -> Case:
    return faulty(label, edited(evaluate_slowly, change, label))


def of_the_course(predictions, targets):
    """Mean AP as the course computes it."""
    return metrics.evaluate_voc(predictions, targets).mean_ap


def one_image_only(evaluate):
    """A weak test: one image, one class, one answer."""
    box = tensor([[0.0, 0, 10, 10]])  # half of it is answered: an IoU of exactly 0.5
    given = {"boxes": tensor([[0.0, 0, 10, 5]]), "scores": tensor([0.9]), "labels": tensor([1])}
    truth = {"boxes": box, "labels": tensor([1]), "difficult": tensor([False])}
    return abs(float(evaluate([given], [truth])) - 1) > 1e-4


def exact_figures(evaluate):
    """A test that is too strict: it compares with `==`."""
    box = tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    given = {"boxes": box, "scores": tensor([0.7, 0.8, 0.9]), "labels": tensor([1, 1, 1])}
    truth = {"boxes": box[[0, 0, 2]] + tensor([[0.0], [100], [0]]), "labels": tensor([1, 1, 1])}
    truth["difficult"] = tensor([False, False, False])
    return float(evaluate([given], [truth])) != 5 / 9


CATCH_THE_EVALUATOR = Exercise(
    kind="catch the mistake",
    reference=catch_the_evaluator,
    number="04.9",
    title="Catch the mistake: the evaluator",
    stars=3,
    minutes=30,
    points=3,
    goals=(4,),
    core=False,
    text="""\
Write the *test*. `catch_the_evaluator(evaluate)` gets a function `evaluate(predictions, targets)` that should return
mAP as one number: IoU at least 0.5, VOC's rule, all points, difficult objects left out, the mean over the classes that
have objects. Both arguments are lists with a dict of tensors for each image, as in the lesson: `boxes` `(D, 4)`,
`scores` `(D,)` and `labels` `(D,)`; `boxes` `(K, 4)`, `labels` `(K,)` and `difficult` `(K,)`, `True` or `False`.
Return `True` if the function is wrong, else `False`.

It is tried on two right functions, the course's and a slow one whose last digits differ, which it must accept, and on
eight faulty ones.""",
    cases=(
        right("the course's", of_the_course),
        right("a slow one", evaluate_slowly),
        _spoilt("an object is found twice", {"int((image, best) not in found)": "1"}),
        _spoilt("a less sure answer lies in an earlier image", {"-answer[0])": "(answer[1], -answer[0]))"}),
        _spoilt(
            "an object is difficult",
            {' & ~target["difficult"]': "", 'elif not target["difficult"][best]:': "else:"},
        ),
        _spoilt(
            "IoU is just below 0.5", {'(box[None], target["boxes"])': '(box[None] + PLUS, target["boxes"] + PLUS)'}
        ),
        _spoilt("precision rises again", {"max(precision[n:])": "precision[n]"}),
        _spoilt("IoU is exactly 0.5", {"< 0.5": "<= 0.5"}),
        _spoilt(
            "a class has answers and no objects",
            {
                'for k in t["labels"][~t["difficult"]]}': 'for k in t["labels"]}',
                "for t in targets": "for t in predictions + targets",
            },
        ),
        _spoilt("an answer lies on an object of another class", {' * (target["labels"] == label)': ""}),
    ),
    impostors=(
        Impostor(
            "one_answer",
            "One answer in one image shows little: what of two answers on one object, or of a second image?",
            function=one_image_only,
        ),
        Impostor(
            "too_strict",
            "Compare with a tolerance: the last digits of two right functions differ.",
            function=exact_figures,
        ),
        Impostor("accuses_all", "It calls every function wrong.", function=lambda evaluate: evaluate is not None),
        Impostor("accepts_all", "It accepts every function that it is tried on.", function=lambda _: False),
    ),
    hints=(
        "The lesson names three ways to get it wrong, and the +1. For each, find a scene on paper whose mAP changes.",
        "Small scenes with one or two images: an object found twice, a wrong answer in the first image that is less "
        "sure, a difficult object missed, IoU exactly 0.5 and just below.",
        "Also F T T with two objects, a class without objects, and an answer on an object of another class. Compare "
        "with `abs(got - expected) > 1e-4`.",
    ),
)

# --- 04.10 -----------------------------------------------------------------------------------------------------


def three_figures(answers, objects, iou):
    """AP over all points by VOC's rule, wrong answers and recall at scores of at least 0.5, of 04.10's data."""
    marks, found = [], set()
    for row in sorted(range(len(answers)), key=lambda row: -answers[row][-1]):
        score, best = answers[row][-1], int(iou[row].argmax())
        if iou[row, best] < 0.5:
            marks.append((score, 0))
        elif not objects[best][5]:
            marks.append((score, int(best not in found)))
            found.add(best)
    count = sum(not one[5] for one in objects)
    verdicts = [mark for _, mark in marks]
    precision = [sum(verdicts[:n]) / n for n in range(1, len(verdicts) + 1)]
    ap = sum(max(precision[n:]) for n, mark in enumerate(verdicts) if mark) / count
    sure = [mark for score, mark in marks if score >= 0.5]
    return ap, sure.count(0), sum(sure) / count


AP_OF_THREE = "sum(max(precision[n:]) for n, mark in enumerate(verdicts) if mark) / count"
WRONG_FIGURES = (  # name, hint, and what to change in `three_figures`
    ("twice", "An object is found once: a second answer on it is wrong.", {"int(best not in found)": "1"}),
    (
        "difficult_counts",
        "Difficult objects leave the count, and answers on them are neither right nor wrong.",
        {"elif not objects[best][5]:": "else:", "sum(not one[5] for one in objects)": "len(objects)"},
    ),
    (
        "difficult_is_wrong",
        "An answer on a difficult object is not right, but not wrong either.",
        {"elif not objects[best][5]:": "elif objects[best][5]:\n            marks.append((score, 0))\n        else:"},
    ),
    (
        "difficult_is_missed",
        "Difficult objects leave the count of objects, too: they cannot be missed.",
        {"sum(not one[5] for one in objects)": "len(objects)"},
    ),
    (
        "unsorted",
        "The surest answer of all images comes first, not the first in the list.",
        {"sorted(range(len(answers)), key=lambda row: -answers[row][-1])": "range(len(answers))"},
    ),
    (
        "no_envelope",
        "The envelope is missing in AP: at each recall the *best* precision from there on counts.",
        {"max(precision[n:])": "precision[n]"},
    ),
    (
        "eleven_points",
        "The AP is the 11-point figure; all points are asked for.",
        {
            AP_OF_THREE: "sum(max((p for n, p in enumerate(precision, 1) if sum(verdicts[:n]) / count >= at / 10), "
            "default=0) for at in range(11)) / 11"
        },
    ),
    (
        "all_scores",
        "The second and the third figure are of answers with a score of at least 0.5 alone.",
        {"for score, mark in marks if score >= 0.5": "for _, mark in marks"},
    ),
    (
        "any_overlap",
        "An answer needs an IoU of at least 0.5 with its object.",
        {"iou[row, best] < 0.5": "iou[row, best] == 0"},
    ),
)
ALL_FIGURES = (three_figures, *(edited(three_figures, change, f"04.10: {name}") for name, _, change in WRONG_FIGURES))


def some_scenes(rng: np.random.Generator) -> tuple[list[tuple[float, ...]], list[tuple[int, ...]]]:
    """Answers and objects of ten images: near hits, second answers, loose boxes, and answers on nothing."""
    answers: list[tuple[int, ...]] = []
    objects: list[tuple[int, ...]] = []

    def answer(image: int, box: np.ndarray, most: int) -> None:
        answers.append((image, *(box + rng.integers(-most, most + 1, 4)).tolist()))

    for image in range(10):
        for place in range(rng.integers(1, 4)):
            corner = np.array([14 + 70 * place, 14]) + rng.integers(0, 20, 2)
            box = np.concatenate([corner, corner + rng.integers(24, 44, 2)])
            objects.append((image, *box.tolist(), int(rng.random() < 0.15)))
            for chance, most in ((0.8, 3), (0.3, 4), (0.3, 10)):
                if rng.random() < chance:
                    answer(image, box, most)
        if rng.random() < 0.5:
            answer(image, np.array([20, 90, 50, 120]), 8)
    order = rng.permutation(len(answers))
    scores = rng.choice(np.setdiff1d(np.arange(100, 1000), [500]), len(answers), replace=False) / 1000  # no ties
    return [(*answers[i], float(score)) for i, score in zip(order, scores, strict=True)], objects


OWN_TEXT = """\
A detector has looked for buses in ten images. The cell below holds its answers and the objects, a row each; boxes are
`xyxy`, in pixels. In a graded course these rows can be yours alone.

By VOC's rule at IoU 0.5, with difficult objects left out, set `own_detector` to three numbers:

1. AP over all points;
2. how many of the answers with a **score of at least 0.5** are wrong;
3. recall with these answers alone.

Compute them as you like, with `frcnn_lessons.metrics` or with functions of your own. Type the numbers in (three
decimals are enough), or let this very cell compute them."""


def own_detector_of(number: int) -> Variant:
    """The data of a number and what is right for them; drawn until every known mistake shows in a figure."""
    rng = np.random.default_rng(number)
    while True:
        answers, objects = some_scenes(rng)
        given, truth = torch.tensor(answers), torch.tensor(objects)
        iou = boxes.iou(given[:, 1:5], truth[:, 1:5].float()) * (given[:, :1] == truth[:, 0])  # none across images
        figures = [function(answers, objects, iou.numpy()) for function in ALL_FIGURES]
        if all(max(abs(a - b) for a, b in zip(*two, strict=True)) > 0.01 for two in itertools.combinations(figures, 2)):
            break
    return Variant(
        str(number),
        OWN_TEXT,
        data="\n".join(
            [
                *("# image, x1, y1, x2, y2, score", *_rows("own_answers", answers)),
                *("# image, x1, y1, x2, y2, difficult (1) or not (0)", *_rows("own_objects", objects)),
            ]
        ),
        answer=figures[0],
        without=[name for name, _, _ in WRONG_FIGURES],
        impostors=[
            Impostor(name, hint, answer=wrong)
            for (name, hint, _), wrong in zip(WRONG_FIGURES, figures[1:], strict=True)
        ],
    )


def _rows(name: str, rows: list[tuple[Any, ...]]) -> list[str]:
    text = textwrap.wrap(", ".join(f"({', '.join(map(str, row))})".replace(" ", "~") for row in rows), 96)
    return [f"{name} = [", *(f"    {line}".replace("~", " ") for line in text), "]"]


AS_PUBLISHED = own_detector_of(0)

OWN_DETECTOR = Exercise(
    kind="measure",
    name="own_detector",
    number="04.10",
    title="A detector of your own",
    stars=2,
    minutes=15,
    points=3,
    goals=(1, 2, 4),
    core=True,
    text=OWN_TEXT,
    data=AS_PUBLISHED.data,
    answer=AS_PUBLISHED.answer,
    stub="(..., ..., ...)",
    tolerance=1e-3,
    cases=parts("AP over all points", "wrong answers with a score of at least 0.5", "recall with these answers"),
    impostors=AS_PUBLISHED.impostors,
    hints=(
        "First a list of all answers of all images, the surest first, each right, wrong or neither.",
        "`metrics.evaluate_voc` wants a dict for each image: sort the rows by their first number. AP is its `mean_ap`.",
        "Leave out the answers with a lower score and count again: wrong ones, and the objects that were found.",
    ),
    drawn=own_detector_of,
)

EXERCISES: tuple[Exercise, ...] = (
    VERDICTS_BY_HAND,
    MATCH_NEXT_BEST,
    AP_INTERPOLATED,
    AP_FROM_LIST,
    MEAN_AP,
    LOWEST_THRESHOLD,
    TWO_LISTS,
    ONE_POINT_BETTER,
    CATCH_THE_EVALUATOR,
    OWN_DETECTOR,
)
