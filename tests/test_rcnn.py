"""What each stage of R-CNN promises, with the paper's sentences as slow oracles."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.linear_model import Ridge
from torch import nn

from frcnn_lessons import boxes, fast_rcnn, rcnn
from frcnn_lessons.backbones import Backbone
from frcnn_lessons.metrics import evaluate_voc
from helpers.draws import generator


def two_convolutions(seed: int = 0) -> Backbone:
    """Enough to tell colours and edges apart, in no time."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()]
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight, generator=generator(seed))
        nn.init.zeros_(layer.bias)
    return Backbone([nn.Sequential(*layers)], stride=4, channels=12, mean=(0.5,) * 3, std=(0.25,) * 3)


def tiny_network(**options) -> rcnn.RegionNetwork:
    options = {"size": 16, "padding": 1.0, "cells": 2, "width": 24} | options
    return rcnn.RegionNetwork(two_convolutions(), classes=2, generator=generator(1), **options)


# --- windows -----------------------------------------------------------------------------------------------------


def crop_slowly(image, region, size, padding, square, fill):
    """Appendix A, one pixel of the window at a time. The oracle for `crop_regions`."""
    x1, y1, x2, y2 = region.tolist()
    _, height, width = image.shape
    w, h = x2 - x1, y2 - y1
    if square:
        w = h = max(w, h)
    # The region fills the window but for the padding; so this many image pixels make one pixel of the window.
    per_x, per_y = w / (size - 2 * padding), h / (size - 2 * padding)
    left, top = (x1 + x2) / 2 - per_x * size / 2, (y1 + y2) / 2 - per_y * size / 2
    window = torch.zeros(3, size, size)
    for row in range(size):
        for column in range(size):
            x, y = left + (column + 0.5) * per_x, top + (row + 0.5) * per_y
            if not (0 <= x <= width and 0 <= y <= height):
                window[:, row, column] = fill
                continue
            # Between the middles of four pixels; at the border the outermost pixel goes on.
            u, v = min(max(x - 0.5, 0), width - 1), min(max(y - 0.5, 0), height - 1)
            i, j = int(v), int(u)
            i2, j2 = min(i + 1, height - 1), min(j + 1, width - 1)
            above = image[:, i, j] * (1 - u + j) + image[:, i, j2] * (u - j)
            below = image[:, i2, j] * (1 - u + j) + image[:, i2, j2] * (u - j)
            window[:, row, column] = above * (1 - v + i) + below * (v - i)
    return window


