"""What the metrics take, and what they refuse: a figure of bad input is wrong without a word."""

import re

import numpy as np
import pytest
import torch

from frcnn_lessons.metrics import (
    average_recall,
    diagnose,
    evaluate_coco,
    evaluate_voc,
    match_detections,
    proposal_recall,
)

# Whoever calls the metrics does so without the tests' shape checker.
pytestmark = pytest.mark.usefixtures("unchecked")

BOXES = [[0, 0, 10, 10], [40, 0, 50, 20], [80, 0, 90, 10]]
FOUND = {"boxes": [[0, 0, 10, 9], [40, 0, 50, 20], [0, 50, 9, 60]], "labels": [1, 2, 1], "scores": [0.9, 0.8, 0.7]}
THERE = {"boxes": BOXES, "labels": [1, 2, 1], "difficult": [False, True, False], "iscrowd": [0, 0, 0]}
NOTHING_FOUND = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "scores": torch.zeros(0)}
NOTHING_THERE = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
EVALUATIONS = [evaluate_voc, evaluate_coco, diagnose, match_detections]


def as_tensors(record):
    return {key: torch.tensor(value) for key, value in record.items()}


def figures(predictions, targets):
    """Everything that the metrics say of them."""
    recall = proposal_recall([found["boxes"] for found in predictions], targets, [1, 3])
    voc = evaluate_voc(predictions, targets).mean_ap
    return [evaluate_coco(predictions, targets), voc, diagnose(predictions, targets), recall.tolist()]


# --- taken -------------------------------------------------------------------------------------------------------

KINDS = {
    "lists": lambda value: value,
    "tuples": lambda value: tuple(tuple(row) if isinstance(row, list) else row for row in value),
    "arrays": np.array,
    "arrays of float32": lambda value: np.array(value, dtype=np.float32),
    "arrays of objects of their own": lambda value: [*np.array(value)],
    "tensors of float64": lambda value: torch.tensor(value, dtype=torch.float64),
    "tensors with a gradient": lambda value: torch.tensor(value, dtype=torch.float32, requires_grad=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_arrays_give_what_tensors_give(kind):
    expected = figures([as_tensors(FOUND)], [as_tensors(THERE)])
    found, there = ({key: KINDS[kind](value) for key, value in record.items()} for record in (FOUND, THERE))
    assert figures([found], [there]) == expected
    assert figures((found,), (there,)) == expected


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16])
def test_labels_boxes_and_flags_may_be_of_any_kind_of_number(dtype):
    found, there = as_tensors(FOUND), as_tensors(THERE)
    expected = figures([found], [there])
    for record, keys in ((found, ("labels", "boxes")), (there, ("labels", "boxes", "difficult", "iscrowd"))):
        for key in keys:
            record[key] = record[key].to(dtype)
    assert figures([found], [there]) == expected


def test_numbers_that_numpy_does_not_have_are_taken():
    found = as_tensors(FOUND)
    half = {**found, "boxes": found["boxes"].bfloat16(), "scores": found["scores"].bfloat16()}
    assert figures([half], [as_tensors(THERE)]) == figures([found], [as_tensors(THERE)])


def test_an_image_without_anything_may_be_given_as_empty_lists():
    nothing = {"boxes": [], "labels": [], "scores": []}
    assert match_detections([nothing], [nothing]) == {}
    assert evaluate_voc([nothing], [THERE]).mean_ap == 0
    assert proposal_recall([[]], [THERE], [10]).tolist() == [0]


def test_an_optional_key_that_is_none_is_as_good_as_missing():
    # As data sets write it that do not know which objects are difficult.
    bare = {key: THERE[key] for key in ("boxes", "labels")}
    expected = figures([FOUND], [bare])
    assert figures([FOUND], [{**bare, "difficult": None, "iscrowd": None, "area": None}]) == expected


def test_optional_keys_may_be_there_in_some_images_only():
    bare = {key: THERE[key] for key in ("boxes", "labels")}
    matches = match_detections([FOUND, FOUND], [bare, THERE])
    assert (matches[1].objects, matches[2].objects) == (4, 1)
    kinds = diagnose([FOUND, FOUND], [bare, THERE])
    assert kinds == [["correct", "correct", "background"], ["correct", "ignored", "background"]]


