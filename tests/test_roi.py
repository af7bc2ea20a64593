"""Pooling of regions: equal to torchvision in values and gradients, and to loops over single cells."""

import math
import re

import hypothesis.strategies as st
import pytest
import torch
import torchvision
from hypothesis import given

from frcnn_lessons import roi, roi_fast
from helpers.draws import generator
from helpers.pooling_cases import pooling_cases, value_and_gradient
from helpers.published import published_case

# Every promise below is made by both: the one that lessons print, and the one that detectors call.
both_modules = pytest.mark.parametrize("module", [roi, roi_fast], ids=["roi", "roi_fast"])


# --- slow oracles ------------------------------------------------------------------------------------------------


def round_half_away(x):
    return math.floor(x + 0.5) if x >= 0 else math.ceil(x - 0.5)


def roi_pool_slowly(features, regions, P, Q, scale):
    """Fast R-CNN's rule, one bin at a time, on nested lists; says which cell won, too (None where a bin is empty)."""
    _, C, H, W = features.shape
    values, winners = [], []
    for image, boxes in enumerate(regions):
        for x1, y1, x2, y2 in (boxes * scale).tolist():
            left, top = round_half_away(x1), round_half_away(y1)
            length_x = max(round_half_away(x2) - left + 1, 1)
            length_y = max(round_half_away(y2) - top + 1, 1)
            for c in range(C):
                for p in range(P):
                    for q in range(Q):
                        best, winner = 0.0, None
                        first_y, past_y = (
                            top + math.floor(p * (length_y / P)),
                            top + math.ceil((p + 1) * (length_y / P)),
                        )
                        first_x, past_x = (
                            left + math.floor(q * (length_x / Q)),
                            left + math.ceil((q + 1) * (length_x / Q)),
                        )
                        for y in range(max(first_y, 0), min(past_y, H)):
                            for x in range(max(first_x, 0), min(past_x, W)):
                                value = features[image, c, y, x].item()
                                if winner is None or value > best:
                                    best, winner = value, (image, c, y, x)
                        values.append(best)
                        winners.append(winner)
    return torch.tensor(values, dtype=features.dtype).view(-1, C, P, Q), winners


def between_cells(plane, y, x):
    """Bilinear interpolation in one channel, as the paper draws it: four cells, each by how near it is."""
    H, W = plane.shape
    if not (-1 <= y <= H and -1 <= x <= W):
        return 0.0
    y, x = min(max(y, 0), H - 1), min(max(x, 0), W - 1)
    total = 0.0
    for cell_y in {math.floor(y), min(math.floor(y) + 1, H - 1)}:
        for cell_x in {math.floor(x), min(math.floor(x) + 1, W - 1)}:
            total += plane[cell_y, cell_x].item() * (1 - abs(y - cell_y)) * (1 - abs(x - cell_x))
    return total


def roi_align_slowly(features, regions, P, Q, scale, sampling_ratio, aligned):
    values = []
    for image, boxes in enumerate(regions):
        for box in (boxes * scale - (0.5 if aligned else 0)).tolist():
            x1, y1, x2, y2 = box
            smallest = -math.inf if aligned else 1
            bin_x, bin_y = max(x2 - x1, smallest) / Q, max(y2 - y1, smallest) / P
            across = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_x)
            down = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_y)
            for plane in features[image]:
                for p in range(P):
                    for q in range(Q):
                        points = [
                            between_cells(
                                plane, y1 + (p + (i + 0.5) / down) * bin_y, x1 + (q + (j + 0.5) / across) * bin_x
                            )
                            for i in range(down)
                            for j in range(across)
                        ]
                        values.append(sum(points) / max(len(points), 1))
    return torch.tensor(values, dtype=features.dtype).view(-1, features.shape[1], P, Q)


# --- RoI pooling -------------------------------------------------------------------------------------------------


@both_modules
@given(case=pooling_cases())
def test_roi_pool_is_torchvisions_in_values_and_gradients(module, case):
    ours, gradient = value_and_gradient(module.roi_pool, *case)
    theirs, their_gradient = value_and_gradient(torchvision.ops.roi_pool, *case)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(gradient, their_gradient, rtol=0, atol=1e-6)