@given(
    corner=st.tuples(st.integers(-6, 12), st.integers(-6, 9)),
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    padding=st.sampled_from([0.0, 1.5, 3.0]),
    square=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_windows_agree_with_the_appendix_read_literally(corner, sides, padding, square, seed):
    image = torch.rand(3, 11, 14, generator=generator(seed))
    # Off the half pixels, where a sample would fall on the border of the image and rounding decide on which side.
    region = torch.tensor([[*corner, corner[0] + sides[0], corner[1] + sides[1]]]) + 0.0137
    fill = torch.tensor([0.1, 0.5, 0.9])
    fast = rcnn.crop_regions(image, region, 9, padding, square, fill)
    assert torch.allclose(fast[0], crop_slowly(image, region[0], 9, padding, square, fill), atol=1e-4)


def test_a_region_of_the_windows_own_size_is_copied_pixel_by_pixel():
    # By hand: rows 2 to 5 and columns 1 to 4 of the image, with a frame of 1 pixel around them.
    image = torch.arange(3 * 8 * 9).reshape(3, 8, 9) / 216
    window = rcnn.crop_regions(image, torch.tensor([[2.0, 3, 4, 5]]), size=4, padding=1.0)
    assert torch.allclose(window[0], image[:, 2:6, 1:5], atol=1e-5)


def test_what_lies_outside_has_the_fill_colour_and_by_default_the_mean():
    image = torch.rand(3, 6, 6, generator=generator())
    window = rcnn.crop_regions(image, torch.tensor([[0.0, 0, 6, 6]]), size=10, padding=2.0)[0]
    assert torch.allclose(window[:, 0, 0], image.mean(dim=(1, 2)))
    assert torch.allclose(window[:, 2:8, 2:8], image, atol=1e-5)
    white = rcnn.crop_regions(image, torch.tensor([[0.0, 0, 6, 6]]), size=10, padding=2.0, fill=torch.ones(3))[0]
    assert (white[:, :2] == 1).all()
    assert (white[:, :, 8:] == 1).all()


def test_warping_distorts_and_the_square_does_not():
    # A disc of 12 pixels in a region twice as wide as high: warped, it becomes half as wide as high.
    y, x = np.mgrid[:40, :40] + 0.5
    disc = torch.from_numpy(((x - 20) ** 2 + (y - 20) ** 2 < 36).astype(np.float32)).expand(3, -1, -1)
    region = torch.tensor([[8.0, 14, 32, 26]])
    for square, ratio in ((False, 0.5), (True, 1.0)):
        window = rcnn.crop_regions(disc.contiguous(), region, size=48, padding=0.0, square=square)[0, 0] > 0.5
        width, height = window.any(dim=0).sum(), window.any(dim=1).sum()
        assert (width / height).item() == pytest.approx(ratio, abs=0.1)


def test_no_regions_give_no_windows_and_no_detections():
    image = torch.rand(3, 20, 20, generator=generator())
    assert rcnn.crop_regions(image, torch.zeros(0, 4), size=8, padding=1.0).shape == (0, 3, 8, 8)
    network = tiny_network()
    assert rcnn.describe(network, image, torch.zeros(0, 4)).hidden.shape == (0, 24)
    (answer,) = rcnn.RCNN(network, nn.Linear(24, 2), nn.Linear(48, 8))([image], [torch.zeros(0, 4)])
    assert {key: tuple(value.shape) for key, value in answer.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "scores": (0,),
    }


def test_a_region_without_area_is_refused_by_its_row():
    with pytest.raises(ValueError, match=r"row 1 is \[5\.0, 1\.0, 5\.0, 4\.0\]"):
        rcnn.crop_regions(torch.zeros(3, 8, 8), torch.tensor([[0.0, 0, 2, 2], [5, 1, 5, 4]]), size=4, padding=1.0)


@pytest.mark.parametrize("padding", [-1.0, 4.0])
def test_padding_must_leave_something_of_the_window(padding):
    with pytest.raises(ValueError, match="less than half of size = 8"):
        rcnn.crop_regions(torch.zeros(3, 8, 8), torch.tensor([[0.0, 0, 2, 2]]), size=8, padding=padding)


# --- features ------------------------------------------------------------------------------------------------------


def test_a_batch_of_windows_gives_what_each_gives_alone(monkeypatch):
    network, image = tiny_network(), torch.rand(3, 30, 40, generator=generator())
    regions = boxes.xywh_to_xyxy(1 + 18 * torch.rand(7, 4, generator=generator(3)))
    whole = rcnn.describe(network, image, regions)
    monkeypatch.setattr(rcnn, "BATCH", 3)
    parts = rcnn.describe(network, image, regions)
    assert torch.allclose(whole.pooled, parts.pooled, atol=1e-5)
    for i in range(7):
        assert torch.allclose(rcnn.describe(network, image, regions[i : i + 1]).hidden[0], whole.hidden[i], atol=1e-5)


def test_outside_the_image_the_network_sees_zero():
    network = tiny_network(size=8, padding=2.0)
    windows = network.crop(torch.rand(3, 8, 8, generator=generator()), torch.tensor([[0.0, 0, 8, 8]]))
    assert network.backbone.normalise(windows)[0, :, 0, 0].tolist() == [0.0, 0.0, 0.0]


# --- what a region is ---------------------------------------------------------------------------------------------


@given(objects=st.integers(0, 5), proposals=st.integers(0, 12), seed=st.integers(0, 10_000))
def test_regions_are_described_as_a_loop_over_all_pairs_would(objects, proposals, seed):
    def some(count, seed):
        return boxes.xywh_to_xyxy(1 + torch.randint(0, 12, (count, 4), generator=generator(seed)).float())

    target = {
        "boxes": some(objects, seed),
        "labels": torch.randint(1, 4, (objects,), generator=generator(seed + 1)),
        "difficult": torch.rand(objects, generator=generator(seed + 2)) < 0.25,
    }
    proposed = some(proposals, seed + 3)
    regions = rcnn.make_regions(proposed, target, classes=3)

    easy = [k for k in range(objects) if not target["difficult"][k]]
    expected = [target["boxes"][k] for k in easy]
    for box in proposed:
        hard = [k for k in range(objects) if target["difficult"][k]]
        if all(boxes.iou(box[None], target["boxes"][k : k + 1]).item() < 0.3 for k in hard):
            expected.append(box)
    assert len(regions.boxes) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(regions.boxes, expected, strict=True))
    for row, box in enumerate(expected):
        for c in range(3):
            of_class = [
                boxes.iou(box[None], target["boxes"][k : k + 1]).item() for k in easy if target["labels"][k] == c + 1
            ]
            assert regions.overlap[row, c].item() == pytest.approx(max(of_class, default=0.0))
            if of_class:
                nearest = boxes.iou(box[None], regions.boxes[regions.nearest[row, c]][None]).item()
                assert nearest == pytest.approx(max(of_class))


