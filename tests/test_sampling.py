"""What the matcher, the sampler and the hierarchical mini-batch promise, each with the reason it matters."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher

from frcnn_lessons import boxes
from frcnn_lessons.sampling import BACKGROUND, FOREGROUND, IGNORED, hierarchical_batch, match, on_difficult, sample
from helpers.draws import generator
from helpers.published import published_case


def eighths(rows: int, columns: int, seed: int) -> torch.Tensor:
    # Ties and exact thresholds are common (that is where implementations differ) and binary floats hold them exactly
    # (0.7 is not the same number in float32 and in Python's float).
    return torch.randint(0, 9, (rows, columns), generator=generator(seed)) / 8


# --- the matcher ---------------------------------------------------------------------------------------------------


def match_slowly(iou, foreground_iou, background_iou, keep_best):
    """The paper's sentences, one loop each. The oracle for `match`."""
    low, high = background_iou
    verdict = []
    for row in iou.tolist():
        top = max(row)
        verdict.append(FOREGROUND if top >= foreground_iou else BACKGROUND if low <= top < high else IGNORED)
    if keep_best:
        for k in range(iou.shape[1]):
            top = max(iou[:, k].tolist())
            for r in range(iou.shape[0]):
                if top > 0 and iou[r, k] == top:
                    verdict[r] = FOREGROUND
    return verdict


@given(
    regions=st.integers(1, 12),
    objects=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    low=st.sampled_from([0.0, 0.125]),
    keep_best=st.booleans(),
)
def test_match_agrees_with_the_paper_read_literally(regions, objects, seed, low, keep_best):
    iou = eighths(regions, objects, seed)
    best, verdict = match(iou, 0.75, (low, 0.25), keep_best)
    assert verdict.tolist() == match_slowly(iou, 0.75, (low, 0.25), keep_best)
    assert best.tolist() == [row.index(max(row)) for row in iou.tolist()]


@given(regions=st.integers(1, 12), objects=st.integers(1, 5), seed=st.integers(0, 10_000), keep_best=st.booleans())
def test_match_agrees_with_torchvision(regions, objects, seed, keep_best):
    iou = eighths(regions, objects, seed) / 2 + 1 / 8  # nothing is 0: there torchvision lets all regions "tie"
    theirs = Matcher(0.5, 0.25, allow_low_quality_matches=keep_best)(iou.T)
    best, verdict = match(iou, 0.5, (0.0, 0.25), keep_best)
    assert torch.equal(verdict, _verdicts(theirs))
    assert torch.equal(best[verdict == FOREGROUND], theirs[theirs >= 0])


def _verdicts(theirs: torch.Tensor) -> torch.Tensor:
    """From torchvision's numbers: the object, or -1 for background, or -2 for ignored."""
    verdict = torch.full_like(theirs, FOREGROUND)
    verdict[theirs == Matcher.BELOW_LOW_THRESHOLD] = BACKGROUND
    verdict[theirs == Matcher.BETWEEN_THRESHOLDS] = IGNORED
    return verdict


def test_match_of_detectron2s_published_case():
    case = published_case("unit_cases")["matcher_detectron2"]
    low, high = case["thr"]
    best, verdict = match(torch.tensor(case["quality"]).T, high, (0.0, low))  # theirs: a row an object
    assert best.tolist() == case["matches"]
    assert verdict.tolist() == case["labels"]


def test_an_object_that_nothing_touches_claims_no_region():
    _, verdict = match(torch.tensor([[0.0, 0.9], [0.0, 0.1]]))
    assert verdict.tolist() == [FOREGROUND, BACKGROUND]


def test_an_image_without_objects_is_all_background():
    best, verdict = match(torch.zeros(4, 0))
    assert verdict.tolist() == [BACKGROUND] * 4
    assert best.tolist() == [0] * 4


def test_no_regions_get_no_verdicts():
    for objects in (0, 2):
        assert [len(each) for each in match(torch.zeros(0, objects))] == [0, 0]


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"thresholds must rise: background_iou \(0.1, 0.5\), then foreground_iou 0.3"):
        match(torch.zeros(1, 1), 0.3, (0.1, 0.5))


# --- the sampler ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("foreground", "background", "expected"),
    [(50, 500, (16, 48)), (3, 500, (3, 61)), (50, 10, (16, 10)), (0, 500, (0, 64)), (50, 0, (16, 0)), (0, 0, (0, 0))],
)
def test_sample_keeps_the_quarter_when_it_can(foreground, background, expected):
    verdict = torch.tensor([FOREGROUND] * foreground + [BACKGROUND] * background + [IGNORED] * 7)
    chosen = sample(verdict, size=64, foreground_share=0.25, generator=generator())
    assert tuple(map(len, chosen)) == expected
    picked = torch.cat(chosen).tolist()
    assert len(set(picked)) == len(picked), "a region was drawn twice"
    assert (verdict[picked] != IGNORED).all()


