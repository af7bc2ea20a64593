"""What the evaluation promises, each with the reason it matters. A wrong metric makes every later lesson wrong."""

import json
import math
import runpy
from collections import Counter
from pathlib import Path

import defusedxml.ElementTree
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision

from frcnn_lessons.boxes import iou
from frcnn_lessons.metrics import (
    COCO_IOUS,
    COCO_RECALLS,
    FALSE,
    IGNORED,
    TRUE,
    average_precision,
    average_recall,
    diagnose,
    envelope,
    evaluate_coco,
    evaluate_voc,
    match_detections,
    precision_recall,
    proposal_recall,
)
from helpers.published import published_case

PEER = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "coco_peer.py"))


def predicted(boxes, scores, labels=None):
    labels = [1] * len(scores) if labels is None else labels
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        "scores": torch.tensor(scores, dtype=torch.float64),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


def target(boxes, labels=None, **extra):
    labels = [1] * len(boxes) if labels is None else labels
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        **{key: torch.tensor(value) for key, value in extra.items()},
    }


NOTHING_PREDICTED, NOTHING_THERE = predicted([], []), target([])


# --- by hand -----------------------------------------------------------------------------------------------------

# One image, three objects 10 wide and 10 high, six detections that are an object moved to the right by so many
# pixels: by 1, IoU is 9/11 = 0.82; by 2, 8/12 = 0.67; by 5, 5/15 = 0.33.
OBJECTS = [[0, 0, 10, 10], [40, 0, 50, 10], [80, 0, 90, 10]]
DETECTIONS = {
    0.9: [1, 0, 11, 10],  # the first object
    0.8: [2, 0, 12, 10],  # the first object again
    0.7: [41, 0, 51, 10],  # the second
    0.6: [200, 0, 210, 10],  # nothing
    0.5: [85, 0, 95, 10],  # the third, too far off
    0.4: [82, 0, 92, 10],  # the third
}


def test_six_detections_of_three_objects_come_out_as_on_paper():
    m = match_detections([predicted(list(DETECTIONS.values()), list(DETECTIONS))], [target(OBJECTS)])[1]
    assert m.verdict.tolist() == [TRUE, FALSE, TRUE, FALSE, FALSE, TRUE]
    assert m.gt.tolist() == [0, 0, 1, -1, 2, 2]
    assert m.iou == pytest.approx([9 / 11, 8 / 12, 9 / 11, 0, 5 / 15, 8 / 12])
    precision, recall = precision_recall(m.verdict, m.objects)
    assert precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4, 2 / 5, 3 / 6])
    assert recall == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    assert envelope(precision) == pytest.approx([1, 2 / 3, 2 / 3, 1 / 2, 1 / 2, 1 / 2])
    assert average_precision(precision, recall) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    # Recall 0 to 0.3 is reached at precision 1 (four points), 0.4 to 0.6 at 2/3 (three), 0.7 to 1 at 1/2 (four).
    assert average_precision(precision, recall, "11") == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 / 2) / 11)


def test_detections_are_ranked_over_the_data_set_not_within_their_image():
    # The false alarm of the second image comes between the two right ones, whatever the order of the images.
    images = [
        (predicted([OBJECTS[0], OBJECTS[1]], [0.9, 0.5]), target(OBJECTS[:2])),
        (predicted([[200, 0, 210, 10]], [0.7]), NOTHING_THERE),
    ]
    for predictions, targets in (zip(*images, strict=True), zip(*reversed(images), strict=True)):
        m = match_detections(list(predictions), list(targets))[1]
        assert m.verdict.tolist() == [TRUE, FALSE, TRUE]


def test_equal_scores_go_by_image_and_then_by_detection():
    # Otherwise a tie would make AP depend on the sorting routine.
    m = match_detections(
        [predicted(OBJECTS[:2], [0.5, 0.5]), predicted([OBJECTS[2]] * 2, [0.5, 0.9])], [NOTHING_THERE] * 2
    )
    assert list(zip(m[1].image.tolist(), m[1].detection.tolist(), strict=True)) == [(1, 1), (0, 0), (0, 1), (1, 0)]