def test_fine_tuning_labels_take_the_best_object_from_one_half_on():
    target = {"boxes": torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4]]), "labels": torch.tensor([2, 1])}
    proposals = torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 9], [0, 0, 5, 4], [20, 20, 30, 30]])
    # IoU with objects (class 2, class 1): (0.5, 0.8), (0.9, 0.44), (0.2, 0.5), (0, 0)
    assert rcnn.make_regions(proposals, target, 2).fine_tuning_labels().tolist() == [2, 1, 1, 2, 1, 0]


def test_a_proposal_on_a_difficult_object_is_no_example_of_background():
    target = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]),
        "labels": torch.tensor([1, 1]),
        "difficult": torch.tensor([True, False]),
    }
    regions = rcnn.make_regions(torch.tensor([[0.0, 0, 10, 9], [40, 0, 50, 10]]), target, classes=1)
    assert regions.boxes.tolist() == [[20, 0, 30, 10], [40, 0, 50, 10]]


# --- a world small enough to learn in a second: class 1 is red, class 2 is blue, the rest is grey noise ---------------


def small_world(count: int, seed: int):
    rng = generator(seed)
    images, targets, proposals = [], [], []
    for _ in range(count):
        image = 0.4 + 0.2 * torch.rand(3, 48, 64, generator=rng)
        gt_boxes, labels = [], []
        for label in (1, 2):
            x, y = torch.randint(0, 20, (2,), generator=rng).tolist()
            w, h = (10 + torch.randint(0, 10, (2,), generator=rng)).tolist()
            x += 32 * (label - 1)
            w = min(w, 64 - x)
            image[:, y : y + h, x : x + w] = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]][label - 1])[:, None, None]
            gt_boxes.append([x, y, x + w, y + h])
            labels.append(label)
        truth = torch.tensor(gt_boxes).float()
        near = truth.repeat(12, 1) + torch.randint(-4, 5, (24, 4), generator=rng)
        far = boxes.xywh_to_xyxy(torch.rand(20, 4, generator=rng) * torch.tensor([44.0, 28, 12, 12]) + 5)
        images.append(image)
        targets.append({"boxes": truth, "labels": torch.tensor(labels)})
        proposals.append(boxes.clip(torch.cat([near, far]), (48, 64)))
    return images, targets, proposals


@pytest.fixture(scope="module")
def trained():
    """All three stages on the small world."""
    images, targets, proposals = small_world(12, seed=5)
    regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposals, targets, strict=True)]
    network = tiny_network()
    losses = rcnn.fine_tune(network, images, regions, steps=40, learning_rate=0.01, generator=generator(2))
    features = [rcnn.describe(network, i, r.boxes) for i, r in zip(images, regions, strict=True)]
    svms = rcnn.train_svms(features, regions, generator=generator(3))
    regression = rcnn.fit_box_regression(features, regions, penalty=1.0)
    return network, losses, features, regions, svms, regression