@both_modules
@given(case=pooling_cases())
def test_roi_pool_and_its_winners_are_what_the_loop_says(module, case):
    features, regions, size, scale = case
    features, regions = features.double(), [boxes.double() for boxes in regions]
    P, Q = (size, size) if isinstance(size, int) else size
    slow, winners = roi_pool_slowly(features, regions, P, Q, scale)
    features.requires_grad_()
    pooled = module.roi_pool(features, regions, size, scale)
    # A gradient of 1 for each bin counts how often a cell won: ties go to the first, empty bins to nobody.
    pooled.sum().backward()
    assert torch.equal(pooled.detach(), slow)
    won = torch.zeros_like(features)
    for winner in winners:
        if winner is not None:
            won[winner] += 1
    assert torch.equal(features.grad, won)


@both_modules
def test_roi_pool_by_hand(module):
    # 6 columns x 4 rows, numbered in reading order. The region, 1..4 across and 0..2 down, is 4 x 3 cells:
    #    1  2 | 3  4
    #    7  8 | 9 10     Rows 0..1 are the upper bins and 1..2 the lower: 3 rows in 2 bins share the middle one.
    #   13 14 |15 16
    features = torch.arange(24.0).view(1, 1, 4, 6).requires_grad_()
    pooled = module.roi_pool(features, [torch.tensor([[1.0, 0, 4, 2]])], 2)
    assert pooled.tolist() == [[[[8, 10], [14, 16]]]]
    (pooled * torch.tensor([[1.0, 10], [100, 1000]])).sum().backward()
    assert {i: v for i, v in enumerate(features.grad.flatten().tolist()) if v} == {8: 1, 10: 10, 14: 100, 16: 1000}


@both_modules
def test_a_cell_that_wins_in_several_regions_gets_the_sum_of_their_gradients(module):
    # Fast R-CNN, equation 4, and what "detach after pooling" would lose.
    features = torch.tensor([[[[0.0, 1, 9, 2]]]], requires_grad=True)
    pooled = module.roi_pool(features, [torch.tensor([[0.0, 0, 2, 0], [2, 0, 3, 0], [3, 0, 3, 0]])], 1)
    (pooled.flatten() * torch.tensor([1.0, 10, 100])).sum().backward()
    assert features.grad.tolist() == [[[[0, 0, 11, 100]]]]


@both_modules
def test_halves_are_rounded_away_from_zero_as_in_cpp(module):
    # 0.5 -> 1 and 2.5 -> 3; Python and torch.round would say 0 and 2. And the largest float below 0.5 is no half.
    features = torch.tensor([[[[9.0, 1, 2, 3]]]])
    almost = math.nextafter(0.5, 0)
    regions = torch.tensor([[0.5, 0, 2.5, 0], [almost, 0, almost, 0], [-0.5, 0, -0.5, 0]], dtype=torch.float64)
    assert module.roi_pool(features, [regions], 1).flatten().tolist() == [3, 9, 0]


@both_modules
def test_the_last_bin_is_a_cell_longer_where_floats_say_so(module):
    # 57 / 7 * 7 > 57 in float32: the seventh bin reaches into the cell behind the region, in all published code.
    features = torch.arange(60.0).view(1, 1, 1, 60)
    region = torch.tensor([[0.0, 0, 56, 0]])
    assert module.roi_pool(features, [region], (1, 7))[0, 0, 0, -1] == 57
    assert torch.equal(module.roi_pool(features, [region], 7), torchvision.ops.roi_pool(features, [region], 7))


@both_modules
def test_a_region_without_end_covers_the_map(module):
    features = torch.rand(1, 2, 5, 5, generator=generator(0))
    pooled = module.roi_pool(features, [torch.tensor([[-1e30, -1e30, 1e30, 1e30]])], 1)
    assert torch.equal(pooled, features.amax(dim=(2, 3), keepdim=True))


@both_modules
def test_nan_in_the_features_is_seen_in_the_bin(module):
    # torchvision would drop it, and hide from the training loop that the backbone has blown up.
    features = torch.tensor([[[[1.0, math.nan, 2, 3]]]])
    pooled = module.roi_pool(features, [torch.tensor([[0.0, 0, 3, 0]])], (1, 2))
    assert pooled.isnan().flatten().tolist() == [True, False]


@both_modules
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_largest_of_nothing_but_minus_infinity_is_minus_infinity(module, dtype):
    # As where attention was masked. torchvision says the smallest float, and lets nobody win.
    features = torch.full((1, 1, 8, 8), -math.inf, dtype=dtype, requires_grad=True)
    pooled = module.roi_pool(features, [torch.tensor([[-20.0, -20, 3, 3], [1, 1, 5, 5]])], 2)
    # The first region lies over the border: three of its bins have no cell at all.
    assert pooled.flatten().tolist() == [0, 0, 0, -math.inf] + 4 * [-math.inf]
    pooled.backward(torch.ones_like(pooled))
    assert features.grad.sum() == 5
    assert module.roi_pool(features.detach(), [torch.tensor([[1.0, 1, 8, 8]])], 1).item() == -math.inf