def test_an_overlap_equal_to_the_threshold_counts():
    # Half of the object exactly. py-faster-rcnn wants more than the threshold; nextafter gives that.
    images = [predicted([[0, 0, 10, 5]], [0.5])], [target(OBJECTS[:1])]
    assert evaluate_voc(*images, iou_threshold=0.5).mean_ap == 1
    assert evaluate_voc(*images, iou_threshold=math.nextafter(0.5, 1)).mean_ap == 0


def test_voc_asks_for_the_best_object_only_and_coco_takes_the_next_best():
    # Both detections overlap the left object best (IoU 1 and 0.8) and the right one by more than a half.
    images = (
        [predicted([[0, 0, 10, 10], [1, 0, 10, 10]], [0.9, 0.8])],
        [target([[0, 0, 10, 10], [3, 0, 12, 10]])],
    )
    assert match_detections(*images)[1].verdict.tolist() == [TRUE, FALSE]
    assert evaluate_coco(*images)["AP50"] == 1


def test_between_equal_overlaps_voc_takes_the_first_object_and_coco_the_last():
    # The surer detection lies midway between both objects (IoU 8/12 with each); the other fits the first one only.
    images = (
        [predicted([[2, 0, 12, 10], [0, 0, 10, 10]], [0.9, 0.8])],
        [target([[0, 0, 10, 10], [4, 0, 14, 10]])],
    )
    assert match_detections(*images)[1].verdict.tolist() == [TRUE, FALSE]
    assert evaluate_coco(*images)["AP50"] == 1
    assert_equals_pycocotools(*images)


def test_detections_on_a_difficult_object_are_neither_right_nor_wrong():
    images = [predicted([OBJECTS[0], OBJECTS[0], OBJECTS[1]], [0.9, 0.8, 0.7])]
    hard = [target(OBJECTS[:2], difficult=[True, False])]
    m = match_detections(images, hard)[1]
    assert (m.verdict.tolist(), m.objects) == ([IGNORED, IGNORED, TRUE], 1)
    assert evaluate_voc(images, hard).mean_ap == 1
    assert evaluate_coco(images, hard)["AP50"] == 1
    # Counted like any other object it is found once, and the second detection is wrong.
    assert match_detections(images, [target(OBJECTS[:2])])[1].verdict.tolist() == [TRUE, FALSE, TRUE]


# --- slow oracles ------------------------------------------------------------------------------------------------


def voc_by_loops(predictions, targets, threshold, pixel_offset):
    """VOC's rules, one loop each: verdicts of each class in order of score, and the number of objects."""

    def overlap(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0]) + pixel_offset
        height = min(a[3], b[3]) - max(a[1], b[1]) + pixel_offset
        if width <= 0 or height <= 0:
            return 0.0
        size_a, size_b = ((c[2] - c[0] + pixel_offset) * (c[3] - c[1] + pixel_offset) for c in (a, b))
        return width * height / (size_a + size_b - width * height)

    answer = {}
    for label in sorted({c for record in (*predictions, *targets) for c in record["labels"].tolist()}):
        queue, count = [], 0
        for i, (p, t) in enumerate(zip(predictions, targets, strict=True)):
            rows = zip(p["boxes"].tolist(), p["scores"].tolist(), p["labels"].tolist(), strict=True)
            queue += [(-score, i, j, box) for j, (box, score, c) in enumerate(rows) if c == label]
            count += sum(
                c == label and not d for c, d in zip(t["labels"].tolist(), t["difficult"].tolist(), strict=True)
            )
        verdicts, found = [], set()
        for _, i, _, box in sorted(queue):
            best, best_overlap = None, 0.0
            for k, c in enumerate(targets[i]["labels"].tolist()):
                value = overlap(box, targets[i]["boxes"][k].tolist())
                if c == label and value > best_overlap:
                    best, best_overlap = k, value
            if best_overlap < threshold:
                verdicts.append(FALSE)
            elif targets[i]["difficult"][best]:
                verdicts.append(IGNORED)
            else:
                verdicts.append(FALSE if (i, best) in found else TRUE)
                found.add((i, best))
        answer[label] = (verdicts, count)
    return answer