def score(model):
    images, targets, proposals = small_world(10, seed=77)
    return evaluate_voc(model(images, proposals), targets, iou_threshold=0.6).mean_ap


def test_fine_tuning_lowers_the_loss(trained):
    losses = trained[1]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_the_detector_finds_what_it_learned_and_box_regression_helps(trained):
    network, _, _, _, svms, regression = trained
    without, with_it = score(rcnn.RCNN(network, svms.layer)), score(rcnn.RCNN(network, svms.layer, regression))
    assert with_it > 0.6
    assert with_it > without + 0.3


def test_the_same_generators_train_the_same_network():
    images, targets, proposals = small_world(3, seed=5)
    regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposals, targets, strict=True)]
    runs = [rcnn.fine_tune(tiny_network(), images, regions, 3, generator=generator(s)) for s in (2, 2, 3)]
    assert runs[0] == runs[1] != runs[2]


def test_a_batch_holds_positives_and_negatives_as_asked(monkeypatch):
    # With every region equally likely, nine windows in ten would be background and the network would learn to say so.
    seen = []
    loss = torch.nn.functional.cross_entropy
    monkeypatch.setattr(rcnn.F, "cross_entropy", lambda scores, labels: seen.append(labels) or loss(scores, labels))
    images, targets, proposals = small_world(4, seed=5)
    regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposals, targets, strict=True)]
    rcnn.fine_tune(tiny_network(), images, regions, 5, positives=8, negatives=24, generator=generator())
    assert [(int((labels > 0).sum()), len(labels)) for labels in seen] == [(8, 32)] * 5


def test_windows_and_labels_of_a_batch_belong_together():
    # Windows are cut image by image, so their order is not the one in which they were drawn. The network here "sees"
    # the mean colour only; were windows and labels shuffled against each other, its loss could not become small.
    images, targets, proposals = small_world(6, seed=9)
    regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposals, targets, strict=True)]
    losses = rcnn.fine_tune(tiny_network(cells=1), images, regions, 60, learning_rate=0.02, generator=generator())
    assert np.mean(losses[-5:]) < 0.35


def test_fine_tuning_without_a_positive_says_what_is_missing():
    empty = rcnn.make_regions(
        torch.tensor([[0.0, 0, 8, 8]]), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}, 2
    )
    with pytest.raises(ValueError, match="images with objects"):
        rcnn.fine_tune(tiny_network(), [torch.zeros(3, 16, 16)], [empty], steps=1)


# --- SVMs ------------------------------------------------------------------------------------------------------------


def mixture(seed: int):
    """Three images of 2 objects and 200 proposals with features in the plane: objects right, background left."""
    features, regions = [], []
    for image in range(3):
        rng = generator(seed + image)
        hidden = torch.randn(202, 2, generator=rng) + torch.tensor([-2.0, 0.0])
        hidden[:2, 0] += 5
        overlap = 0.29 * torch.rand(202, 1, generator=rng)
        overlap[:2] = 1
        overlap[2:22] = 0.45  # neither: close to the object, but not it
        hidden[2:22, 0] += 7
        features.append(rcnn.Features(torch.zeros(202, 3), hidden))
        regions.append(rcnn.Regions(torch.zeros(202, 4), torch.tensor([1, 1]), overlap, torch.zeros(202, 1).long()))
    return features, regions