@both_modules
def test_regions_that_end_with_the_image_are_pooled_as_by_torchvision(module):
    # 112 pixels are 7 cells, 0 to 6. The far edge of a box that ends with the image rounds to cell 7, which is not
    # there; where a bin has no other cell, it is empty, and nobody gets its gradient.
    features = torch.rand(2, 3, 7, 7, generator=generator(0)) - 2  # all below 0
    regions = [torch.tensor([[0.0, 0, 112, 112], [96, 40, 112, 60]]), torch.tensor([[30.0, 96, 50, 112]])]
    ours, gradient = value_and_gradient(module.roi_pool, features, regions, 7, 1 / 16)
    theirs, their_gradient = value_and_gradient(torchvision.ops.roi_pool, features, regions, 7, 1 / 16)
    assert (ours == 0).sum() > 0
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(gradient, their_gradient, rtol=0, atol=1e-6)


@both_modules
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_regions_of_every_length_are_cut_as_by_torchvision(module, dtype):
    features = torch.rand(1, 2, 130, 1, generator=generator(0), dtype=dtype)
    for length in range(1, 130):
        regions = [torch.tensor([[0.0, 0, 0, length - 1]], dtype=dtype)]
        for size in (7, 14):
            theirs = torchvision.ops.roi_pool(features, regions, size)
            assert torch.equal(module.roi_pool(features, regions, size), theirs), f"{length} cells in {size} bins"


# --- the spatial pyramid -------------------------------------------------------------------------------------------


@both_modules
@given(case=pooling_cases())
def test_a_pyramid_is_its_levels_side_by_side(module, case):
    features, regions, _, scale = case
    pooled = module.spatial_pyramid_pool(features, regions, spatial_scale=scale)
    levels = [torchvision.ops.roi_pool(features, regions, n, scale).flatten(1) for n in (4, 2, 1)]
    assert pooled.shape[1] == 21 * features.shape[1]
    assert torch.equal(pooled, torch.cat(levels, dim=1))


@both_modules
def test_the_top_of_the_pyramid_sees_what_all_its_levels_see(module):
    features = torch.rand(1, 4, 13, 9, generator=generator(0))
    pooled = module.spatial_pyramid_pool(features, [torch.tensor([[1.0, 2, 7, 12]])], levels=(3, 1))
    assert torch.equal(pooled[0, :36].view(4, 9).amax(dim=1), pooled[0, 36:])


# --- RoI align -----------------------------------------------------------------------------------------------------


@both_modules
@given(case=pooling_cases(inverted=False), ratio=st.integers(-1, 3), aligned=st.booleans())
def test_roi_align_is_torchvisions_in_values_and_gradients(module, case, ratio, aligned):
    arguments = (*case, ratio, aligned)
    ours, gradient = value_and_gradient(module.roi_align, *arguments)
    theirs, their_gradient = value_and_gradient(torchvision.ops.roi_align, *arguments)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-5, atol=1e-5)


@both_modules
@given(case=pooling_cases(), ratio=st.integers(1, 3))
def test_roi_align_of_inverted_regions_is_torchvisions(module, case, ratio):
    # (With as many points as cells, torchvision counts a negative number of them.)
    for aligned in (True, False):
        ours = module.roi_align(*case, ratio, aligned)
        torch.testing.assert_close(ours, torchvision.ops.roi_align(*case, ratio, aligned), rtol=1e-5, atol=1e-5)


@both_modules
@given(case=pooling_cases(inverted=False), ratio=st.integers(0, 2), aligned=st.booleans())
def test_roi_align_is_what_the_loop_says(module, case, ratio, aligned):
    features, regions, size, scale = case
    # Away from whole cells: a point exactly one cell outside counts or not by how its coordinate was rounded.
    features, regions = features.double()[:1, :1], [regions[0].double() + 0.0123]
    P, Q = (size, size) if isinstance(size, int) else size
    slow = roi_align_slowly(features, regions, P, Q, scale, ratio, aligned)
    torch.testing.assert_close(module.roi_align(features, regions, size, scale, ratio, aligned), slow)