@given(foreground=st.integers(0, 40), background=st.integers(0, 40), size=st.integers(0, 50), share=st.floats(0, 1))
def test_sample_draws_as_many_of_each_kind_as_torchvision(foreground, background, size, share):
    verdict = torch.tensor([FOREGROUND] * foreground + [BACKGROUND] * background + [IGNORED] * 3)
    ours = sample(verdict, size, share, generator())
    theirs = BalancedPositiveNegativeSampler(size, share)([verdict])
    assert [len(kind) for kind in ours] == [int(kind[0].sum()) for kind in theirs]


def test_every_region_is_drawn_equally_often():
    verdict = torch.tensor([FOREGROUND] * 4 + [BACKGROUND] * 6)
    counts = torch.zeros(10)
    draw = generator()
    for _ in range(2000):
        counts[torch.cat(sample(verdict, 4, 0.5, draw))] += 1
    # 2 of 4 and 2 of 6: 1000 and 667 times each, with a deviation of about 22.
    torch.testing.assert_close(counts, torch.tensor([1000.0] * 4 + [2000 / 3] * 6), rtol=0, atol=110)


def test_only_the_generator_decides_what_is_drawn():
    verdict = torch.tensor([FOREGROUND, BACKGROUND] * 50)
    first = sample(verdict, 20, 0.5, generator(3))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = sample(verdict, 20, 0.5, generator(3))
    assert all(map(torch.equal, first, again))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(torch.cat(sample(verdict, 20, 0.5, generator(4))), torch.cat(first))


# --- the hierarchical mini-batch -------------------------------------------------------------------------------------