def test_mining_ends_at_the_svm_that_saw_every_negative():
    # This is the point of mining: the same classifier from a fraction of the examples.
    features, regions = mixture(seed=0)
    mined = rcnn.train_svms(features, regions, penalty=0.1, rounds=10, generator=generator())
    scale = rcnn.FEATURE_LENGTH / torch.cat([f.hidden for f in features]).norm(dim=1).mean()
    hidden = scale * torch.cat([f.hidden for f in features])
    overlap = torch.cat([r.overlap for r in regions])[:, 0]
    weight, bias = rcnn.fit_svm(hidden[overlap == 1], hidden[overlap < 0.3], 0.1)
    assert torch.allclose(mined.layer.weight[0], scale * weight, rtol=1e-2, atol=1e-3)
    assert mined.layer.bias[0].item() == pytest.approx(bias, abs=1e-2)
    assert mined.found[0][-1] == 0
    assert sum(mined.found[0]) + 12 < 540, "it took in all of them"


def test_an_svm_has_the_smallest_loss_of_its_docstring():
    rng = generator(4)
    positives, negatives = torch.randn(8, 3, generator=rng) + 1, torch.randn(40, 3, generator=rng) - 1

    def loss(weight, bias):
        missed = (1 - positives @ weight - bias).clamp(min=0).square().sum()
        taken = (1 + negatives @ weight + bias).clamp(min=0).square().sum()
        return weight.square().sum() / 2 + bias.square() / 200 + 0.1 * (2 * missed + taken)

    weight, bias = rcnn.fit_svm(positives, negatives, penalty=0.1)
    weight, bias = weight.requires_grad_(), torch.tensor(bias, requires_grad=True)
    loss(weight, bias).backward()  # a convex function: where its slope is 0, it is smallest
    assert weight.grad.abs().max() < 0.01
    assert bias.grad.abs() < 0.01
    assert loss(torch.zeros(3), torch.zeros(())) > loss(weight, bias) + 1


def test_regions_between_object_and_background_teach_an_svm_nothing():
    # Appendix B: taking IoU 0.3 to 1 as negatives or positives costs several points of mAP.
    features, regions = mixture(seed=1)
    before = rcnn.train_svms(features, regions, generator=generator()).layer
    for f in features:
        f.hidden[2:22] *= -1  # of the same length, so that the scale of all features stays
    after = rcnn.train_svms(features, regions, generator=generator()).layer
    assert torch.equal(before.weight, after.weight)


def test_a_class_without_an_object_is_named():
    features, regions = mixture(seed=0)
    regions = [r._replace(labels=torch.tensor([], dtype=torch.long)) for r in regions]
    with pytest.raises(ValueError, match="class 1 has 0 objects"):
        rcnn.train_svms(features, regions)


# --- box regression ------------------------------------------------------------------------------------------------


def test_box_regression_equals_scikit_learns_ridge(trained):
    _, _, features, regions, _, _ = trained
    ours = rcnn.fit_box_regression(features, regions, penalty=7.0)
    scale = rcnn.FEATURE_LENGTH / torch.cat([f.pooled.norm(dim=1) for f in features]).mean()
    for c in range(2):
        x, t = [], []
        for f, r in zip(features, regions, strict=True):
            for row in range(len(r.boxes)):
                if r.overlap[row, c] > 0.6:
                    x.append((scale * f.pooled[row]).numpy())
                    t.append(boxes.encode(r.boxes[r.nearest[row, c]][None], r.boxes[row][None])[0].numpy())
        peer = Ridge(alpha=7.0, solver="svd").fit(np.array(x, dtype=np.float64), np.array(t, dtype=np.float64))
        predicted = ours(torch.from_numpy(np.array(x)) / scale).reshape(-1, 2, 4)[:, c]
        assert np.abs(predicted.numpy() - peer.predict(np.array(x))).max() < 2e-3


def test_a_strong_penalty_leaves_only_the_mean_correction(trained):
    _, _, features, regions, _, _ = trained
    layer = rcnn.fit_box_regression(features, regions, penalty=1e12)
    targets = [
        boxes.encode(r.boxes[r.nearest[rows, 0]], r.boxes[rows])
        for r in regions
        for rows in [torch.nonzero(r.overlap[:, 0] > 0.6).flatten()]
    ]
    assert torch.allclose(layer(features[0].pooled)[0, :4], torch.cat(targets).mean(dim=0), atol=1e-4)