def ap_by_loops(verdicts, count, kind):
    """AP read literally: at each recall wanted, the best precision at that recall or a higher one."""
    curve, true, false = [], 0, 0
    for verdict in verdicts:
        true, false = true + (verdict == TRUE), false + (verdict == FALSE)
        if true + false:
            curve.append((true / count, true / (true + false)))

    def height(recall):
        return max((p for r, p in curve if r >= recall), default=0.0)

    if kind == "11":
        return sum(height(t) for t in np.arange(11) * 0.1) / 11
    return sum(height(k / count) / count for k in range(1, count + 1))  # each object found widens the area by 1 / count


@st.composite
def images(draw, extra=()):
    """A few images on a coarse grid with coarse scores: ties and exact thresholds are common there.

    Steps of 16 pixels also make areas of exactly 32 x 32 and 96 x 96. `extra` names flags of the targets.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    many = draw(st.sampled_from([3, 8, 30]))

    def boxes(count):
        corner = rng.integers(0, 8, (count, 2))
        return (np.concatenate([corner, corner + rng.integers(1, 8, (count, 2))], axis=1) * 16).tolist()

    predictions, targets = [], []
    for _ in range(draw(st.integers(1, 4))):
        d, k = rng.integers(0, many + 1), rng.integers(0, 7)
        wild = boxes(d)
        truth = boxes(k)
        for n in range(d):  # half of the detections sit on an object, or one step beside it
            if k and rng.random() < 0.5:
                wild[n] = list(truth[rng.integers(k)])
                wild[n][2] += 16 * int(rng.integers(0, 2))
        predictions.append(predicted(wild, (rng.integers(0, 5, d) / 4).tolist(), rng.integers(1, 4, d).tolist()))
        flags = {name: rng.random(k) < 0.3 for name in extra}
        targets.append(target(truth, rng.integers(1, 4, k).tolist(), **flags))
    return predictions, targets


@given(
    images=images(extra=["difficult"]), threshold=st.sampled_from([0.25, 0.5, 0.75]), offset=st.sampled_from([0.0, 1.0])
)
def test_voc_agrees_with_its_rules_in_plain_loops(images, threshold, offset):
    matches = match_detections(*images, threshold, offset)
    expected = voc_by_loops(*images, threshold, offset)
    assert {label: (m.verdict.tolist(), m.objects) for label, m in matches.items()} == expected
    for kind in ("all", "11"):
        result = evaluate_voc(*images, threshold, kind, offset)
        measured = []
        for label, (verdicts, count) in expected.items():
            if count == 0:
                assert math.isnan(result.ap[label])
                continue
            assert result.ap[label] == pytest.approx(ap_by_loops(verdicts, count, kind), abs=1e-12)
            measured.append(result.ap[label])
        assert result.mean_ap == pytest.approx(np.mean(measured) if measured else np.nan, nan_ok=True)


# --- pycocotools and torchmetrics --------------------------------------------------------------------------------


class DifficultEval(COCOeval):
    """pycocotools with crowds turned into our difficult objects: any number of detections, but the ordinary IoU."""

    def computeIoU(self, image, label):
        objects = self._gts[image, label]
        flags = [annotation["iscrowd"] for annotation in objects]
        for annotation in objects:
            annotation["iscrowd"] = 0
        overlaps = super().computeIoU(image, label)
        for annotation, flag in zip(objects, flags, strict=True):
            annotation["iscrowd"] = flag
        return overlaps


def assert_equals_pycocotools(predictions, targets, evaluator=COCOeval):
    theirs = PEER["twelve_figures"](*PEER["indexed"](predictions, targets), evaluator)
    assert list(evaluate_coco(predictions, targets).values()) == pytest.approx(theirs, abs=1e-9)


@given(images=images(extra=["iscrowd"]))
@settings(max_examples=50)
def test_coco_equals_pycocotools_with_ties_and_crowds(images):
    assert_equals_pycocotools(*images)


@given(images=images(extra=["iscrowd"]))
@settings(max_examples=50)
def test_difficult_objects_are_crowds_with_the_ordinary_iou(images):
    # The house rule ("detections on them are neither right nor wrong") in a protocol that has only crowds.
    predictions, targets = images
    ours = [{"difficult" if key == "iscrowd" else key: value for key, value in t.items()} for t in targets]
    theirs = PEER["twelve_figures"](*PEER["indexed"](predictions, targets), DifficultEval)
    assert list(evaluate_coco(predictions, ours).values()) == pytest.approx(theirs, abs=1e-9)


@given(images=images(), seed=st.integers(0, 100))
@settings(max_examples=50)
def test_coco_takes_the_size_of_an_object_from_its_outline_when_it_is_given(images, seed):
    # COCO's `area` is that of the mask: a large box around a thin thing is a small object.
    predictions, targets = images
    rng = np.random.default_rng(seed)
    for t in targets:
        t["area"] = torch.tensor(rng.uniform(100, 12_000, len(t["labels"])))
    assert_equals_pycocotools(predictions, targets)


def test_coco_equals_pycocotools_beyond_a_hundred_detections_of_an_image():
    # The cut at 100 is within image *and* class, by score.
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 100, (400, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 120, (400, 2))], axis=1)
    crowded = predicted(boxes.tolist(), (rng.integers(0, 50, 400) / 50).tolist(), rng.integers(1, 3, 400).tolist())
    truth = target((boxes[:60] + 2).tolist(), rng.integers(1, 3, 60).tolist())
    assert_equals_pycocotools([crowded, NOTHING_PREDICTED], [truth, target(OBJECTS)])


def torchmetrics_figures(predictions, targets):
    # What people use in training loops. Its default thresholds are float32: "0.8" is 0.80000001 there, and an IoU of
    # exactly 0.8 fails. Given ours, it agrees on the coarse grid as well.
    metric = MeanAveragePrecision(
        backend="pycocotools", iou_thresholds=COCO_IOUS.tolist(), rec_thresholds=COCO_RECALLS.tolist()
    )
    metric.update(predictions, targets)
    figures = metric.compute()
    names = "map map_50 map_75 map_small map_medium map_large mar_1 mar_10 mar_100 mar_small mar_medium mar_large"
    return [figures[name].item() for name in names.split()]


@given(images=images(extra=["iscrowd"]))
@settings(max_examples=20)
def test_coco_equals_torchmetrics(images):
    assert list(evaluate_coco(*images).values()) == pytest.approx(torchmetrics_figures(*images), abs=1e-6)


@given(images=images(extra=["difficult"]))
@settings(max_examples=50)
def test_only_the_order_of_the_scores_matters(images):
    # AP ranks; it never reads a score as a probability.
    predictions, targets = images
    squeezed = [{**p, "scores": p["scores"] / 1000 - 7} for p in predictions]
    assert evaluate_coco(squeezed, targets) == evaluate_coco(predictions, targets)


# --- published cases ---------------------------------------------------------------------------------------------


def test_the_published_toy_example_comes_out_to_its_four_decimals():
    case = published_case("rafael_toyexample")
    rows = {name: [(score, box) for image, score, box in case["dets"] if image == name] for name in case["gts"]}
    predictions = [predicted([box for _, box in row], [score for score, _ in row]) for row in rows.values()]
    targets = [target(boxes) for boxes in case["gts"].values()]
    for theirs, ours in (("11", "11"), ("area", "all")):
        for threshold, expected in case["expected_AP"][theirs].items():
            result = evaluate_voc(predictions, targets, float(threshold), ours, pixel_offset=1)
            assert result.mean_ap == pytest.approx(expected, abs=5e-5)


@pytest.fixture(scope="module")
def real(shared_folder):
    """100 photographs of VOC 2012 with 452 real detections, coordinates as in VOC's files, and the known figures."""
    folder = shared_folder / "fixtures" / "voc12_100img_realdets"
    expected = json.loads((folder / "expected.json").read_text())
    label_of = {name: n for n, name in enumerate(expected["per_class"], start=1)}
    found = {name: [] for name in (folder / "imageset.txt").read_text().split()}
    for name, label in label_of.items():
        for line in (folder / f"comp_det_{name}.txt").read_text().splitlines():
            image, score, *box = line.split()
            found[image].append((label, float(score), [float(value) for value in box]))
    predictions, targets = [], []
    for image, rows in found.items():
        predictions.append(predicted([r[2] for r in rows], [r[1] for r in rows], [r[0] for r in rows]))
        path = shared_folder / "data" / "VOCdevkit-2012-100" / "Annotations" / f"{image}.xml"
        objects = defusedxml.ElementTree.parse(path).findall("object")
        targets.append(
            target(
                [[float(o.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")] for o in objects],
                [label_of[o.findtext("name")] for o in objects],
                difficult=[o.findtext("difficult") == "1" for o in objects],
            )
        )
    return predictions, targets, expected


def test_real_detections_give_the_published_ap_of_each_class(real):
    predictions, targets, expected = real
    assert sum(len(p["scores"]) for p in predictions) == 452
    for threshold, digits in ((0.5, "50"), (0.75, "75")):
        matches = match_detections(predictions, targets, threshold, pixel_offset=1)
        for m, case in zip(matches.values(), expected["per_class"].values(), strict=True):
            counts = Counter(m.verdict.tolist())
            assert (counts[TRUE], counts[FALSE]) == (case[f"tp{digits}"], case[f"fp{digits}"])
            assert (m.objects, len(m.verdict)) == (case["npos"], case["ndet"])
        for ours, theirs in (("all", "area"), ("11", "11pt")):
            result = evaluate_voc(predictions, targets, threshold, ours, pixel_offset=1)
            known = [case[f"AP{digits}_{theirs}"] for case in expected["per_class"].values()]
            assert list(result.ap.values()) == pytest.approx(known, abs=1e-9)
            assert result.mean_ap == pytest.approx(expected["mean"][f"AP{digits}_{theirs}"], abs=1e-9)


def test_real_detections_without_the_plus_one_and_without_difficult_give_the_published_other_figures(real):
    # The two mistakes of lesson 04, each an argument away: the fixture knows what they lead to.
    predictions, targets, expected = real
    without_offset = evaluate_voc(predictions, targets)
    assert without_offset.mean_ap == pytest.approx(expected["mean"]["noplus1_AP50_area"], abs=1e-9)
    all_counted = [{"boxes": t["boxes"], "labels": t["labels"]} for t in targets]
    wrong = evaluate_voc(predictions, all_counted, pixel_offset=1)
    known = [case["WRONG_AP50_area_difficult_counted"] for case in expected["per_class"].values()]
    assert list(wrong.ap.values()) == pytest.approx(known, abs=1e-9)


def test_edges_give_what_numbered_pixels_give_with_the_plus_one(real):
    # The course reads (xmin - 1, ymin - 1, xmax, ymax), so that "+1" is not needed anywhere inside.
    predictions, targets, _ = real
    shift = torch.tensor([1.0, 1.0, 0.0, 0.0])
    edges = [[{**record, "boxes": record["boxes"] - shift} for record in records] for records in (predictions, targets)]
    assert evaluate_voc(*edges, 0.75) == evaluate_voc(predictions, targets, 0.75, pixel_offset=1)


def test_real_detections_give_the_same_twelve_figures_as_pycocotools_and_torchmetrics(real):
    predictions, targets, _ = real
    counted = [{"boxes": t["boxes"], "labels": t["labels"]} for t in targets]
    assert_equals_pycocotools(predictions, counted)
    theirs = torchmetrics_figures(predictions, counted)
    assert list(evaluate_coco(predictions, counted).values()) == pytest.approx(theirs, abs=1e-6)
    assert_equals_pycocotools(
        predictions, [{**t, "iscrowd": d["difficult"]} for t, d in zip(counted, targets, strict=True)]
    )


def test_chainercvs_cases_of_precision_and_recall_come_out():
    # Its boxes are (y1, x1, y2, x2), its labels start at 0, and it adds the 1.
    for case in published_case("unit_cases")["voc_prec_rec_chainercv"]["cases"]:
        predictions = [
            {
                "boxes": torch.tensor(boxes, dtype=torch.float64)[:, [1, 0, 3, 2]],
                "scores": torch.tensor(scores, dtype=torch.float64),
                "labels": torch.tensor(labels) + 1,
            }
            for boxes, scores, labels in zip(case["pred"], case["score"], case["plabel"], strict=True)
        ]
        targets = [
            {"boxes": torch.tensor(boxes, dtype=torch.float64)[:, [1, 0, 3, 2]], "labels": torch.tensor(labels) + 1}
            for boxes, labels in zip(case["gt"], case["glabel"], strict=True)
        ]
        for t, flags in zip(targets, case.get("difficult", []), strict=False):
            t["difficult"] = torch.tensor(flags, dtype=torch.bool)
        matches = match_detections(predictions, targets, case["thr"], pixel_offset=1)
        for label, (precision, recall) in enumerate(zip(case["prec"], case["rec"], strict=True), start=1):
            if precision is None:
                assert label not in matches
                continue
            ours = precision_recall(matches[label].verdict, matches[label].objects)
            assert ours[0] == pytest.approx(precision)
            assert ours[1] == pytest.approx(recall)


def test_chainercvs_curves_give_its_average_precisions():
    case = published_case("unit_cases")["voc_ap_from_curves_chainercv"]
    for precision, recall, area, eleven in zip(case["prec"], case["rec"], case["ap_area"], case["ap_07"], strict=True):
        if precision is None:  # a class without objects
            continue
        curve = np.array(precision, dtype=float), np.array(recall, dtype=float)
        assert average_precision(*curve) == pytest.approx(area)
        assert average_precision(*curve, kind="11") == pytest.approx(eleven)


# --- nothing there, and bad input --------------------------------------------------------------------------------


def test_a_class_without_objects_has_no_ap_and_leaves_the_mean():
    # Class 2 is predicted only, class 3 has nothing but a difficult object, class 4 is never predicted.
    predictions = [predicted([OBJECTS[0], OBJECTS[1]], [0.9, 0.8], labels=[1, 2])]
    targets = [target([OBJECTS[0], OBJECTS[2], OBJECTS[1]], [1, 3, 4], difficult=[False, True, False])]
    result = evaluate_voc(predictions, targets)
    assert result.ap == pytest.approx({1: 1.0, 2: np.nan, 3: np.nan, 4: 0.0}, nan_ok=True)
    assert result.mean_ap == 0.5
    assert evaluate_coco(predictions, targets)["AP50"] == 0.5


def test_no_detections_is_an_ap_of_0_and_no_objects_is_no_ap():
    assert evaluate_voc([NOTHING_PREDICTED], [target(OBJECTS)]).mean_ap == 0
    assert evaluate_coco([NOTHING_PREDICTED], [target(OBJECTS)])["AP"] == 0
    for predictions in ([predicted(OBJECTS, [0.5] * 3)], [NOTHING_PREDICTED]):
        assert math.isnan(evaluate_voc(predictions, [NOTHING_THERE]).mean_ap)
        assert set(evaluate_coco(predictions, [NOTHING_THERE]).values()) == {-1.0}
    assert average_precision(np.zeros(0), np.zeros(0)) == 0
    assert math.isnan(average_precision(*precision_recall(np.array([FALSE]), objects=0)))


def test_no_images_at_all_is_nothing_measured():
    assert evaluate_voc([], []).ap == {}
    assert set(evaluate_coco([], []).values()) == {-1.0}
    assert np.isnan(proposal_recall([], [], [10])).all()
    assert diagnose([], []) == []


def test_a_false_alarm_in_an_image_without_objects_lowers_precision():
    # An evaluation that skips such images would hide it.
    predictions = [predicted([OBJECTS[0]], [0.9]), predicted([OBJECTS[0]], [0.8])]
    assert evaluate_voc(predictions, [NOTHING_THERE, target(OBJECTS[:1])]).mean_ap == 0.5


def test_boxes_may_reach_outside_the_image_and_have_no_area():
    # The metric does not know the image; a box without area overlaps nothing.
    images = [predicted([[-5, -5, 5, 5], [3, 3, 3, 3]], [0.9, 0.8])], [target([[-5, -5, 5, 5]])]
    assert match_detections(*images)[1].verdict.tolist() == [TRUE, FALSE]
    assert_equals_pycocotools(*images)


def test_precision_is_undefined_until_a_detection_counts():
    precision, recall = precision_recall(np.array([IGNORED, TRUE, IGNORED, FALSE]), objects=2)
    assert precision == pytest.approx([np.nan, 1, 1, 0.5], nan_ok=True)
    assert recall == pytest.approx([0, 0.5, 0.5, 0.5])
    assert average_precision(precision, recall) == 0.5


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        (
            [NOTHING_PREDICTED] * 2,
            [NOTHING_THERE] * 3,
            "predictions and targets must list the same images; got 2 and 3",
        ),
        (
            [NOTHING_PREDICTED, predicted([OBJECTS[0]], [math.nan])],
            [NOTHING_THERE] * 2,
            r"predictions\[1\] has a score that is NaN",
        ),
        (
            [predicted([[9, 0, 3, 5]], [0.5])],
            [NOTHING_THERE],
            r"predictions\[0\].*x2 >= x1.*row 0 is \[9.0, 0.0, 3.0, 5.0\]",
        ),
        ([predicted([[0, 0, math.inf, 5]], [0.5])], [NOTHING_THERE], r"predictions\[0\].*finite"),
        ([NOTHING_PREDICTED], [target([[0, math.nan, 3, 5]])], r"targets\[0\].*finite"),
        ([NOTHING_PREDICTED], [target(OBJECTS, [1, 0, 2])], r"targets\[0\].*0 is background.*row 1 has 0"),
        ([predicted(OBJECTS[:1], [0.5], [0])], [NOTHING_THERE], r"predictions\[0\].*0 is background"),
        ([{"boxes": torch.zeros(0, 4)}], [NOTHING_THERE], r"predictions\[0\] needs.*'labels': 'missing'"),
        ([predicted(OBJECTS, [0.5], [1])], [NOTHING_THERE], r"predictions\[0\] needs.*\(3, 4\)"),
    ],
)
@pytest.mark.parametrize("evaluate", [evaluate_voc, evaluate_coco, diagnose])
def test_bad_input_is_refused_with_the_image_named(evaluate, predictions, targets, message):
    with pytest.raises(ValueError, match=message):
        evaluate(predictions, targets)


def test_unknown_kinds_thresholds_and_unsorted_curves_are_refused():
    with pytest.raises(ValueError, match='kind must be "all", "11" or "101"; got "10"'):
        average_precision(np.ones(1), np.ones(1), kind="10")
    with pytest.raises(ValueError, match="recall must not fall"):
        average_precision(np.ones(2), np.array([0.5, 0.25]))
    for threshold in (0.0, 50.0, math.nan):
        with pytest.raises(ValueError, match="iou_threshold must be above 0 and at most 1"):
            evaluate_voc([], [], iou_threshold=threshold)


# --- proposals ---------------------------------------------------------------------------------------------------


def test_recall_of_proposals_by_hand():
    # IoU of the first object with its proposals in order: 1/3, 0, 9/11; the second has none; the third is difficult.
    proposals = [torch.tensor([[5.0, 0, 15, 10], [200, 0, 210, 10], [1, 0, 11, 10]]), torch.zeros(0, 4)]
    targets = [target([OBJECTS[0], OBJECTS[2]], difficult=[False, True]), target([OBJECTS[1]])]
    assert proposal_recall(proposals, targets, [1, 2, 3, 100]).tolist() == [0, 0, 0.5, 0.5]
    assert proposal_recall(proposals, targets, [1], iou_threshold=0.25).tolist() == [0.5]
    # 9/11 = 0.82 passes .50 to .80: seven thresholds of ten, for one object of two.
    assert average_recall(proposals, targets, [1, 3]) == pytest.approx([0, 0.35])


@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.3, 0.5, 0.7]))
def test_recall_of_proposals_agrees_with_a_loop_over_objects(seed, threshold):
    generator = torch.Generator().manual_seed(seed)

    def boxes(count):
        corner = torch.rand(count, 2, generator=generator) * 20
        return torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 20], dim=1)

    proposals = [boxes(n) for n in torch.randint(0, 30, (4,), generator=generator).tolist()]
    targets = [{"boxes": boxes(k), "labels": torch.ones(k, dtype=torch.long)} for k in (0, 1, 3, 5)]
    counts = [1, 5, 20, 1000]
    expected = []
    for n in counts:
        covered = [
            any((iou(p[:n], box[None]) >= threshold).flatten().tolist())
            for p, t in zip(proposals, targets, strict=True)
            for box in t["boxes"]
        ]
        expected.append(np.mean(covered))
    recall = proposal_recall(proposals, targets, counts, threshold)
    assert recall == pytest.approx(expected)
    assert (np.diff(recall) >= 0).all()


