"""Bad input of every kind, handed to the detectors as a user would: one sentence that names the thing."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_scenes import HEAD_SMALL, RPN_SMALL, generator, scene, tiny_backbone

from frcnn_lessons.fast_rcnn import FastRCNN, detections
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.four_step import DetectionNetwork, ProposalNetwork

# Users have no shape checker; what they see is what is tested here.
pytestmark = pytest.mark.usefixtures("one_thread", "unchecked")

IMAGES, TARGETS = scene()
PROPOSALS = [torch.tensor([[0.0, 0, 20, 20], [10, 10, 40, 40]])] * 2
BOXES, LABELS = TARGETS[0]["boxes"], TARGETS[0]["labels"]


def fast(images=IMAGES, targets=TARGETS, proposals=PROPOSALS):
    return FastRCNN(tiny_backbone(), 2, HEAD_SMALL, generator())(images, targets, proposals)


def faster(images=IMAGES, targets=TARGETS):
    return FasterRCNN(tiny_backbone(), 2, RPN_SMALL, HEAD_SMALL, generator())(images, targets)


def other(**changes):
    """The targets with something changed in those of the first image."""
    return [TARGETS[0] | changes, TARGETS[1]]


def without(key):
    return [{name: value for name, value in TARGETS[0].items() if name != key}, TARGETS[1]]


def check(call, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_good_input_passes():
    assert all(value.isfinite() for value in (fast() | faster()).values())
    many = other(difficult=torch.tensor([True, False]), labels=LABELS.int())
    assert all(value.isfinite() for value in (fast(targets=many) | faster(targets=many)).values())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda image: (image * 255).byte(), "images[0] must hold floats in 0..1"),
        (lambda image: image * 255, "divided by 255"),
        (lambda image: (image - 0.45) / 0.22, "not normalised"),
        (lambda image: image[:1], "images[0] must be a tensor of (3, height, width), RGB; got a tensor of (1, 60, 80)"),
        (lambda image: torch.cat([image, image[:1]]), "(4, 60, 80)"),
        (lambda image: image.permute(1, 2, 0), "(60, 80, 3)"),
        (lambda image: image[None], "(1, 3, 60, 80)"),
        (lambda image: image[0], "(60, 80)"),
        (lambda image: image[:, :0], "(3, 0, 80)"),
        (lambda image: image.numpy(), "got a ndarray"),
    ],
    ids=["uint8", "0..255", "normalised", "grey", "four channels", "channels last", "4-dim", "2-dim", "empty", "numpy"],
)
def test_images_of_another_kind_are_named(spoil, words):
    # 0..255 and one channel used to train without a word.
    images = [spoil(IMAGES[0]), IMAGES[1]]
    detector = FasterRCNN(tiny_backbone(), 2, RPN_SMALL, HEAD_SMALL).eval()
    proposer = ProposalNetwork(detector.backbone, detector.rpn)
    for call in (
        lambda: fast(images),
        lambda: faster(images),
        lambda: proposer.eval()(images),
        lambda: DetectionNetwork(proposer, tiny_backbone(), detector.head).eval()(images),
    ):
        check(call, words)


def test_a_resized_image_may_overshoot_by_a_trace():
    assert faster([IMAGES[0] * 1.0005, IMAGES[1]])["loss_objectness"].isfinite()


def test_no_images_are_named():
    check(lambda: faster([], []), "there are no images")
    check(lambda: fast([], [], []), "there are no images")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (other(labels=LABELS.float()), "targets[0] (scene_0): labels must be 2 integers"),
        (other(labels=LABELS > 0), "labels must be 2 integers"),
        (other(labels=[1, 2]), "got a list"),
        (other(labels=LABELS[:1]), "got a tensor of (1,)"),
        (other(labels=LABELS[:, None]), "got a tensor of (2, 1)"),
        (other(labels=torch.tensor([0, 1])), "labels must be 1 to 2 (0 is background"),
        (other(labels=torch.tensor([1, 3])), "labels must be 1 to 2"),
        (without("labels"), "targets[0] must be a dict with boxes and labels; got a dict with boxes, image_id"),
    ],
    ids=["float", "bool", "list", "too few", "column", "background", "too high", "missing"],
)
def test_bad_labels_are_named(targets, words):
    check(lambda: fast(targets=targets), words)
    check(lambda: faster(targets=targets), words)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (other(boxes=BOXES.tolist()), "boxes of targets[0] (scene_0) must be a tensor of (N, 4); got a list"),
        (other(boxes=BOXES.numpy()), "got a ndarray"),
        (other(boxes=BOXES[0]), "must be (N, 4)"),
        (other(boxes=torch.zeros(0), labels=LABELS[:0]), "(0, 4) when there are none"),
        (other(boxes=BOXES.long()), "must hold floats"),
        (other(boxes=BOXES[:, [2, 1, 0, 3]]), "row 0 is [32, 10, 8, 30]"),
        (other(boxes=torch.tensor([[1.0, 1, 9, 9], [30, 10, 30, 20]])), "row 1 is [30, 10, 30, 20]"),
        (other(boxes=BOXES * torch.nan), "row 0 is [nan"),
        (other(boxes=torch.tensor([[1.0, 1, 9, 9], [0, 0, torch.inf, 5]])), "must be finite; row 1 is not"),
        (other(difficult=[True, False]), "difficult must be 2 bools, one for each box; got a list"),
        (other(difficult=torch.tensor([True])), "got a tensor of (1,)"),
        (other(difficult=torch.tensor([1, 0])), "torch.int64"),
        (without("boxes"), "targets[0] must be a dict with boxes"),
        ([None, TARGETS[1]], "got a NoneType"),
    ],
    ids=[
        "list", "numpy", "one row", "empty row", "integers", "swapped", "no area", "NaN", "infinite",
        "difficult list", "difficult too few", "difficult integers", "missing", "None",
    ],
)  # fmt: skip
def test_bad_boxes_are_named_with_their_image(targets, words):
    # A box without area used to be left out in silence by one detector and to end the other's training as NaN.
    check(lambda: fast(targets=targets), words)
    check(lambda: faster(targets=targets), words)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda found: found.long(), "proposals[1] must hold floats"),
        (lambda found: found.half(), "proposals[1] must be float32"),
        (lambda found: found.tolist(), "proposals[1] must be a tensor of (N, 4); got a list"),
        (lambda found: np.asarray(found), "got a ndarray"),
        (lambda found: torch.cat([found[:, :1], found], dim=1), "got (2, 5)"),
        (lambda found: found[:, [2, 3, 0, 1]], "row 0 is [20, 20, 0, 0]"),
        (lambda found: found * torch.nan, "row 0 is [nan"),
    ],
    ids=["integers", "half", "list", "numpy", "five columns", "swapped", "NaN"],
)
def test_bad_proposals_are_named(spoil, words):
    found = [PROPOSALS[0], spoil(PROPOSALS[1])]
    check(lambda: fast(proposals=found), words)
    model = FastRCNN(tiny_backbone(), 2, HEAD_SMALL, generator()).eval()
    check(lambda: model(IMAGES, proposals=found), words)


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_detection_from_nan_says_so(value, where):
    # NaN scores are below every threshold: there would be no detections, and no word about why.
    answers = [torch.zeros(2, 3), torch.zeros(2, 3, 4)]
    answers[where][1, 2] = value
    with pytest.raises(FloatingPointError, match="class scores or deltas are not finite"):
        detections(*answers, PROPOSALS[0], (60, 80), HEAD_SMALL)


@pytest.mark.parametrize(
    ("settings", "change", "words"),
    [
        (HEAD_SMALL, {"pool_size": 7}, "pool_size must be a tuple of 2 numbers; got 7"),
        (HEAD_SMALL, {"pool_size": (0, 7)}, "pool_size must be an integer from 1"),
        (HEAD_SMALL, {"hidden": 0}, "hidden must be"),
        (HEAD_SMALL, {"detections": -1}, "detections must be"),
        (HEAD_SMALL, {"regions": 2.5}, "regions must be"),
        (HEAD_SMALL, {"foreground_share": 1.5}, "foreground_share must be within 0..1"),
        (HEAD_SMALL, {"score_threshold": 50}, "score_threshold must be"),
        (HEAD_SMALL, {"background_iou": 0.3}, "background_iou must be a tuple"),
        (HEAD_SMALL, {"box_weight": -1.0}, "box_weight must be 0 or more"),
        (HEAD_SMALL, {"beta": np.float64(0.1)}, "beta must be 0 or more; got np.float64(0.1)"),
        (RPN_SMALL, {"sizes": 32}, "sizes must be a tuple of one or more"),
        (RPN_SMALL, {"ratios": ()}, "ratios must be a tuple of one or more"),
        (RPN_SMALL, {"before_nms": 100}, "before_nms must be a tuple of 2"),
        (RPN_SMALL, {"after_nms": (0, 10)}, "after_nms must be an integer from 1"),
        (RPN_SMALL, {"foreground_iou": 70}, "foreground_iou must be within 0..1"),
        (RPN_SMALL, {"nms_iou": float("nan")}, "nms_iou must be within 0..1"),
    ],
)
def test_settings_out_of_range_are_named(settings, change, words):
    # "detections=-1" would drop the last one, "foreground_share=2" return more regions than were asked for.
    check(lambda: replace(settings, **change), words)