def test_a_class_without_examples_leaves_its_boxes_alone():
    features, regions = mixture(seed=0)
    regions = [r._replace(overlap=torch.zeros(202, 1)) for r in regions]
    assert rcnn.fit_box_regression(features, regions)(torch.rand(5, 3)).abs().max() == 0


# --- detection -----------------------------------------------------------------------------------------------------


def candidates(seed: int, count: int, classes: int, shared: bool = False):
    """Regions near and over the border of an image of 40 x 50 pixels, scores that repeat, and deltas."""
    rng = generator(seed)
    corner = torch.randint(-4, 40, (count, 2), generator=rng).float()
    regions = torch.cat([corner, corner + torch.randint(1, 25, (count, 2), generator=rng)], dim=1)
    scores = torch.randint(0, 9, (count, classes), generator=rng) / 8
    return regions, scores, 0.4 * torch.randn(count, 1 if shared else classes, 4, generator=rng)


def detect_slowly(regions, scores, deltas, image_size, score_threshold, nms_iou, limit, weights):
    """One candidate at a time, as the docstring says. The oracle for `detections`."""
    height, width = image_size
    found = []
    for row, region in enumerate(regions):
        for c, value in enumerate(scores[row].tolist()):
            box = region[None]
            if deltas is not None:
                box = boxes.decode(deltas[row, c if deltas.shape[1] > 1 else 0][None], box, weights)
            x1, y1, x2, y2 = box[0].tolist()
            x1, x2 = min(max(x1, 0), width), min(max(x2, 0), width)
            y1, y2 = min(max(y1, 0), height), min(max(y2, 0), height)
            if value > score_threshold and x2 - x1 >= 0.01 and y2 - y1 >= 0.01:
                found.append((value, c + 1, [x1, y1, x2, y2]))
    kept = []
    for value, label, box in sorted(found, key=lambda candidate: -candidate[0]):  # stable: equal ones in this order
        of_class = [torch.tensor([other]) for _, its_label, other in kept if its_label == label]
        if all(boxes.iou(torch.tensor([box]), other).item() <= nms_iou for other in of_class):
            kept.append((value, label, box))
    return kept[:limit]


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 14),
    classes=st.integers(1, 3),
    kind=st.sampled_from(["a box a class", "a shared box", "no deltas"]),
    limit=st.sampled_from([3, 100]),
)
def test_detections_are_those_of_a_loop_over_all_candidates(seed, count, classes, kind, limit):
    regions, scores, deltas = candidates(seed, count, classes, shared=kind == "a shared box")
    deltas = None if kind == "no deltas" else deltas
    # The weight of (1, 1, 1, 1) and of a head; a threshold that some scores are equal to, which does not do.
    weights = (1.0, 1.0, 1.0, 1.0) if seed % 2 else (10.0, 10.0, 5.0, 5.0)
    answer = rcnn.detections(
        regions, scores, deltas, (40, 50), score_threshold=0.25, nms_iou=0.4, limit=limit, weights=weights
    )
    expected = detect_slowly(regions, scores, deltas, (40, 50), 0.25, 0.4, limit, weights)
    assert answer["scores"].tolist() == [value for value, _, _ in expected]
    assert answer["labels"].tolist() == [label for _, label, _ in expected]
    assert answer["boxes"].tolist() == [box for _, _, box in expected]


@pytest.mark.parametrize("shared", [False, True])
def test_detections_are_fast_rcnns_to_the_last_bit(shared):
    # Background in front, of which Fast R-CNN's head has a score and, unless all classes share one, a box.
    settings = fast_rcnn.HeadSettings(class_agnostic=shared)
    for seed in range(10):
        regions, logits, deltas = candidates(seed, 300, 4, shared)
        logits = 3 * logits
        theirs = fast_rcnn.detections(logits, deltas, regions, (40, 50), settings)
        ours = rcnn.detections(
            regions,
            logits.softmax(dim=1)[:, 1:],
            deltas[:, -3:],
            (40, 50),
            score_threshold=settings.score_threshold,
            nms_iou=settings.nms_iou,
            weights=fast_rcnn.DELTA_WEIGHTS,
        )
        assert len(theirs["scores"]) > 20
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_at_most_a_hundred_detections_and_none_of_no_size():
    # 150 boxes in a row, each of its own; and one beside the image, which clipping leaves nothing of.
    left = 10 * torch.arange(150.0)
    regions = torch.stack([left, torch.zeros(150), left + 8, torch.full((150,), 8.0)], dim=1)
    regions = torch.cat([torch.tensor([[2000.0, 0, 2010, 8]]), regions])
    answer = rcnn.detections(regions, torch.linspace(0.9, 0.1, 151)[:, None], None, (8, 1600), score_threshold=0.0)
    assert answer["boxes"].tolist() == regions[1:101].tolist()