@both_modules
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_cell_that_no_point_is_near_is_not_looked_at(module, ratio, bad):
    # 0 * NaN is NaN: a weight of 0 would not keep it out.
    regions = torch.tensor([[3.2, 1.1, 7.7, 7.3], [0.61, 0.53, 2.7, 8.87], [4, 4, 4.1, 4.1], [50, 50, 60, 60]])
    for place in ((0, 0), (6, 6), (4, 1)):
        features = torch.rand(1, 1, 9, 8, generator=generator(0))
        features[0, 0][place] = bad
        ours = module.roi_align(features, [regions], 3, 1.0, ratio, True)
        theirs = torchvision.ops.roi_align(features, [regions[:3]], 3, 1.0, ratio, True)
        assert 0 < theirs.isfinite().sum() < theirs.numel()
        torch.testing.assert_close(ours[:3], theirs, equal_nan=True)
        assert ours[3].count_nonzero() == 0  # outside the map, where torchvision looks at the first cell


@both_modules
def test_roi_align_by_hand(module):
    # A slope that rises by 1 a column: interpolation gives the column of the point. Two bins over columns 1 to 3,
    # cells measured at their centres: the bins' centres are at x = 1.5 and 2.5, the centres of columns 1 and 2.
    features = torch.arange(5.0).expand(1, 1, 4, 5)
    region = [torch.tensor([[1.0, 1, 3, 2]])]
    assert module.roi_align(features, region, (1, 2), aligned=True).flatten().tolist() == [1, 2]
    # Unaligned, the same bins read half a cell too far right on the map: half a cell of misplacement.
    assert module.roi_align(features, region, (1, 2)).flatten().tolist() == [1.5, 2.5]


@both_modules
def test_an_inverted_region_has_no_points_of_its_own_and_gives_zero(module):
    features = torch.ones(1, 1, 4, 4)
    inverted = [torch.tensor([[3.0, 3, 1, 1], [2, 2, 2, 2]])]
    assert module.roi_align(features, inverted, 2, aligned=True).tolist() == torch.zeros(2, 1, 2, 2).tolist()


# --- what all of them promise ----------------------------------------------------------------------------------------

NAMES = ["roi_pool", "roi_align", "spatial_pyramid_pool"]


def pools(module):
    return [
        module.roi_pool,
        module.roi_align,
        lambda f, r, _size, scale: module.spatial_pyramid_pool(f, r, (2, 1), scale),
    ]


every_pool = pytest.mark.parametrize("pool", pools(roi) + pools(roi_fast), ids=NAMES + [f"fast {n}" for n in NAMES])
of_one_level = pytest.mark.parametrize(
    "pool", pools(roi)[:2] + pools(roi_fast)[:2], ids=NAMES[:2] + [f"fast {n}" for n in NAMES[:2]]
)


@every_pool
def test_gradients_are_those_of_finite_differences(pool):
    # All values different and far apart next to the step of the differences: no winner changes within it.
    features = torch.randperm(2 * 2 * 6 * 5, generator=generator(0)).double().view(2, 2, 6, 5).requires_grad_()
    regions = [torch.tensor([[0.0, 0, 60, 60], [30, 20, 70, 99]]).double(), torch.tensor([[-40.0, 8, 22, 31]]).double()]
    assert torch.autograd.gradcheck(lambda f: pool(f, regions, 3, 1 / 16), features)


@every_pool
def test_no_regions_give_an_empty_result_that_can_be_learned_from(pool):
    features = torch.rand(2, 3, 4, 4, requires_grad=True)
    pooled = pool(features, [torch.zeros(0, 4)] * 2, 2, 1.0)
    assert pooled.shape[0] == 0
    assert pooled.flatten(1).shape[1] in (12, 15)
    pooled.sum().backward()
    assert features.grad.count_nonzero() == 0


@every_pool
def test_no_images_give_an_empty_result(pool):
    # The last batch of a shard may be empty; its head should see (0, C, P, Q) and not an error of torch.cat.
    for regions in ([], torch.zeros(0, 5)):
        pooled = pool(torch.rand(0, 3, 4, 4), regions, 7, 1.0)
        assert pooled.shape in ((0, 3, 7, 7), (0, 3 * (2 * 2 + 1)))