def test_what_is_given_is_left_as_it_was():
    found = {key: np.array(value) for key, value in FOUND.items()}
    before = {key: value.copy() for key, value in found.items()}
    figures([found], [THERE])
    for key, value in found.items():
        assert (value == before[key]).all()
        assert value.dtype == before[key].dtype


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("labels", torch.tensor([1, 1.5, 1]), "labels must be whole numbers; row 1 has 1.5"),
        ("labels", [1.0, 2.0, float("nan")], "labels must be whole numbers; row 2 has nan"),
        ("labels", np.array([np.inf, 1, 1]), "labels must be whole numbers; row 0 has inf"),
        ("labels", [1e300, 1, 1], "labels must be whole numbers; row 0 has 1e+300"),
        ("labels", [1, -2, 1], "labels must be 1 or more (0 is background, which is not an object); row 1 has -2"),
        ("labels", ["car", "bus", "car"], "labels must be whole numbers, in a tensor, an array or a list; got ['car'"),
        ("labels", [True, True, False], "labels must be whole numbers, in a tensor"),
        ("labels", torch.tensor([True, True, True]), "labels must be whole numbers, in a tensor"),
        ("labels", None, "labels must be whole numbers, in a tensor, an array or a list; got None"),
        ("labels", "111", "labels must be whole numbers, in a tensor"),
        ("labels", [1, 2], "needs boxes (N, 4) and labels"),
        ("labels", 1, "'labels': ()"),
        ("labels", [[1], [2], [1]], "'labels': (3, 1)"),
        ("boxes", None, "boxes must be numbers, in a tensor, an array or a list; got None"),
        ("boxes", "0 0 9 9", "boxes must be numbers"),
        ("boxes", [["0", "0", "9", "9"]] * 3, "boxes must be numbers"),
        ("boxes", [[0, 0, 9, 9], [0, 0, 9], [0, 0, 9, 9]], "boxes must be numbers"),
        ("boxes", torch.zeros(3, 4, dtype=torch.complex64), "boxes must be numbers"),
        ("boxes", torch.zeros(3, 4).to_sparse(), "boxes must be numbers"),
        ("boxes", np.zeros((3, 4), dtype=object), "boxes must be numbers"),
        ("boxes", [0, 0, 9, 9], "'boxes': (4,)"),
        ("boxes", np.zeros((3, 5)), "'boxes': (3, 5)"),
        ("boxes", np.zeros((1, 3, 4)), "'boxes': (1, 3, 4)"),
        ("boxes", [[0, 0, 9, 9], [9, 0, 0, 9], [0, 0, 9, 9]], "x2 >= x1 and y2 >= y1; row 1 is [9.0, 0.0, 0.0, 9.0]"),
        ("boxes", [[0, 0, 9, float("inf")]] * 3, "boxes must be finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["predictions", "targets"])
@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_what_boxes_and_labels_cannot_be_is_refused_with_the_image_named(evaluate, side, key, value, words):
    predictions, targets = [NOTHING_FOUND, FOUND], [NOTHING_THERE, THERE]
    lists = {"predictions": predictions, "targets": targets}
    lists[side][1] = {**lists[side][1], key: value}
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        evaluate(**lists)
    assert f"{side}[1]" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("difficult", [True], "difficult must have shape (3,), one for each box; got (1,)"),
        ("difficult", torch.zeros(3, 1), "difficult must have shape (3,), one for each box; got (3, 1)"),
        ("difficult", True, "difficult must have shape (3,), one for each box; got ()"),
        ("difficult", [0, 2, 0], "difficult must be True or False, or 1 or 0; row 1 has 2"),
        ("difficult", [0, 0.5, 0], "difficult must be True or False, or 1 or 0; row 1 has 0.5"),
        ("difficult", [0, 0, float("nan")], "difficult must be True or False, or 1 or 0; row 2 has nan"),
        ("difficult", ["0", "1", "0"], "difficult must be True or False, or 1 or 0, in a tensor, an array or a list"),
        ("difficult", "010", "difficult must be True or False"),
        ("difficult", [None, None, None], "difficult must be True or False"),
        ("iscrowd", torch.zeros(4, dtype=torch.long), "iscrowd must have shape (3,), one for each box; got (4,)"),
        ("iscrowd", np.array([0, -1, 0]), "iscrowd must be True or False, or 1 or 0; row 1 has -1"),
        ("area", torch.ones(2), "area must have shape (3,), one for each box; got (2,)"),
        ("area", [1.0, float("nan"), 1.0], "area must be finite and 0 or more; row 1 has nan"),
        ("area", [1.0, 1.0, float("inf")], "area must be finite and 0 or more; row 2 has inf"),
        ("area", [-1.0, 1.0, 1.0], "area must be finite and 0 or more; row 0 has -1"),
        ("area", ["large"] * 3, "area must be finite and 0 or more, in a tensor, an array or a list; got ['large'"),
    ],
)
@pytest.mark.parametrize("evaluate", [*EVALUATIONS, proposal_recall, average_recall])
def test_optional_keys_must_fit_the_boxes(evaluate, key, value, words):
    targets = [NOTHING_THERE, {**THERE, key: value}]
    of_proposals = evaluate in (proposal_recall, average_recall)
    arguments = ([[], []], targets, [1]) if of_proposals else ([NOTHING_FOUND] * 2, targets)
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        evaluate(*arguments)
    assert "targets[1]" in str(refusal.value)