def test_detections_correct_clip_and_suppress_class_by_class():
    # Two regions on the same spot, one elsewhere. Class 1 is moved right by half its width, and so out of the image.
    proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.6, -3.0]])
    deltas = torch.zeros(3, 2, 4)
    deltas[:, 0, 0] = 0.5
    answer = rcnn.detections(proposals, scores, deltas, image_size=(12, 32), score_threshold=0.0)
    assert answer["labels"].tolist() == [1, 2, 1]
    assert torch.allclose(answer["scores"], torch.tensor([0.9, 0.7, 0.6]))
    assert answer["boxes"].tolist() == [[5, 0, 15, 10], [0, 0, 10, 9], [25, 0, 32, 10]]


def test_without_deltas_the_proposals_are_the_answer():
    proposals = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    answer = rcnn.detections(proposals, torch.tensor([[0.1], [0.9]]), None, (12, 32), score_threshold=0.0)
    assert answer["boxes"].tolist() == [[20, 0, 30, 10], [0, 0, 10, 10]]


def test_softmax_scores_are_probabilities_without_background(trained):
    network, _, features, regions, svms, _ = trained
    answer = rcnn.RCNN(network, svms.layer).answer(features[0], regions[0].boxes, (48, 64), softmax=True)
    assert ((answer["scores"] > 0) & (answer["scores"] <= 1)).all()
    assert set(answer["labels"].tolist()) <= {1, 2}


# --- what is refused ----------------------------------------------------------------------------------------------

IMAGE, PROPOSED = torch.rand(3, 20, 24, generator=generator()), torch.tensor([[0.0, 0, 9, 9]])
TARGET = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}


def detector() -> rcnn.RCNN:
    return rcnn.RCNN(tiny_network(), nn.Linear(24, 2), nn.Linear(48, 8))


