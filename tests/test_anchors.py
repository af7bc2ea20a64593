"""Anchors: the published cases, torchvision's, and their order spelt out in loops."""

import math
import re

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torchvision.models.detection.anchor_utils import AnchorGenerator

from frcnn_lessons.anchors import anchor_grid, base_anchors, inside
from helpers.published import published_case

positive = st.lists(st.floats(0.1, 10), min_size=1, max_size=4)
sides = st.lists(st.floats(4, 600), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def published():
    return published_case("unit_cases")


# --- shapes ----------------------------------------------------------------------------------------------------------


@given(sides, positive)
def test_each_shape_has_its_area_and_its_ratio_and_stands_on_the_centre(sizes, ratios):
    # Written the way the module documents the order: anchor a is ratio a // sizes, size a % sizes.
    for a, (x1, y1, x2, y2) in enumerate(base_anchors(sizes, ratios).tolist()):
        size, ratio = sizes[a % len(sizes)], ratios[a // len(sizes)]
        assert (x2 - x1) * (y2 - y1) == pytest.approx(size * size, rel=1e-5)
        assert (y2 - y1) / (x2 - x1) == pytest.approx(ratio, rel=1e-5), "the ratio is height / width"
        assert (x1 + x2, y1 + y2) == (0, 0)


@given(sides, positive, st.tuples(st.integers(1, 6), st.integers(1, 6)), st.sampled_from([4, 8, 16, 32]))
def test_anchors_are_those_of_torchvision_in_its_order(sizes, ratios, map_size, stride):
    theirs = AnchorGenerator((tuple(sizes),), (tuple(ratios),))
    expected = theirs.grid_anchors([list(map_size)], [[torch.tensor(stride), torch.tensor(stride)]])[0]
    base = base_anchors(sizes, ratios, rounding="torchvision")
    assert torch.equal(anchor_grid(base, map_size, stride, offset=0), expected)


@given(sides, positive, st.sampled_from([4, 8, 16, 32]), st.sampled_from([0.25, 0.5]))
def test_shifted_anchors_are_those_of_torchvision_to_the_last_bit(sizes, ratios, stride, offset):
    # One bit off, and another of two tied anchors is the best for an object: other targets, other losses.
    base = base_anchors(sizes, ratios)
    theirs = AnchorGenerator((tuple(sizes),), (tuple(ratios),))
    theirs.cell_anchors = [base + offset * stride]
    expected = theirs.grid_anchors([[5, 7]], [[torch.tensor(stride), torch.tensor(stride)]])[0]
    assert torch.equal(anchor_grid(base, (5, 7), stride, offset), expected)


def test_the_nine_boxes_of_py_faster_rcnn(published):
    # It numbers pixels, from the corner of a 16-pixel cell: half a stride further, and the last pixel, not the edge.
    case = published["anchors_pyfrcnn"]
    sizes = [case["base"] * scale for scale in case["scales"]]
    listed = anchor_grid(base_anchors(sizes, case["ratios"], "py-faster-rcnn"), (1, 1), 16) - torch.tensor([0, 0, 1, 1])
    assert listed.tolist() == case["expected"]
    # What the rounding of 22.6 to 23 has grown to in the largest: 736 pixels wide in place of 724.
    assert (listed[2, 2] - listed[2, 0] + 1).item() == 23 * 32
    assert 2 * base_anchors(sizes, case["ratios"])[2, 2].item() == pytest.approx(512 * math.sqrt(2))


def test_the_anchors_of_detectron2_stand_in_another_order(published):
    case = published["anchors_detectron2"]
    sizes, ratios = len(case["sizes"]), len(case["ratios"])
    ours = anchor_grid(base_anchors(case["sizes"], case["ratios"]), tuple(case["grid"]), case["stride"], offset=0)
    theirs = ours.view(-1, ratios, sizes, 4).transpose(1, 2).flatten(0, 2)  # sizes outside, ratios inside
    assert theirs.tolist() == case["expected"]
    assert ours.tolist() != case["expected"], "weights learned in one order are of no use in the other"


def test_the_anchors_of_chainercv(published):
    case = published["anchor_base_chainercv"]
    base = base_anchors([case["base"] * scale for scale in case["scales"]], case["ratios"])
    assert anchor_grid(base, (1, 1), 16)[:, [1, 0, 3, 2]].tolist() == case["expected_yxyx"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("sizes", "ratios", "rounding", "message"),
    [
        ((), (1.0,), "none", "above 0"),
        ((8,), (), "none", "above 0"),
        ((8, 0), (1.0,), "none", "above 0"),
        ((8,), (-1.0,), "none", "above 0"),
        (((32,), (64,)), (1.0,), "none", "flat lists of numbers; got sizes ((32,), (64,))"),
        (32, (1.0,), "none", "flat lists of numbers; got sizes 32"),
    ],
)
def test_shapes_that_cannot_be_are_refused(sizes, ratios, rounding, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        base_anchors(sizes, ratios, rounding)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_rounding_is_refused_and_not_taken_for_none():
    with pytest.raises(ValueError, match="py-faster-rcnn"):
        base_anchors(rounding="detectron2")


# --- the grid --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 32), st.sampled_from([0.0, 0.5]))
def test_the_grid_goes_row_by_row_cell_by_cell_shape_by_shape(rows, columns, shapes, stride, offset):
    # The network's channels are put in this order: one transposed axis, and every box is learned for another place.
    base = base_anchors([8.0 * (s + 1) for s in range(shapes)], [1.0])
    grid = anchor_grid(base, (rows, columns), stride, offset)
    assert grid.shape == (rows * columns * shapes, 4)
    for y in range(rows):
        for x in range(columns):
            for a in range(shapes):
                centre = ((x + offset) * stride, (y + offset) * stride)
                half = 4.0 * (a + 1)
                expected = [centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half]
                assert grid[(y * columns + x) * shapes + a].tolist() == expected


def test_an_image_of_800_x_800_has_22500_anchors_of_which_8940_lie_inside():
    # The walk-through's figures (SYSTEMS.md, D): VGG16's 50 x 50 map, nine shapes, centres at 8, 24, ...
    grid = anchor_grid(base_anchors(), (50, 50), 16)
    assert len(grid) == 22_500
    centres = (grid[::9, :2] + grid[::9, 2:]) / 2
    assert centres[:2].tolist() == [[8, 8], [24, 8]]
    assert centres[-1].tolist() == [792, 792]
    assert inside(grid, (800, 800)).sum() == 8940


@pytest.mark.parametrize(
    ("rounding", "offset", "count"),
    [("torchvision", 0.5, 8940), ("torchvision", 0.0, 9321), ("py-faster-rcnn", 0.5, 9132), ("none", 0.0, 9321)],
)
def test_how_many_lie_inside_depends_on_roundings_and_on_the_centre(rounding, offset, count):
    # Printed in notebooks/extras/08_three_programs: the reader who counts otherwise in other code sees here why.
    grid = anchor_grid(base_anchors(rounding=rounding), (50, 50), 16, offset)
    assert inside(grid, (800, 800)).sum() == count


def test_a_border_may_be_touched_but_not_crossed():
    image = (30, 40)  # height, width: the two in the wrong order are noticed
    rows = torch.tensor([[0.0, 0, 40, 30], [0, 0, 40.5, 30], [0, 0, 40, 30.5], [-0.5, 0, 9, 9], [0, -0.5, 9, 9]])
    assert inside(rows, image).tolist() == [True, False, False, False, False]
    assert inside(rows, image, margin=0.5).all()
    assert inside(rows[:0], image).shape == (0,)


@pytest.mark.parametrize(("map_size", "stride"), [((0, 4), 16), ((4, 0), 16), ((4, 4), 0)])
def test_a_map_without_cells_is_refused(map_size, stride):
    with pytest.raises(ValueError, match="1 or more"):
        anchor_grid(base_anchors(), map_size, stride)