def test_bad_proposals_are_refused_with_the_image_named():
    with pytest.raises(ValueError, match="proposals and targets must list the same images"):
        proposal_recall([], [NOTHING_THERE], [1])
    with pytest.raises(ValueError, match=r"proposals\[0\].*x2 >= x1"):
        proposal_recall([torch.tensor([[5.0, 0, 1, 10]])], [NOTHING_THERE], [1])
    with pytest.raises(ValueError, match="counts must be 1 or more"):
        proposal_recall([torch.zeros(0, 4)], [NOTHING_THERE], [0])


# --- why a detection is wrong ------------------------------------------------------------------------------------


def test_each_kind_of_false_positive_gets_its_name():
    truth = target([OBJECTS[0], OBJECTS[1], OBJECTS[2]], [1, 2, 1], difficult=[False, False, True])
    cases = {
        "correct": ([1, 0, 11, 10], 0.9, 1),
        "duplicate": ([2, 0, 12, 10], 0.8, 1),
        "localisation": ([5, 0, 15, 10], 0.7, 1),
        "confusion": ([40, 0, 50, 10], 0.6, 1),
        "background": ([200, 0, 210, 10], 0.5, 1),
        "ignored": ([80, 0, 90, 10], 0.4, 1),
    }
    # Given in the opposite order of the scores: the answer follows the input.
    boxes, scores, labels = (list(column) for column in zip(*reversed(cases.values()), strict=True))
    kinds = diagnose([NOTHING_PREDICTED, predicted(boxes, scores, labels)], [NOTHING_THERE, truth])
    assert kinds == [[], list(reversed(cases))]


@given(images=images(extra=["difficult"]))
def test_the_kinds_add_up_to_the_verdicts(images):
    counts = Counter(kind for kinds in diagnose(*images) for kind in kinds)
    verdicts = Counter(v for m in match_detections(*images).values() for v in m.verdict.tolist())
    assert (counts["correct"], counts["ignored"]) == (verdicts[TRUE], verdicts[IGNORED])
    assert sum(counts.values()) == sum(verdicts.values())
