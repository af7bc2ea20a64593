"""Boxes: equal to torchvision, to loops that follow the papers literally, and to published cases."""

import math
import re

import hypothesis.strategies as st
import pytest
import torch
import torchvision
from hypothesis import given
from torchvision.models.detection._utils import BoxCoder

from frcnn_lessons import boxes as B
from helpers.draws import generator, random_boxes
from helpers.published import published_case

HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@st.composite
def box_sets(draw, max_size=40, dtypes=(torch.float32, torch.float64)):
    """Boxes on a coarse grid: many touch, nest, coincide or have no width, which is where implementations differ."""
    count, seed = draw(st.integers(0, max_size)), draw(st.integers(0, 100_000))
    step = draw(st.sampled_from([0.1, 0.5, 1.0, 7.3]))
    corners = torch.randint(-3, 9, (count, 2, 2), generator=generator(seed)).to(draw(st.sampled_from(dtypes)))
    corners = corners.sort(dim=1).values * step  # (count, 2, 2): low corner, high corner
    return corners.flatten(1)


def tied_scores(count, seed):
    return torch.randint(0, 5, (count,), generator=generator(seed)) / 4


def equal_with_nan(a, b):
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


# --- slow oracles ------------------------------------------------------------------------------------------------


def iou_slowly(a, b, offset=0.0):
    """One pair at a time, in Python's own floats."""
    shared = 1.0
    for low, high in ((0, 2), (1, 3)):
        shared *= max(0.0, min(a[high], b[high]) - max(a[low], b[low]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    union = sum(areas) - shared
    return shared / union if union else math.nan


def nms_slowly(boxes, scores, threshold, offset=0.0):
    """The sentence of the docstring: best first, out if it overlaps one that was kept."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if not any(iou_slowly(boxes[i], boxes[k], offset) > threshold for k in kept):
            kept.append(i)
    return kept


# --- overlap -----------------------------------------------------------------------------------------------------


@given(a=box_sets(), b=box_sets())
def test_iou_is_torchvisions_to_the_last_bit(a, b):
    b = b.to(a.dtype)
    assert equal_with_nan(B.iou(a, b), torchvision.ops.box_iou(a, b))


@given(
    a=box_sets(8, dtypes=(torch.float64,)), b=box_sets(8, dtypes=(torch.float64,)), offset=st.sampled_from([0.0, 1.0])
)
def test_iou_is_what_the_loop_says(a, b, offset):
    fast = B.iou(a, b, pixel_offset=offset)
    slow = torch.tensor([[iou_slowly(p, q, offset) for q in b.tolist()] for p in a.tolist()], dtype=torch.float64)
    torch.testing.assert_close(fast, slow.reshape(len(a), len(b)), equal_nan=True)


@given(a=box_sets(), b=box_sets())
def test_giou_is_torchvisions_to_the_last_bit(a, b):
    b = b.to(a.dtype)
    assert equal_with_nan(B.giou(a, b), torchvision.ops.generalized_box_iou(a, b))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    # 300 x 300 = 90,000 is beyond float16: without the upcast the area is infinite and the IoU 0 or NaN.
    boxes = torch.tensor([[0, 0, 300, 300], [0, 0, 300, 150]], dtype=dtype)
    assert B.iou(boxes, boxes).tolist() == [[1.0, 0.5], [0.5, 1.0]]
    assert B.area(boxes).tolist() == [90_000, 45_000]
    assert B.nms(boxes, torch.tensor([0.5, 0.9], dtype=dtype), 0.4).tolist() == [1]
    assert B.decode(B.encode(boxes, boxes), boxes).dtype == torch.float32


@pytest.mark.parametrize(
    ("other", "expected", "why"),
    [
        ([2, 2, 6, 6], 1.0, "identical"),
        ([6, 2, 9, 6], 0.0, "shares an edge only"),
        ([6, 6, 9, 9], 0.0, "shares a corner only"),
        ([3, 3, 5, 5], 4 / 16, "nested"),
        ([7, 7, 9, 9], 0.0, "apart in x and in y: two negative sides"),
        ([4, 2, 4, 6], 0.0, "no width"),
    ],
)
def test_iou_of_cases_checked_by_hand(other, expected, why):
    assert B.iou(torch.tensor([[2.0, 2, 6, 6]]), torch.tensor([other]).float()).item() == expected, why


def test_two_boxes_without_area_have_no_iou_and_pass_no_threshold():
    point = torch.tensor([[3.0, 3, 3, 3]])
    assert B.iou(point, point).isnan().all()
    assert not (B.iou(point, point) >= 0.5).any()


def test_giou_tells_how_far_apart_boxes_are_and_can_be_a_loss():
    near = torch.tensor([[0.0, 0, 1, 1]])
    far = torch.tensor([[2.0, 0, 3, 1], [9.0, 0, 10, 1]])
    assert B.giou(near, far)[0].tolist() == pytest.approx([-1 / 3, -8 / 10])

    moved = far[:1].clone().requires_grad_()
    (1 - B.giou(near, moved)).sum().backward()
    assert moved.grad[0, 0] > 0, "a step against the gradient must pull the left edge closer"
    assert torch.autograd.gradcheck(B.giou, (near.double(), far.double().requires_grad_()))


# --- formats, size and place -------------------------------------------------------------------------------------


@given(boxes=box_sets())
def test_conversions_are_torchvisions(boxes):
    for fmt, there, back in [
        ("xywh", B.xyxy_to_xywh, B.xywh_to_xyxy),
        ("cxcywh", B.xyxy_to_cxcywh, B.cxcywh_to_xyxy),
    ]:
        converted = there(boxes)
        torch.testing.assert_close(converted, torchvision.ops.box_convert(boxes, "xyxy", fmt))
        torch.testing.assert_close(back(converted), torchvision.ops.box_convert(converted, fmt, "xyxy"))
        torch.testing.assert_close(back(converted), boxes)


@given(boxes=box_sets(), height=st.integers(1, 30), width=st.integers(1, 30), smallest=st.sampled_from([0, 0.5, 1, 4]))
def test_area_clip_and_remove_small_are_torchvisions(boxes, height, width, smallest):
    assert torch.equal(B.area(boxes), torchvision.ops.box_area(boxes))
    clipped = B.clip(boxes, (height, width))
    assert torch.equal(clipped, torchvision.ops.clip_boxes_to_image(boxes, (height, width)))
    assert torch.equal(B.remove_small(clipped, smallest), torchvision.ops.remove_small_boxes(clipped, smallest))


def test_a_box_outside_the_image_keeps_its_row_and_loses_its_area():
    clipped = B.clip(torch.tensor([[-5.0, -5, -1, -1], [2, 2, 30, 4]]), (10, 20))
    assert clipped.tolist() == [[0, 0, 0, 0], [2, 2, 20, 4]]
    assert B.remove_small(clipped, 1).tolist() == [1]


# --- regression targets ------------------------------------------------------------------------------------------


@given(
    count=st.integers(0, 20), seed=st.integers(0, 1000), weights=st.sampled_from([(1.0, 1.0, 1.0, 1.0), HEAD_WEIGHTS])
)
def test_encode_and_decode_are_torchvisions_and_inverse(count, seed, weights):
    gt_boxes, anchors = (random_boxes(count, 100, 80, generator(seed + i)) for i in (0, 1))
    theirs = BoxCoder(weights)
    deltas = B.encode(gt_boxes, anchors, weights)
    torch.testing.assert_close(deltas, theirs.encode_single(gt_boxes, anchors))
    torch.testing.assert_close(B.decode(deltas, anchors, weights), theirs.decode_single(deltas, anchors))
    torch.testing.assert_close(B.decode(deltas, anchors, weights), gt_boxes, rtol=1e-4, atol=1e-3)


def test_decode_of_one_box_a_class_is_the_decode_of_each_class():
    anchors = random_boxes(6, 100, 80, generator())
    deltas = torch.randn(6, 3, 4, generator=generator(1))
    together = B.decode(deltas, anchors, HEAD_WEIGHTS)
    assert together.shape == (6, 3, 4)
    for c in range(3):
        assert torch.equal(together[:, c], B.decode(deltas[:, c], anchors, HEAD_WEIGHTS))
    assert B.decode(torch.zeros(0, 3, 4), torch.zeros(0, 4)).shape == (0, 3, 4)


def test_a_wild_delta_grows_a_box_no_more_than_62_fold():
    box = B.decode(torch.tensor([[0.0, 0, 1000, -1000]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert B.xyxy_to_cxcywh(box)[0].tolist() == pytest.approx([8, 8, 1000, 0], abs=1e-2)


def test_deltas_by_hand():
    # Centre (10, 10), 20 x 20 -> centre (15, 10), 40 x 10: a quarter width to the right, twice as wide, half as high.
    deltas = B.encode(torch.tensor([[-5.0, 5, 35, 15]]), torch.tensor([[0.0, 0, 20, 20]]))
    assert deltas[0].tolist() == pytest.approx([0.25, 0, math.log(2), math.log(0.5)])


def test_gradients_flow_through_decode():
    anchors = random_boxes(3, 100, 80, generator(), torch.float64)
    deltas = torch.randn(3, 4, generator=generator(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: B.decode(d, anchors, HEAD_WEIGHTS), deltas)


# --- non-maximum suppression -------------------------------------------------------------------------------------

# 0.1 and 0.3 are larger as float32 than as Python floats, 0.7 is smaller: an IoU that equals the threshold shows it.
THRESHOLDS = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1 / 3, 0.7, 1.0])


@given(boxes=box_sets(60), seed=st.integers(0, 1000), threshold=THRESHOLDS)
def test_nms_keeps_what_torchvision_keeps_in_its_order(boxes, seed, threshold):
    scores = tied_scores(len(boxes), seed).to(boxes.dtype)
    assert torch.equal(B.nms(boxes, scores, threshold), torchvision.ops.nms(boxes, scores, threshold))


@given(boxes=box_sets(12, dtypes=(torch.float64,)), seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 1.0]))
def test_nms_is_what_the_loop_says(boxes, seed, offset):
    scores = tied_scores(len(boxes), seed).double()
    # 0.4567 is no ratio of small numbers: no IoU on the grid equals it, however it is rounded.
    slow = nms_slowly(boxes.tolist(), scores.tolist(), 0.4567, offset)
    assert B.nms(boxes, scores, 0.4567, pixel_offset=offset).tolist() == slow


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("spread", [30, 300, 3000])
def test_nms_of_more_boxes_than_a_block_is_torchvisions(threshold, spread):
    count = 3 * B.NMS_BLOCK + 17
    corner = torch.rand(count, 2, generator=generator(spread)) * spread
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator(1)) * 60], dim=1)
    scores = torch.rand(count, generator=generator(2))
    kept = torchvision.ops.nms(boxes, scores, threshold)
    assert torch.equal(B.nms(boxes, scores, threshold), kept)
    for limit in (0, 1, len(kept) - 1, len(kept), count):
        assert torch.equal(B.nms(boxes, scores, threshold, limit=limit), kept[:limit])


def test_a_long_chain_of_neighbours_loses_every_second_box():
    # Each box overlaps only the next one: the second falls, so the third stays, so the fourth falls ...
    left = torch.arange(100.0) * 6
    boxes = torch.stack([left, torch.zeros(100), left + 10, torch.ones(100)], dim=1)
    scores = torch.linspace(1, 0.5, 100)
    assert B.nms(boxes, scores, 0.2).tolist() == list(range(0, 100, 2))


@given(boxes=box_sets(40), seed=st.integers(0, 1000), threshold=THRESHOLDS)
def test_batched_nms_is_nms_class_by_class(boxes, seed, threshold):
    labels = torch.randint(0, 4, (len(boxes),), generator=generator(seed))
    scores = tied_scores(len(boxes), seed + 1).to(boxes.dtype)
    kept = B.batched_nms(boxes, scores, labels, threshold)
    expected = []
    for label in range(4):
        rows = torch.nonzero(labels == label).flatten()
        expected += rows[torchvision.ops.nms(boxes[rows], scores[rows], threshold)].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: (-scores[i].item(), i))


def test_batched_nms_is_torchvisions_on_detections():
    # Whole pixels: torchvision moves each class aside by adding an offset, which rounds coordinates with fractions.
    boxes = random_boxes(300, 100, 80, generator(3)).round()
    scores = torch.rand(300, generator=generator(4))
    labels = torch.randint(1, 4, (300,), generator=generator(5))
    assert torch.equal(
        B.batched_nms(boxes, scores, labels, 0.5), torchvision.ops.batched_nms(boxes, scores, labels, 0.5)
    )


# --- empty input, devices, bad input -----------------------------------------------------------------------------


def test_every_function_takes_no_boxes_at_all():
    none, some = torch.zeros(0, 4), torch.tensor([[0.0, 0, 1, 1]])
    assert B.iou(none, some).shape == B.giou(none, some).shape == (0, 1)
    assert B.iou(some, none).shape == B.giou(some, none).shape == (1, 0)
    for convert in (B.xyxy_to_xywh, B.xywh_to_xyxy, B.xyxy_to_cxcywh, B.cxcywh_to_xyxy):
        assert convert(none).shape == (0, 4)
    assert B.clip(none, (5, 5)).shape == B.encode(none, none).shape == B.decode(none, none).shape == (0, 4)
    assert B.area(none).shape == B.remove_small(none, 1).shape == B.nms(none, torch.zeros(0), 0.5).shape == (0,)
    assert B.batched_nms(none, torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.5).shape == (0,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same():
    boxes, scores = random_boxes(500, 100, 80, generator()), torch.rand(500, generator=generator(0))
    labels = torch.randint(1, 4, (500,), generator=generator(1))
    gpu = [tensor.cuda() for tensor in (boxes, scores, labels)]
    torch.testing.assert_close(B.iou(gpu[0], gpu[0]).cpu(), B.iou(boxes, boxes))
    assert torch.equal(B.batched_nms(*gpu, 0.5).cpu(), B.batched_nms(boxes, scores, labels, 0.5))
    torch.testing.assert_close(B.decode(B.encode(gpu[0], gpu[0]), gpu[0]).cpu(), boxes)


SQUARE = torch.tensor([[0.0, 0, 4, 4]])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: B.iou(torch.zeros(4), SQUARE), "a must be (N, 4), and (0, 4) when there are none; got (4,)"),
        (lambda: B.iou(SQUARE, torch.zeros(2, 5)), "b must be (N, 4), and (0, 4) when there are none; got (2, 5)"),
        (lambda: B.iou(SQUARE.long(), SQUARE), "a must hold floats; got torch.int64, convert them with .float()"),
        (lambda: B.iou(SQUARE.numpy(), SQUARE), "a must be a torch tensor; got ndarray"),
        (lambda: B.area(torch.tensor([[0.0, 0, 1, 1], [10, 5, 9, 10]])), "y2 >= y1; row 1 is [10, 5, 9, 10]"),
        (lambda: B.nms(SQUARE * math.nan, torch.ones(1), 0.5), "row 0 is [nan, nan, nan, nan]"),
        (lambda: B.encode(SQUARE, torch.tensor([[10.0, 5, 10, 9]])), "x2 > x1 and y2 > y1; row 0 is [10, 5, 10, 9]"),
        (lambda: B.encode(SQUARE, SQUARE.repeat(2, 1)), "1 gt_boxes for 2 anchors"),
        (lambda: B.decode(torch.zeros(1, 8), SQUARE), "(N, C, 4) with a row for each of the 1 anchors; got (1, 8)"),
        (lambda: B.decode(torch.zeros(2, 4), SQUARE), "got (2, 4)"),
        (lambda: B.xywh_to_xyxy(torch.tensor([[5.0, 5, -2, 3]])), "with sizes of 0 or more; row 0 is [5, 5, -2, 3]"),
        (lambda: B.cxcywh_to_xyxy(torch.tensor([[5.0, 5, 2, math.nan]])), "(centre x, centre y, width, height)"),
        (lambda: B.nms(SQUARE, torch.ones(2), 0.5), "scores must hold one number for each of the 1 boxes; got (2,)"),
        (lambda: B.nms(SQUARE, torch.tensor([math.nan]), 0.5), "scores must be numbers; number 0 is NaN"),
        (lambda: B.batched_nms(SQUARE, torch.ones(1), torch.ones(2).long(), 0.5), "for each of the 1 boxes; got (2,)"),
    ],
)  # fmt: skip
def test_bad_input_is_told_what_is_wrong(call, words):
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        call()


# --- published cases ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit_cases():
    return published_case("unit_cases")


@pytest.fixture(scope="module")
def py_faster_rcnn():
    return published_case("pyfrcnn_boxops")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("iou_chainercv", B.iou),
        ("iou_torchvision_int", B.iou),
        ("iou_torchvision_float", B.iou),
        ("iou_detectron2", B.iou),
        ("giou_torchvision_int", B.giou),
    ],
)
def test_overlap_of_other_libraries_published_cases(unit_cases, name, function):
    case = unit_cases[name]
    computed = function(torch.tensor(case["a"]).float(), torch.tensor(case["b"]).float())
    torch.testing.assert_close(computed, torch.tensor(case["expected"]).float(), rtol=0, atol=case.get("atol", 1e-6))


def test_nms_of_chainercv_which_suppresses_at_the_threshold_too(unit_cases):
    case = unit_cases["nms_chainercv"]
    boxes = torch.tensor(case["boxes"]).double()
    scores = torch.arange(len(boxes), 0, -1).double()
    for threshold, expected in case["cases"].items():
        just_below = math.nextafter(float(threshold), -1)  # chainercv: IoU >= threshold; here: IoU > threshold
        assert B.nms(boxes, scores, just_below).tolist() == expected, threshold


def test_encode_of_a_box_onto_itself_is_zero_as_in_chainercv(unit_cases):
    case = unit_cases["bbox2loc_identity_chainercv"]
    deltas = B.encode(torch.tensor(case["dst_box"]).float(), torch.tensor(case["src_box"]).float())
    assert deltas.tolist() == case["loc"]


def test_py_faster_rcnn_with_its_one_pixel(py_faster_rcnn):
    case = {
        name: torch.tensor(case, dtype=torch.float64) for name, case in py_faster_rcnn.items() if isinstance(case, list)
    }
    deltas = B.encode(case["gt"], case["ex"], pixel_offset=1)
    torch.testing.assert_close(deltas, case["bbox_transform"])
    decoded = B.decode(case["bbox_transform"], case["ex"], pixel_offset=1)
    torch.testing.assert_close(decoded, case["bbox_transform_inv"])
    torch.testing.assert_close(B.clip(decoded, (250, 320), pixel_offset=1), case["clip_h250_w320"])
    # The convention leaks: after a round trip the far corner is one pixel further out.
    torch.testing.assert_close(decoded - case["gt"], torch.tensor([0, 0, 1, 1.0]).double().expand(50, 4))

    boxes, scores = case["nms_dets"][:, :4], case["nms_dets"][:, 4]
    for threshold, expected in py_faster_rcnn["nms_keep"].items():
        assert B.nms(boxes, scores, float(threshold), pixel_offset=1).tolist() == expected