ENTRANCES = {
    "describe": lambda image, proposed: rcnn.describe(tiny_network(), image, proposed),
    "forward": lambda image, proposed: detector()([image], [proposed]),
    "fine_tune": lambda image, proposed: rcnn.fine_tune(
        tiny_network(), [image], [rcnn.make_regions(proposed, TARGET, 2)], steps=1, generator=generator()
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize(
    ("image", "proposed", "words"),
    [
        (255 * IMAGE, PROPOSED, r"images\[0\] must hold floats in 0..1, .*pixels of 0 to 255 must be divided by 255"),
        ((255 * IMAGE).byte(), PROPOSED, r"images\[0\] must hold floats in 0..1, not normalised; got torch.uint8"),
        (IMAGE.permute(1, 2, 0), PROPOSED, r"images\[0\] must be a tensor of \(3, height, width\), RGB"),
        (IMAGE.numpy(), PROPOSED, r"images\[0\] must be a tensor .* got a ndarray"),
        (IMAGE, PROPOSED.long(), r"proposals\[0\] must hold floats; got torch.int64, convert them with .float()"),
        (IMAGE, torch.tensor([[9.0, 0, 0, 9]]), r"proposals\[0\] must be \(N, 4\) with x2 >= x1"),
        (IMAGE, torch.tensor([[0.0, 0, torch.inf, 9]]), r"proposals\[0\] must be finite; row 0 is not"),
        (IMAGE, PROPOSED.tolist(), r"proposals\[0\] must be a tensor of \(N, 4\); got a list"),
    ],
)
def test_bad_images_and_proposals_are_refused_in_the_words_of_the_gate(entrance, image, proposed, words):
    with pytest.raises(ValueError, match=words):
        ENTRANCES[entrance](image, proposed)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": torch.tensor([0])}, r"targets\[0\]: labels must be 1 to 2 \(0 is background, .* got \[0\]"),
        ({"labels": torch.tensor([-1])}, r"targets\[0\]: labels must be 1 to 2"),
        ({"labels": torch.tensor([3])}, r"targets\[0\]: labels must be 1 to 2"),
        ({"labels": torch.tensor([1.0])}, r"targets\[0\]: labels must be 1 integers, one for each box"),
        ({"boxes": torch.tensor([[5.0, 0, 5, 10]])}, r"boxes of targets\[0\] must be \(N, 4\) with x2 > x1"),
        ({"difficult": torch.tensor([0])}, r"targets\[0\]: difficult must be 1 bools, one for each box"),
    ],
)
def test_bad_targets_are_refused_in_the_words_of_the_gate(changed, words):
    with pytest.raises(ValueError, match=words):
        rcnn.make_regions(PROPOSED, TARGET | changed, classes=2)


def test_a_list_of_proposals_that_does_not_fit_the_images_is_refused():
    with pytest.raises(ValueError, match=r"give a \(R, 4\) tensor for each of the 2 images"):
        detector()([IMAGE, IMAGE], [PROPOSED])
    with pytest.raises(ValueError, match="there are no images"):
        detector()([], [])


# --- devices ------------------------------------------------------------------------------------------------------


def test_every_tensor_is_made_where_the_images_are(monkeypatch):
    # Inside `torch.device("meta")`, whoever makes a tensor and does not say where gets one without values, which
    # cannot be mixed with the images. (AdamW counts its steps in such a tensor, which is its own affair.)
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, rate, **_: torch.optim.SGD(parameters, rate))
    images, targets, proposals = small_world(3, seed=5)
    network, seed = tiny_network(), generator(2)
    with torch.device("meta"):
        regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposals, targets, strict=True)]
        rcnn.fine_tune(network, images, regions, steps=2, generator=seed)
        features = [rcnn.describe(network, i, r.boxes) for i, r in zip(images, regions, strict=True)]
        svms = rcnn.train_svms(features, regions, generator=seed)
        regression = rcnn.fit_box_regression(features, regions)
        answers = rcnn.RCNN(network, svms.layer, regression)(images, proposals)
    made = [*regions[0], *features[0], svms.layer.weight, svms.layer.bias, regression.weight, *answers[0].values()]
    assert {tensor.device.type for tensor in made} == {"cpu"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_all_stages_run_on_a_gpu_and_find_what_the_processor_finds():
    images, targets, proposals = small_world(12, seed=5)
    found = []
    for device in ("cpu", "cuda"):
        here = [image.to(device) for image in images]
        proposed = [of_image.to(device) for of_image in proposals]
        true = [{key: value.to(device) for key, value in target.items()} for target in targets]
        regions = [rcnn.make_regions(p, t, 2) for p, t in zip(proposed, true, strict=True)]
        network = tiny_network().to(device)
        rcnn.fine_tune(network, here, regions, steps=40, learning_rate=0.01, generator=generator(2))
        features = [rcnn.describe(network, i, r.boxes) for i, r in zip(here, regions, strict=True)]
        svms = rcnn.train_svms(features, regions, generator=generator(3))
        model = rcnn.RCNN(network, svms.layer, rcnn.fit_box_regression(features, regions, penalty=1.0))
        answers = model(here, proposed)
        assert {value.device.type for answer in answers for value in answer.values()} == {device}
        answers = [{key: value.cpu() for key, value in answer.items()} for answer in answers]
        found.append(evaluate_voc(answers, targets, iou_threshold=0.6).mean_ap)
    assert found[0] > 0.6
    assert found[1] == pytest.approx(found[0], abs=0.1)