@every_pool
def test_a_region_outside_the_map_is_zero_and_passes_no_gradient(pool):
    features = torch.ones(1, 2, 4, 4, requires_grad=True)
    pooled = pool(features, [torch.tensor([[90.0, 90, 99, 99], [-99, -99, -50, -50]])], 2, 1.0)
    pooled.sum().backward()
    assert pooled.count_nonzero() == features.grad.count_nonzero() == 0


@every_pool
def test_a_list_and_a_table_of_regions_mean_the_same(pool):
    features = torch.rand(3, 2, 8, 8, generator=generator(0))
    regions = [torch.tensor([[0.0, 0, 4, 4], [1, 2, 7, 7]]), torch.zeros(0, 4), torch.tensor([[3.0, 3, 6, 7]])]
    table = torch.cat([torch.tensor([[0.0], [0.0], [2.0]]), torch.cat(regions)], dim=1)
    assert torch.equal(pool(features, regions, 3, 1.0), pool(features, table, 3, 1.0))


@every_pool
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_in_and_comes_out_but_places_no_region(pool, dtype):
    # At 900 pixels float16 counts in halves and bfloat16 in fours: bins computed with it would slip.
    features = torch.randint(0, 100, (1, 2, 64, 64), generator=generator(0)).to(dtype).requires_grad_()
    regions = [torch.tensor([[901.0, 33, 1000, 90]])]
    pooled = pool(features, regions, 2, 1 / 16)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled, pool(features.float(), regions, 2, 1 / 16).to(dtype))
    pooled.sum().backward()
    assert features.grad.dtype == dtype


@of_one_level
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [16, 300])
def test_gradients_in_half_precision_are_rounded_once_and_not_at_every_sum(pool, dtype, count):
    # Hundreds of bins look at the same few cells. Summed up in bfloat16, 1 added to 256 is lost.
    features = torch.rand(1, 2, 4, 4, generator=generator(0)).to(dtype)
    corner = torch.rand(count, 2, generator=generator(1)) * 2
    regions = [torch.cat([corner, corner + 1], dim=1)]
    _, gradient = value_and_gradient(lambda f: pool(f, regions, 3, 1.0), features)
    _, exact = value_and_gradient(lambda f: pool(f.float(), regions, 3, 1.0).to(dtype), features)
    torch.testing.assert_close(gradient.float(), exact.float(), rtol=torch.finfo(dtype).eps, atol=1e-2)