def scene(seed: int, objects: int, near: int = 40, far: int = 60) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Proposals around objects and anywhere, and the objects."""
    draw = generator(seed)
    corner = torch.rand(objects, 2, generator=draw) * 150
    gt_boxes = torch.cat([corner, corner + 20 + 40 * torch.rand(objects, 2, generator=draw)], dim=1)
    around = gt_boxes[torch.randint(0, max(objects, 1), (near if objects else 0,), generator=draw)]
    corner = torch.rand(far, 2, generator=draw) * 180
    proposals = torch.cat(
        [
            around + 8 * torch.rand(around.shape, generator=draw),
            torch.cat([corner, corner + 10 + 30 * torch.rand(far, 2, generator=draw)], dim=1),
        ]
    )
    return proposals, {"boxes": gt_boxes, "labels": torch.randint(1, 4, (objects,), generator=draw)}


@given(seed=st.integers(0, 1000), objects=st.integers(0, 5), low=st.sampled_from([0.0, 0.1]))
def test_every_row_of_a_batch_is_about_one_region(seed, objects, low):
    # "Labels and regions in different order" is a published mistake: so check each row by its own region alone.
    proposals, target = scene(seed, objects)
    (batch,) = hierarchical_batch([proposals], [target], 32, background_iou=(low, 0.5), generator=generator(seed))
    known = {tuple(box) for box in torch.cat([proposals, target["boxes"]]).tolist()}
    assert len(batch.boxes) == len(batch.labels) == len(batch.deltas) == len(batch.foreground) == len(batch.matched)
    assert int(batch.foreground.sum()) <= 8 <= 32 >= len(batch.boxes)
    for box, label, deltas, foreground, matched in zip(*batch, strict=True):
        assert tuple(box.tolist()) in known
        overlaps = [float(boxes.iou(box[None], gt[None])) for gt in target["boxes"]] or [0.0]
        if foreground:
            k = int(matched)
            assert overlaps[k] == max(overlaps) >= 0.5
            assert label == target["labels"][k]
            back = boxes.decode(deltas[None], box[None], (10.0, 10.0, 5.0, 5.0))
            torch.testing.assert_close(back[0], target["boxes"][k], rtol=0, atol=1e-3)
        else:
            assert label == 0
            assert (low if objects else 0) <= max(overlaps) < 0.5
            assert deltas.count_nonzero() == 0


def test_the_objects_own_boxes_are_among_the_regions():
    # No proposal comes near, and yet the object is learned.
    target = {"boxes": torch.tensor([[100.0, 100, 150, 140]]), "labels": torch.tensor([2])}
    (batch,) = hierarchical_batch([torch.tensor([[0.0, 0, 20, 20]])], [target], 8, generator=generator())
    assert batch.boxes[batch.foreground].tolist() == [[100, 100, 150, 140]]
    assert batch.labels[batch.foreground].tolist() == [2]
    assert batch.deltas.count_nonzero() == 0, "a region that is its object needs no correction"


def test_the_papers_lower_bound_leaves_out_the_easy_background():
    target = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}
    near, far = [0.0, 0, 10, 40], [50.0, 50, 60, 60]  # IoU 0.25 and 0
    for low, expected in [(0.1, [near]), (0.0, [near, far])]:
        (batch,) = hierarchical_batch(
            [torch.tensor([near, far])], [target], 8, background_iou=(low, 0.5), generator=generator()
        )
        assert sorted(batch.boxes[~batch.foreground].tolist()) == expected


def test_nothing_is_learned_from_difficult_objects():
    # Left out of the count in the evaluation, so it would be unfair to teach either "object" or "background".
    target = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [50, 50, 70, 70]]),
        "labels": torch.tensor([1, 2]),
        "difficult": torch.tensor([False, True]),
    }
    proposals = torch.tensor([[0.0, 0, 10, 9], [50, 50, 70, 69], [50, 50, 70, 58], [30, 30, 40, 40]])
    (batch,) = hierarchical_batch([proposals], [target], 8, 0.5, background_iou=(0.0, 0.5), generator=generator())
    rows = dict(zip(map(tuple, batch.boxes.tolist()), batch.labels.tolist(), strict=True))
    assert rows == {(0, 0, 10, 10): 1, (0, 0, 10, 9): 1, (50, 50, 70, 58): 0, (30, 30, 40, 40): 0}


def test_matched_counts_difficult_objects_too_and_is_minus_one_for_background():
    # The index is one into `target["boxes"]`, as that of `rpn.anchor_targets`.
    target = {
        "boxes": torch.tensor([[50.0, 50, 70, 70], [0, 0, 10, 10]]),
        "labels": torch.tensor([2, 1]),
        "difficult": torch.tensor([True, False]),
    }
    proposals = torch.tensor([[0.0, 0, 10, 9], [30, 30, 40, 40]])
    (batch,) = hierarchical_batch([proposals], [target], 8, 0.5, background_iou=(0.0, 0.5), generator=generator())
    assert batch.matched[batch.foreground].tolist() == [1, 1]
    assert batch.matched[~batch.foreground].tolist() == [-1]
    assert batch.labels.tolist() == [1, 1, 0]


def test_an_image_with_difficult_objects_only_teaches_background_elsewhere():
    target = {
        "boxes": torch.tensor([[50.0, 50, 70, 70]]),
        "labels": torch.tensor([2]),
        "difficult": torch.tensor([True]),
    }
    proposals = torch.tensor([[50.0, 50, 70, 69], [30, 30, 40, 40]])
    (batch,) = hierarchical_batch([proposals], [target], 8, 0.5, background_iou=(0.0, 0.5), generator=generator())
    assert batch.boxes.tolist() == [[30, 30, 40, 40]]
    assert batch.labels.tolist() == [0]


def test_a_region_lies_on_a_difficult_object_from_the_threshold_on():
    iou = torch.tensor([[0.9, 0.2], [0.1, 0.5], [0.1, 0.49]])
    assert on_difficult(iou, torch.tensor([False, True]), 0.5).tolist() == [False, True, False]
    assert on_difficult(iou, torch.tensor([False, False]), 0.5).tolist() == [False] * 3
    assert on_difficult(iou, None, 0.5).tolist() == [False] * 3
    assert on_difficult(iou[:, :0], torch.zeros(0, dtype=torch.bool), 0.5).tolist() == [False] * 3


def test_images_share_the_batch_evenly():
    scenes = [scene(seed, 3) for seed in (1, 2)]
    batch = hierarchical_batch([s[0] for s in scenes], [s[1] for s in scenes], generator=generator())
    assert [len(image.boxes) for image in batch] == [min(64, len(image.boxes)) for image in batch]
    assert all(int(image.foreground.sum()) == 16 for image in batch)


def test_images_without_proposals_or_objects_give_what_there_is():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    one = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}
    empty, background, own = hierarchical_batch(
        [torch.zeros(0, 4), torch.tensor([[0.0, 0, 5, 5]]), torch.zeros(0, 4)],
        [nothing, nothing, one],
        background_iou=(0.0, 0.5),
        generator=generator(),
    )
    assert (len(empty.boxes), background.labels.tolist(), own.labels.tolist()) == (0, [0], [1])


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="proposals and targets must list the same images; got 2 and 0"):
        hierarchical_batch([torch.zeros(0, 4)] * 2, [])