def test_scores_are_numbers_too():
    for value, words in (
        (["high"] * 3, "scores must be numbers, in a tensor, an array or a list; got ['high'"),
        (None, "scores must be numbers"),
        ([0.9, float("nan"), 0.1], "has a score that is NaN"),
        ([0.9], "'scores': (1,)"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)) as refusal:
            evaluate_voc([{**FOUND, "scores": value}], [THERE])
        assert "predictions[0]" in str(refusal.value)


@pytest.mark.parametrize("value", [None, "car", 5, torch.zeros(2, 4), [FOUND]])
@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_what_is_no_dict_is_refused_with_the_image_named(evaluate, value):
    with pytest.raises(ValueError, match=r"predictions\[1\] must be a dict with boxes and labels and scores; got "):
        evaluate([FOUND, value], [THERE, THERE])
    with pytest.raises(ValueError, match=r"targets\[1\] must be a dict with boxes and labels; got "):
        evaluate([FOUND, FOUND], [THERE, value])


@pytest.mark.parametrize("value", [None, "car", 5, FOUND, (record for record in [FOUND])])
@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_what_is_no_list_of_images_is_refused(evaluate, value):
    with pytest.raises(ValueError, match="predictions must be a list with one entry for each image; got "):
        evaluate(value, [THERE])
    with pytest.raises(ValueError, match="targets must be a list with one entry for each image; got "):
        evaluate([FOUND], value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "proposals[1]: boxes must be numbers, in a tensor, an array or a list; got None"),
        ("car", "proposals[1]: boxes must be numbers"),
        (FOUND, "proposals[1]: boxes must be numbers"),
        ([0, 0, 9, 9], "proposals[1] needs boxes (N, 4); got {'boxes': (4,)}"),
        (torch.zeros(3, 5), "proposals[1] needs boxes (N, 4); got {'boxes': (3, 5)}"),
        (np.array([[0, 0, np.nan, 9]]), "proposals[1]: boxes must be finite"),
        ([[9, 0, 0, 9]], "proposals[1]: boxes must be finite with x2 >= x1 and y2 >= y1; row 0"),
    ],
)
@pytest.mark.parametrize("measure", [proposal_recall, average_recall])
def test_what_proposals_cannot_be_is_refused_with_the_image_named(measure, value, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        measure([BOXES, value], [THERE, THERE], [1, 10])
    with pytest.raises(ValueError, match="proposals must be a list with one entry for each image; got None"):
        measure(None, [THERE], [1])


def test_proposals_of_a_batch_may_be_one_tensor():
    boxes = torch.tensor([BOXES, BOXES])
    assert proposal_recall(boxes, [THERE, THERE], [1, 3]).tolist() == [0.5, 1]  # object 1 is difficult
    assert proposal_recall(boxes.numpy(), [THERE, THERE], [1, 3]).tolist() == [0.5, 1]
