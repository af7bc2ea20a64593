"""The gate: bad input of every kind, handed over as a user would, ends in one sentence that names the thing."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from frcnn_lessons.batch import check_image, image_sizes, in_stored_image, pad_images
from frcnn_lessons.datasets import ResizeShortSide, Sample
from frcnn_lessons.fast_rcnn import FastRCNN, detections, multi_task_loss
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.four_step import DetectionNetwork, ProposalNetwork
from frcnn_lessons.sampling import hierarchical_batch
from helpers.draws import generator
from helpers.host_reads import host_reads
from helpers.tiny_scenes import HEAD_SMALL, RPN_SMALL, scene, tiny_backbone

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


# --- values that are right in another kind, and boxes that cannot be meant -------------------------------------------


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_kind_give_the_same_losses(kind):
    # Bytes would index as a mask, other kinds fail in the loss: the gate makes int64 of them, once.
    targets = [target | {"labels": target["labels"].to(kind)} for target in TARGETS]
    for call in (fast, faster):
        assert call(targets=targets) == call()
    assert all(target["labels"].dtype == kind for target in targets), "the user's own targets are left alone"


def test_a_loss_called_by_hand_takes_labels_of_bytes():
    draw = generator()
    scores, deltas, goals = (torch.randn(*shape, generator=draw) for shape in ((4, 3), (4, 3, 4), (4, 4)))
    labels = torch.tensor([0, 2, 1, 0])
    losses = multi_task_loss(scores, deltas, labels, goals)
    assert multi_task_loss(scores, deltas, labels.to(torch.uint8), goals) == losses


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 1.0, 1.0]], "all lie in 0..1, which is less than a pixel of an image of 60"),
        ([[8.0, 10, 32, 30], [90, 10, 99, 30]], "row 1 is [90.0, 10.0, 99.0, 30.0], outside of it"),
        ([[8.0, 10, 32, 30], [8, 60, 30, 75]], "60 high and 80 wide; row 1"),
        ([[-30.0, 10, 0, 30], [8, 10, 32, 30]], "row 0 is [-30.0, 10.0, 0.0, 30.0], outside of it"),
    ],
    ids=["relative", "right of it", "below it", "left of it"],
)
def test_boxes_that_are_not_in_the_image_are_refused(boxes, words):
    targets = other(boxes=torch.tensor(boxes))
    check(lambda: fast(targets=targets), words)
    check(lambda: faster(targets=targets), words)


def test_proposals_in_shares_of_the_image_are_refused():
    relative = [PROPOSALS[0], torch.tensor([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]])]
    check(lambda: fast(proposals=relative), "proposals[1] must be in pixels; all lie in 0..1")


def test_boxes_that_reach_far_beyond_the_image_are_warned_of():
    with pytest.warns(UserWarning, match=r"boxes of targets\[0\] \(scene_0\) reach far beyond the image"):
        faster(targets=other(boxes=torch.tensor([[8.0, 10, 32, 30], [60, 40, 110, 50]])))


def test_boxes_that_reach_beyond_by_a_trace_pass(recwarn):
    faster(targets=other(boxes=torch.tensor([[8.0, 10, 80.001, 30], [-2, 40, 30, 60.001]])))
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(60, 80, 3), "use image.permute(2, 0, 1)"),
        (torch.zeros(4, 60, 80), "use image[:3]"),
        (torch.zeros(1, 60, 80), "use image.expand(3, -1, -1)"),
    ],
)
def test_an_image_of_another_shape_is_refused_with_what_may_be_meant(image, words):
    check(lambda: check_image(image), words)
    check(lambda: check_image(image, "photo"), "photo must be a tensor of (3, height, width)")


# --- called by hand --------------------------------------------------------------------------------------------------


def test_what_is_called_by_hand_checks_for_itself():
    bad = other(labels=torch.tensor([0, 1]))
    model = FasterRCNN(tiny_backbone(), 2, RPN_SMALL, HEAD_SMALL, generator())
    features = model.backbone.features(pad_images(IMAGES, model.backbone).pixels)
    check(lambda: hierarchical_batch(PROPOSALS, bad), "labels must be 1 or more (0 is background")
    check(lambda: hierarchical_batch([-PROPOSALS[0]] * 2, TARGETS), "proposals[0] must be (N, 4)")
    check(lambda: model.head.losses(features, PROPOSALS, bad), "labels must be 1 to 2")
    no_area = other(boxes=torch.zeros(2, 4))
    check(lambda: model.rpn.losses(model.rpn(features), no_area, [(60, 80)] * 2), "row 0 is [0, 0, 0, 0]")
    check(lambda: pad_images([IMAGES[0] * 255], model.backbone), "divided by 255")


# --- out again -------------------------------------------------------------------------------------------------------


def test_detections_go_back_to_the_stored_image():
    # A photograph of 375 x 500 was seen at 300 x 400.
    found = {"boxes": torch.tensor([[40.0, 30, 400, 300]]), "labels": torch.tensor([2]), "scores": torch.tensor([0.9])}
    stored = in_stored_image(found, (300, 400), (375, 500))
    assert stored["boxes"].tolist() == [[50.0, 37.5, 500.0, 375.0]]
    assert (stored["labels"], stored["scores"]) == (found["labels"], found["scores"])
    assert found["boxes"][0, 0] == 40, "a copy"


@pytest.mark.parametrize("stored", [(375, 500), (500, 333), (97, 211)])
def test_boxes_scaled_back_are_those_of_the_annotation(stored):
    height, width = stored
    boxes = torch.tensor([[0.0, 0, width, height], [3, 5, width / 2, height / 3]])
    sample = Sample(
        tv_tensors.Image(torch.zeros(3, height, width)),
        tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=stored),
        torch.tensor([1, 1]), torch.tensor([False, False]), "a", stored,
    )  # fmt: skip
    resized = ResizeShortSide(100, 180)(sample)
    (size,) = image_sizes([resized.image])
    found = {"boxes": resized.boxes.as_subclass(torch.Tensor), "labels": resized.labels, "scores": torch.ones(2)}
    torch.testing.assert_close(in_stored_image(found, size, resized.size)["boxes"], boxes)


# --- how often the device is asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize("align", [False, True])
def test_a_step_and_a_detection_of_two_images_read_little_back_from_the_device(align):
    # On a GPU each of these waits until all work is done. torchvision's Faster R-CNN: 2 and 0.
    model = FasterRCNN(tiny_backbone(), 2, RPN_SMALL, replace(HEAD_SMALL, align=align), generator())
    images = [image.clone() for image in IMAGES]
    training = host_reads(lambda: sum(model(images, TARGETS).values()).backward())
    model.eval()
    with torch.no_grad():
        detecting = host_reads(lambda: model(images))
    assert 1 <= training <= 8
    assert 1 <= detecting <= 8
