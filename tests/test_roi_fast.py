"""The quick pooling is the literal one: equal in values and gradients. And what else it promises to detectors."""

import hypothesis.strategies as st
import pytest
import torch
import torchvision
from hypothesis import given

from frcnn_lessons import roi, roi_fast
from helpers.draws import generator
from helpers.host_reads import host_reads
from helpers.pooling_cases import pooling_cases, value_and_gradient


@given(case=pooling_cases(), minus_inf=st.sampled_from([0, 0, 0.5, 1]))
def test_roi_pool_is_the_literal_one(case, minus_inf):
    features, *arguments = case
    hidden = torch.rand(features.shape, generator=generator(1)) < minus_inf
    features = features.masked_fill(hidden, -torch.inf)
    literal, its_gradient = value_and_gradient(roi.roi_pool, features, *arguments)
    fast, gradient = value_and_gradient(roi_fast.roi_pool, features, *arguments)
    assert torch.equal(fast, literal)
    torch.testing.assert_close(gradient, its_gradient, rtol=0, atol=1e-6)


@given(case=pooling_cases())
def test_the_pyramid_is_the_literal_one(case):
    features, regions, _, scale = case
    literal, its_gradient = value_and_gradient(roi.spatial_pyramid_pool, features, regions, (3, 1), scale)
    fast, gradient = value_and_gradient(roi_fast.spatial_pyramid_pool, features, regions, (3, 1), scale)
    assert torch.equal(fast, literal)
    torch.testing.assert_close(gradient, its_gradient, rtol=0, atol=1e-5)


@given(case=pooling_cases(), ratio=st.integers(-1, 3), aligned=st.booleans())
def test_roi_align_is_the_literal_one(case, ratio, aligned):
    literal, its_gradient = value_and_gradient(roi.roi_align, *case, ratio, aligned)
    fast, gradient = value_and_gradient(roi_fast.roi_align, *case, ratio, aligned)
    torch.testing.assert_close(fast, literal, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, its_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratio", [0, 1, 2, 5])
def test_roi_align_of_bins_that_touch_as_many_cells_as_they_can(ratio):
    # 2 * S cells an axis for S points far apart, and S + 1 for as many points as the bin is long: all must be there.
    features = torch.rand(1, 2, 40, 30, generator=generator(0), dtype=torch.float64)
    low = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None].expand(-1, 2)
    for length in (0.5, 1, 2.9, 3, 12, 28):
        regions = [torch.cat([low, low + length], dim=1)]
        for ours, theirs in zip(
            value_and_gradient(roi_fast.roi_align, features, regions, (1, 2), 1.0, ratio, True),
            value_and_gradient(torchvision.ops.roi_align, features, regions, (1, 2), 1.0, ratio, True),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)


def test_more_cells_than_a_block_in_one_bin_and_in_many():
    features = torch.rand(1, 3, 60, 70, generator=generator(0))  # 4,200 cells
    assert features[0, 0].numel() > 2 * roi_fast.BLOCK
    corner = torch.rand(300, 2, generator=generator(1)) * 40
    regions = torch.cat([torch.tensor([[0.0, 0, 70, 60]]), torch.cat([corner, corner + 20], dim=1)])
    for size in (1, 3):
        for ours, theirs in zip(
            value_and_gradient(roi_fast.roi_pool, features, [regions], size),
            value_and_gradient(torchvision.ops.roi_pool, features, [regions], size),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_regions_of_several_images_in_any_order_pool_as_each_by_itself():
    features = torch.rand(2, 3, 9, 8, generator=generator(0))
    corner = torch.rand(40, 2, generator=generator(1)) * 14 - 3
    boxes = torch.cat([corner, corner + 4 * torch.rand(40, 2, generator=generator(2))], dim=1)
    table = torch.cat([torch.arange(40.0)[:, None] % 2, boxes], dim=1)
    together = roi_fast.roi_pool(features, table, 3)
    assert torch.equal(together, torch.cat([roi_fast.roi_pool(features, row[None], 3) for row in table]))
    one_image = torch.cat([roi_fast.roi_pool(features[i : i + 1], [boxes[i::2]], 3) for i in (0, 1)])
    assert torch.equal(torch.cat([together[0::2], together[1::2]]), one_image)


# --- how often it waits for the device -----------------------------------------------------------------------------


def test_the_cores_read_back_at_most_twice():
    features = torch.rand(2, 3, 20, 30, generator=generator(0), requires_grad=True)
    corner = torch.rand(60, 2, generator=generator(1)) * 200
    regions = [torch.cat([corner, corner + 90], dim=1)[:40], torch.cat([corner, corner + 150], dim=1)[40:]]

    def reads(core, *arguments):
        return host_reads(lambda: core(features, regions, 7, 1 / 16, *arguments).sum().backward())

    assert reads(roi_fast.roi_pool_core) == 1
    assert reads(roi_fast.roi_align_core, 2, False) == 0
    assert reads(roi_fast.roi_align_core, 0, True) == 2


def test_the_counter_of_readings_sees_every_way_to_read():
    x = torch.ones(3)
    ways = [
        lambda: int(x[0]),
        lambda: float(x[0]),
        lambda: bool(x.any()),
        lambda: x[0].item(),
        lambda: [1, 2][x[0].long() :],
        lambda: x.tolist(),
        lambda: x.numpy(),
        lambda: x.cpu(),
    ]
    assert [host_reads(way) for way in ways] == [1] * len(ways)
    assert host_reads(lambda: (x + 1).sum()) == 0


def test_cores_and_checked_functions_give_the_same():
    features, regions = torch.rand(1, 2, 9, 9, generator=generator(0)), [torch.tensor([[1.0, 2, 60, 70]])]
    pooled = roi_fast.roi_pool(features, regions, (2, 3), 1 / 8)
    assert torch.equal(pooled, roi_fast.roi_pool_core(features, regions, (2, 3), 1 / 8))
    aligned = roi_fast.roi_align(features, regions, (2, 3), 1 / 8, 2, True)
    assert torch.equal(aligned, roi_fast.roi_align_core(features, regions, (2, 3), 1 / 8, 2, True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pool", [roi_fast.roi_pool, roi_fast.roi_align, roi.roi_pool, roi.roi_align])
def test_a_gpu_says_the_same(pool):
    features = torch.rand(2, 16, 30, 40, generator=generator(0))
    boxes = torch.rand(50, 2, 2, generator=generator(1)).sort(dim=1).values.flatten(1) * 640
    on_cpu = value_and_gradient(pool, features, [boxes, boxes / 2], 7, 1 / 16)
    weights = torch.randn(on_cpu[0].shape, generator=generator(0)).cuda()
    moved = features.cuda().requires_grad_()
    pooled = pool(moved, [boxes.cuda(), boxes.cuda() / 2], 7, 1 / 16)
    (pooled * weights).sum().backward()
    torch.testing.assert_close(pooled.detach().cpu(), on_cpu[0])
    torch.testing.assert_close(moved.grad.cpu(), on_cpu[1], rtol=1e-4, atol=1e-4)