@every_pool
def test_what_comes_out_may_be_changed_in_place(pool):
    # nn.ReLU(inplace=True) stands first in many a head.
    regions = [torch.tensor([[0.0, 0, 4, 4], [1, 2, 7, 8]])]
    results = []
    for change in (torch.relu, torch.relu_):
        features = (torch.rand(1, 2, 8, 8, generator=generator(0)) - 0.5).requires_grad_()
        pooled = change(pool(features, regions, 3, 1.0))
        (pooled * torch.arange(pooled.numel()).view(pooled.shape)).sum().backward()
        results.append((pooled.detach(), features.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("pool", [roi.roi_pool, roi_fast.roi_pool])
def test_maps_without_channels_give_bins_without_channels(pool):
    for count in (1, 40):
        assert pool(torch.rand(1, 0, 8, 8), [torch.rand(count, 4)], 3, 1.0).shape == (count, 0, 3, 3)


@every_pool
def test_features_in_any_order_of_memory_pool_the_same(pool):
    features = torch.rand(2, 3, 9, 7, generator=generator(0))
    regions = [torch.tensor([[0.0, 0, 5, 8]]), torch.tensor([[2.0, 1, 6, 4]])]
    last = pool(features.contiguous(memory_format=torch.channels_last), regions, 3, 1.0)
    assert torch.equal(pool(features, regions, 3, 1.0), last)


MAP, BOX = torch.rand(2, 1, 4, 4), torch.tensor([[0.0, 0, 2, 2]])


@both_modules
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("regions", "size", "words"),
    [
        ([BOX], 2, "regions must list the boxes of each image; got 1 lists for 2 images"),
        ([BOX, torch.zeros(4)], 2, "regions[1] must be (R, 4), and (0, 4) for none; got (4,)"),
        ([BOX, torch.zeros(0)], 2, "regions[1] must be (R, 4), and (0, 4) for none; got (0,)"),
        (BOX, 2, "a table of regions must be (R, 5): image, x1, y1, x2, y2; got (1, 4)"),
        (torch.tensor([[1.0, 0, 0, 2, 2], [2.0, 0, 0, 2, 2]]), 2, "must be an image, 0..1; row 1 has 2"),
        (torch.tensor([[0.5, 0, 0, 2, 2]]), 2, "must be an image, 0..1; row 0 has 0.5"),
        (torch.tensor([[-0.5, 0, 0, 2, 2]]), 2, "must be an image, 0..1; row 0 has -0.5"),
        (torch.tensor([[math.nan, 0, 0, 2, 2]]), 2, "must be an image, 0..1; row 0 has nan"),
        ([[[0.0, 0, 2, 2]]] * 2, 2, "regions must be tensors (torch.as_tensor makes one); got one of type list"),
        ([BOX, BOX.numpy()], 2, "regions must be tensors (torch.as_tensor makes one); got one of type ndarray"),
        (torch.zeros(1, 5).numpy(), 2, "regions must be tensors (torch.as_tensor makes one); got one of type ndarray"),
        ([BOX, BOX * math.nan], 2, "regions must be finite; region 1 is [nan, nan, nan, nan]"),
        ([BOX, BOX], (2, 0), "output_size must be 1 or more bins each way; got (2, 0)"),
    ],
)
def test_bad_input_is_told_what_is_wrong(module, regions, size, words):
    for pool in (module.roi_pool, module.roi_align):
        with pytest.raises(ValueError, match=re.escape(words)):
            pool(MAP, regions, size)


@pytest.mark.usefixtures("unchecked")
@every_pool
def test_features_without_images_in_front_are_refused(pool):
    with pytest.raises(ValueError, match=re.escape("features must be (N, C, H, W), one map an image; got (1, 4, 4)")):
        pool(MAP[0], [BOX], 2, 1.0)


@every_pool
@pytest.mark.parametrize("scale", [math.nan, math.inf, 0.0, -0.0625])
def test_a_scale_that_places_no_region_is_refused(pool, scale):
    # 0 would pool the first cell for every region, and a negative scale turn all of them round.
    with pytest.raises(
        ValueError, match=re.escape(f"spatial_scale must be cells per pixel, such as 1 / 16; got {scale}")
    ):
        pool(MAP, [BOX, BOX], 2, scale)


@both_modules
@pytest.mark.parametrize(("far", "ratio"), [(3e38, 2), (1e30, 0), (-1e30, 0), (1_000_001, 2)])
def test_roi_align_refuses_what_no_memory_could_hold(module, far, ratio):
    # It would make a point for every cell on the way, or overflow as the number of a cell.
    box = torch.tensor([[0.0, 0, 1, 1], [min(far, 0), 0, max(far, 0), 2]])
    with pytest.raises(ValueError, match="roi_align reaches 1,000,000 cells far; region 2 is "):
        module.roi_align(MAP, [BOX, box], 2, 1.0, ratio)
    module.roi_align(MAP, [BOX, box.clamp(-1e5, 1e5)], 2, 1.0, ratio)


# --- published cases ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit_cases():
    return published_case("unit_cases")


@both_modules
def test_roi_align_of_detectron2s_published_case(module, unit_cases):
    case = unit_cases["roi_align_detectron2"]
    features = torch.tensor(case["input"])[None, None]
    for aligned in (True, False):
        pooled = module.roi_align(
            features,
            [torch.tensor([case["roi_xyxy"]]).float()],
            tuple(case["out"]),
            1.0,
            case["sampling_ratio"],
            aligned,
        )
        # The input rises by 1 a column and by 5 a row: aligned, all is read half a cell up and left, 0.5 * 1 + 0.5 * 5.
        torch.testing.assert_close(pooled[0, 0], torch.tensor(case[f"aligned_{str(aligned).lower()}"]).float())


@both_modules
def test_pooling_of_torchvisions_published_loops(module, unit_cases):
    case = unit_cases["roi_ops_torchvision_reference"]
    features, table = torch.tensor(case["input"]), torch.tensor(case["rois"]).float()
    doubled = table * torch.tensor([1.0, 2, 2, 2, 2])
    for name, pooled in {
        "roi_pool_scale1": module.roi_pool(features, table, case["pool"]),
        "roi_pool_pool2_scale05": module.roi_pool(features, doubled, 2, 0.5),
        "roi_align_sr2_aligned_true": module.roi_align(features, table, case["pool"], 1.0, 2, True),
        "roi_align_adaptive_aligned_false": module.roi_align(features, table, case["pool"]),
    }.items():
        torch.testing.assert_close(pooled, torch.tensor(case[name]), msg=lambda text, name=name: f"{name}: {text}")
