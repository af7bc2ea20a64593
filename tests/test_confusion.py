"""The confusion matrix against a plain loop over objects and detections, and cases that can be counted by hand."""

import numpy as np
import pytest
import torch

from frcnn_lessons.boxes import iou
from frcnn_lessons.metrics import confusion_matrix
from helpers.draws import generator, random_boxes


def test_a_case_that_can_be_counted_by_hand():
    targets = [{"boxes": [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], "labels": [1, 1, 2]}]
    found = {
        "boxes": [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [70, 0, 80, 10], [40, 0, 50, 10]],
        "scores": [0.9, 0.8, 0.7, 0.6, 0.4],
        "labels": [1, 1, 2, 2, 2],
    }
    # Right; the same again, so on nothing; 1 taken for 2; on nothing; too unsure, so an object of class 2 is missed.
    assert confusion_matrix([found], targets, 2).tolist() == [[0, 1, 1], [0, 1, 1], [1, 0, 0]]
    assert confusion_matrix([found], targets, 2, score_threshold=0.3).tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 1]]
    difficult = [{**targets[0], "difficult": [True, False, False]}]
    assert confusion_matrix([found], difficult, 2).tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0]]


def by_the_words(predictions, targets, classes):
    """The rule as its docstring tells it, one after the other."""
    matrix = np.zeros((classes + 1, classes + 1), dtype=int)
    for found, target in zip(predictions, targets, strict=True):
        free = set(range(len(target["boxes"])))
        for d in sorted(range(len(found["boxes"])), key=lambda d: -float(found["scores"][d])):
            if found["scores"][d] < 0.5:
                continue
            overlaps = {k: float(iou(found["boxes"][d : d + 1], target["boxes"][k : k + 1])) for k in sorted(free)}
            good = {k: overlap for k, overlap in overlaps.items() if overlap >= 0.5}
            if not good:
                matrix[0, found["labels"][d]] += 1
                continue
            best = max(good, key=good.get)
            if not target["difficult"][best]:
                matrix[target["labels"][best], found["labels"][d]] += 1
                free.remove(best)
        for k in free:
            if not target["difficult"][k]:
                matrix[target["labels"][k], 0] += 1
    return matrix


def test_it_does_what_its_words_say():
    draw = generator(0)
    predictions, targets = [], []
    for _ in range(20):
        objects = random_boxes(6, 60, 60, draw)
        near = objects[torch.randint(6, (12,), generator=draw)] + 3 * torch.randn(12, 4, generator=draw)
        near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
        labels, found = torch.randint(1, 4, (6,), generator=draw), torch.randint(1, 4, (12,), generator=draw)
        difficult = torch.rand(6, generator=draw) < 0.2
        predictions.append({"boxes": near, "labels": found, "scores": torch.rand(12, generator=draw)})
        targets.append({"boxes": objects, "labels": labels, "difficult": difficult})
    matrix = confusion_matrix(predictions, targets, 3)
    assert np.array_equal(matrix, by_the_words(predictions, targets, 3))
    assert (matrix[1:, 1:] > 0).all()


def test_no_objects_and_no_detections():
    nothing = {"boxes": [], "labels": []}
    found = {"boxes": [[0, 0, 1, 1]], "labels": [1], "scores": [0.9]}
    assert confusion_matrix([found], [nothing], 1).tolist() == [[0, 1], [0, 0]]
    assert confusion_matrix([{**nothing, "scores": []}], [{"boxes": [[0, 0, 1, 1]], "labels": [1]}], 1)[1, 0] == 1
    assert confusion_matrix([], [], 2).sum() == 0
    with pytest.raises(ValueError, match="labels must be 1 to 2; got 3"):
        confusion_matrix([{**found, "labels": [3]}], [nothing], 2)
