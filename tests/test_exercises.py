"""Every exercise keeps what it promises: right answers pass, known wrong ones are refused and recognised.

What is counted is printed at the end of each test (`pytest -s`).
"""

import copy
import dataclasses
import functools
import inspect
import itertools
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torchvision

from frcnn_lessons import boxes, metrics, rpn
from frcnn_lessons.exercises import checking
from frcnn_lessons.exercises.catalogue import EXERCISES, LESSONS
from frcnn_lessons.exercises.comparing import difference, plain
from frcnn_lessons.exercises.description import NOT_SAID, Exercise, Impostor
from helpers import rewritten_02_to_04, rewritten_12_and_13

ROOT = Path(__file__).resolve().parents[1]

ALL = [
    *((exercise.name, exercise) for exercise in EXERCISES.values()),
    *((f"{e.name}-{v.name}", e.variant(v.name)) for e in EXERCISES.values() for v in e.variants),
    *((f"{e.name}-{n}", e.variant(str(n))) for e in EXERCISES.values() if e.drawn for n in (1, 2, 987_654_321)),
]
CHECKED = [pytest.param(exercise, id=name) for name, exercise in ALL if exercise.kind != "explain"]

# Unchecked, as in a student's kernel: the checker of shapes would refuse some wrong answers before they are judged.
pytestmark = [pytest.mark.usefixtures("one_thread", "unchecked"), pytest.mark.slow]


@functools.cache
def told(exercise: Exercise, impostor: Impostor) -> checking.Report:
    """What a student hears who gives the known wrong answer."""
    return checking.judge(exercise, value_of(exercise, exercise.function_of(impostor)))


def value_of(exercise: Exercise, function):
    """What a student would hand in: the function, or the value where one is asked for."""
    return function() if exercise.asks_for_a_value else function


@pytest.mark.parametrize("exercise", CHECKED)
def test_the_reference_gives_what_was_worked_out_by_hand_and_full_marks(exercise):
    said = [case for case in exercise.cases if case.gives is not NOT_SAID]
    for case in said:
        arguments = case.fresh_inputs()
        function, *arguments = [exercise.right_function, *arguments]
        answer = case.experiment(function, *arguments) if case.experiment else function(*arguments)
        assert difference(plain(case.gives), plain(answer), exercise.tolerance, exercise.any_order) is None, case.label
    assert said or exercise.asks_for_a_value, "no case states its answer"
    report = checking.judge(exercise, value_of(exercise, exercise.right_function))
    assert report.verdict == "right", report.sentences
    assert all(passed == count for passed, count in report.passed.values())


@pytest.mark.parametrize("exercise", CHECKED)
def test_the_stub_gets_nothing_and_no_error(exercise, tmp_path):
    cell = tmp_path / "cell.py"  # a function of a notebook has a source, too
    cell.write_text(exercise.starting_point)
    names = dict(inspect.unwrap(exercise.reference).__globals__) if exercise.given else {}
    exec(compile(exercise.starting_point, cell, "exec"), names)
    assert checking.judge(exercise, names[exercise.name]).verdict == "not attempted"


@pytest.mark.parametrize("exercise", CHECKED)
def test_every_impostor_is_refused_on_paper_and_told_from_the_others(exercise):
    for impostor in exercise.impostors:
        report = told(exercise, impostor)
        is_given = impostor.name == exercise.given
        assert report.verdict == ("not attempted" if is_given else "not yet"), impostor.name
        assert report.case is None or report.case.group == "on paper", f"{impostor.name}: {report.case.label}"
        assert len(report.sentences) <= 3, report.sentences
    answers = {impostor.name: checking.answers_of(exercise, impostor) for impostor in exercise.impostors}
    for (a, of_a), (b, of_b) in itertools.combinations(answers.items(), 2):
        assert not all(checking.alike(exercise, x, y) for x, y in zip(of_a, of_b, strict=True)), f"{a} and {b}"


def test_nine_in_ten_impostors_get_their_own_hint():
    own, others = 0, []
    for name, exercise in ALL:
        for impostor in exercise.impostors:
            report = told(exercise, impostor)
            is_told = report.mistake == impostor.name and (impostor.hint in report.sentences or not impostor.hint)
            told_as_given = impostor.name == exercise.given and report.mistake == impostor.name
            if is_told or told_as_given:
                own += 1
            else:
                others.append(f"{name}: {impostor.name} (told: {report.mistake or 'nothing'})")
    print(f"\n{own} impostors get their own hint, {len(others)} do not: {others}")
    assert own >= 9 * len(others), others


def test_counts():
    kinds: dict[str, int] = {}
    for exercise in EXERCISES.values():
        kinds[exercise.kind] = kinds.get(exercise.kind, 0) + 1
    core = sum(exercise.core for exercise in EXERCISES.values())
    impostors = sum(len(exercise.impostors) for exercise in EXERCISES.values())
    two = sum(exercise.core and len(exercise.variants) >= 2 for exercise in EXERCISES.values())
    print(
        f"\n{len(EXERCISES)} exercises, {core} core: {kinds}; {impostors} impostors; {two} core ones with two variants"
    )
    assert len({exercise.number for exercise in EXERCISES.values()}) == len(EXERCISES), "two have the same number"
    for exercise in EXERCISES.values():
        assert len(exercise.hints) == 3, exercise.name
        assert exercise.name == exercise.name.lower()
        if exercise.kind == "explain":
            assert exercise.guide, exercise.name
            assert exercise.answer, exercise.name


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson[0].number[:2])
def test_every_goal_of_a_lesson_is_covered(lesson):
    (path,) = (ROOT / "notebooks").glob(f"{lesson[0].number[:2]}_*.ipynb")
    title = nbformat.read(path, 4).cells[0].source
    goals = re.findall(r"^- ", title.lower().partition("you will be able to")[2], re.MULTILINE)
    covered = {goal for exercise in lesson for goal in exercise.goals}
    assert covered == set(range(1, len(goals) + 1))


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="has no variant 'zyx'; it has xywh, half_sizes"):
        EXERCISES["iou_one_cxcywh"].variant("zyx")


@pytest.mark.parametrize("number", [0, 1, 2, 987_654_321])
def test_what_is_right_for_data_of_ones_own_is_what_the_course_measures(number):
    exercise, names = EXERCISES["own_detector"].variant(str(number)), {}
    exec(exercise.data, names)

    def measured(least):
        predictions, targets = [], []
        for image in range(10):
            found = np.array([row[1:] for row in names["own_answers"] if row[0] == image and row[5] >= least])
            found = found.reshape(-1, 5)
            known = np.array([row[1:] for row in names["own_objects"] if row[0] == image])
            ones = np.ones(len(found), dtype=int), np.ones(len(known), dtype=int)
            predictions.append({"boxes": found[:, :4], "scores": found[:, 4], "labels": ones[0]})
            targets.append({"boxes": known[:, :4], "labels": ones[1], "difficult": known[:, 4] == 1})
        verdicts = list(itertools.chain(*metrics.diagnose(predictions, targets)))
        count = sum(int((~target["difficult"]).sum()) for target in targets)
        return metrics.evaluate_voc(predictions, targets).mean_ap, verdicts, count

    ap, _, count = measured(0)
    _, verdicts, _ = measured(0.5)
    right, neither = verdicts.count("correct"), verdicts.count("ignored")
    assert exercise.answer == pytest.approx((ap, len(verdicts) - right - neither, right / count))


# --- odd right answers -------------------------------------------------------------------------------------------


def iou_one_cxcywh(box, others):  # plain Python, a list of numbers
    cx, cy, w, h = (float(number) for number in box)
    answer = []
    for ox, oy, ow, oh in others.tolist():
        wide = min(cx + w / 2, ox + ow / 2) - max(cx - w / 2, ox - ow / 2)
        high = min(cy + h / 2, oy + oh / 2) - max(cy - h / 2, oy - oh / 2)
        shared = max(wide, 0) * max(high, 0)
        answer.append(shared / (w * h + ow * oh - shared))
    return answer


def deltas_to_one(gt, anchors):  # NumPy in double precision, column by column
    a, g = anchors.numpy().astype(np.float64), gt.numpy().astype(np.float64)
    w, h = a[:, 2] - a[:, 0], a[:, 3] - a[:, 1]
    dx = ((g[0] + g[2]) - (a[:, 0] + a[:, 2])) / 2 / w
    dy = ((g[1] + g[3]) - (a[:, 1] + a[:, 3])) / 2 / h
    return np.stack([dx, dy, np.log(g[2] - g[0]) - np.log(w), np.log(g[3] - g[1]) - np.log(h)], axis=1)


def decode_classes(deltas, anchors, weights=(10, 10, 5, 5)):  # class by class, with the course's own function
    by_class = [boxes.decode(deltas[:, c], anchors, weights) for c in range(deltas.shape[1])]
    return torch.stack(by_class, dim=1)


def nms_with_a_hole(candidates, scores, threshold):  # torchvision, a tensor
    return torchvision.ops.nms(candidates, scores, threshold)


def soft_nms(candidates, scores, threshold=0.3, min_score=0.05):  # boxes taken are marked by a score of -1
    scores = scores.double().numpy().copy()
    overlaps = boxes.iou(candidates, candidates).numpy()
    taken, then = [], []
    for _ in range(len(scores)):
        best = int(scores.argmax())
        if scores[best] < min_score:
            break
        taken.append(best)
        then.append(float(scores[best]))
        scores[best] = -1
        lower = (overlaps[best] > threshold) & (scores >= 0)
        scores[lower] *= 1 - overlaps[best][lower]
    return taken, then


def catch_iou(iou):  # random boxes against torchvision, and none
    draw = torch.Generator().manual_seed(0)
    corner = 20 * torch.rand(9, 2, generator=draw)
    a = torch.cat([corner, corner + 5], dim=1)
    a[0] = torch.tensor([0, 0, 40, 40])
    kept = a.clone()
    got = torch.as_tensor(iou(a, a[:4].clone())).float()
    none = torch.as_tensor(iou(a[:0], a[:4]))
    right = torchvision.ops.box_iou(kept, kept[:4])
    return not (
        torch.equal(a, kept) and got.shape == right.shape and torch.allclose(got, right) and none.shape == (0, 4)
    )


def ciou_pairs(a, b):  # torchvision's loss
    return 1 - torchvision.ops.complete_box_iou_loss(a, b)


def context_box(regions, size, padding, square=False):  # region by region, with NumPy
    answer = np.zeros((len(regions), 4))
    for row, (x1, y1, x2, y2) in enumerate(regions.numpy().astype(np.float64)):
        wide, high = (max(x2 - x1, y2 - y1),) * 2 if square else (x2 - x1, y2 - y1)
        more = 0.5 * size / (size - 2 * padding)
        answer[row] = (
            (x1 + x2) / 2 - more * wide,
            (y1 + y2) / 2 - more * high,
            (x1 + x2) / 2 + more * wide,
            (y1 + y2) / 2 + more * high,
        )
    return answer


def svm_targets(overlap, is_object):  # a list of whole numbers
    return [1 if own else -1 if iou < 0.3 else 0 for iou, own in zip(overlap.tolist(), is_object.tolist(), strict=True)]


def mine(margins, taken, add_above=-1.0, drop_below=-1.2):  # one by one, a list and a tensor
    who = [m > add_above or (t and not m < drop_below) for m, t in zip(margins.tolist(), taken.tolist(), strict=True)]
    return who, (torch.as_tensor(who, dtype=torch.bool) & (margins > add_above) & ~taken).sum()


def ridge(x, t, penalty):  # a column of ones with hardly any penalty, in double precision
    wide = np.concatenate([x.numpy().astype(np.float64), np.ones((len(x), 1))], axis=1)
    punished = np.diag([float(penalty)] * x.shape[1] + [1e-12])
    both = np.linalg.solve(wide.T @ wide + punished, wide.T @ t.numpy().astype(np.float64))
    return both[:-1], both[-1]


def regression_examples(regions, gt, labels, label, min_iou=0.6):  # region by region, deltas by hand
    chosen, deltas = [], []
    for region in regions:
        overlaps = [boxes.iou(region[None], one[None]).item() if k == label else -1 for one, k in zip(gt, labels)]  # noqa: B905
        if max(overlaps) > min_iou:
            g, (w, h) = gt[int(np.argmax(overlaps))], region[2:] - region[:2]
            chosen.append(region)
            way = (g[:2] + g[2:] - region[:2] - region[2:]) / 2 / torch.stack([w, h])
            deltas.append(torch.cat([way, ((g[2:] - g[:2]) / torch.stack([w, h])).log()]))
    return chosen, deltas


def three_kinds(labels, overlap, counts, generator):  # random numbers that are sorted, lists
    order = torch.rand(len(labels), generator=generator).argsort().tolist()
    positive = [i for i in order if labels[i] > 0][: counts[0]]
    hard = [i for i in order if labels[i] == 0 and overlap[i] >= 0.1][: counts[1]]
    easy = [i for i in order if labels[i] == 0 and overlap[i] < 0.1]
    return [positive, hard, easy[: counts[2] + counts[1] - len(hard)]]


def as_the_network_knows_it(pixels, mean, std):  # NumPy, channels last until the end
    image = (pixels.numpy() / 255.0 - mean.numpy()) / std.numpy()
    return np.moveaxis(image, 2, 0)[None]


def bin_edges(first, last, bins, limit):  # whole numbers only, a table
    length = last + 1 - first if last >= first else 1
    starts = first + np.arange(bins) * length // bins
    ends = first - (-(np.arange(bins) + 1) * length // bins)
    return np.stack([starts, ends], axis=1).clip(0, limit)


def roi_average_pool(features, region, stride, bins):  # cell by cell, NumPy
    maps, (C, H, W) = features.numpy(), features.shape
    x1, y1, x2, y2 = np.floor(region.numpy().astype(np.float64) / stride + 0.5).astype(int)
    high, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    answer = np.zeros((C, *bins))
    for p, q in itertools.product(range(bins[0]), range(bins[1])):
        rows = [y1 + y for y in range(high) if (y + 1) * bins[0] > p * high and y * bins[0] < (p + 1) * high]
        columns = [x1 + x for x in range(wide) if (x + 1) * bins[1] > q * wide and x * bins[1] < (q + 1) * wide]
        inside = [maps[:, y, x] for y in rows for x in columns if 0 <= y < H and 0 <= x < W]
        if inside:
            answer[:, p, q] = np.mean(inside, axis=0)
    return answer


def roi_average_backward(gradient, region, stride, size):  # what each bin would be for a map with a single 1
    one = torch.zeros(size[0] * size[1], size[0] * size[1]).fill_diagonal_(1).view(-1, *size)
    shares = torch.as_tensor(roi_average_pool(one, region, stride, tuple(gradient.shape[1:]))).float()  # (H*W, P, Q)
    return torch.einsum("cpq,kpq->ck", gradient, shares).view(-1, *size)


def bilinear(cells, x, y):  # a mean of all cells, weighted by a hat
    padded = np.pad(cells.numpy().astype(np.float64), 1, mode="edge")
    rows, columns = np.arange(padded.shape[0]) - 0.5, np.arange(padded.shape[1]) - 0.5
    return np.clip(1 - abs(rows - y), 0, 1) @ padded @ np.clip(1 - abs(columns - x), 0, 1)


def region_cells(relative, height, width):  # whole numbers in an array
    ends = np.array(relative) * [width, height, width, height]
    return np.concatenate([np.floor(ends[:2]), np.ceil(ends[2:])]).astype(int)


def best_scale(regions, scales):  # region by region, a list
    differences = [
        [abs((x2 - x1) * s * (y2 - y1) * s - 224 * 224) for s in scales] for x1, y1, x2, y2 in regions.tolist()
    ]
    return [row.index(min(row)) for row in differences]


def catch_roi_pool(pool):  # torchvision on random maps that are not square
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(1, 3, 5, 9, generator=draw)
    corner = 150 * torch.rand(60, 2, generator=draw) - 40
    regions = torch.cat([corner, corner + 60 * torch.rand(60, 2, generator=draw)], dim=1)
    regions[:9] = regions[:9].abs().div(8).floor() * 8
    regions[:9, 2:] = regions[:9, :2] + 24
    expected = torchvision.ops.roi_pool(features, [regions], 3, 1 / 16)
    return not torch.allclose(pool(features, regions, 3, 16), expected)


def smooth_l1(d, beta=1.0):  # NumPy, masks
    size = np.abs(d.numpy().astype(np.float64))
    answer = size - beta / 2
    answer[size < beta] = size[size < beta] ** 2 / 2 / (beta or 1)
    return answer


def two_task_loss(scores, deltas, labels, goals, box_weight=1.0):  # region by region, torch's own losses
    classes, class_loss, box_loss = scores.shape[1] - 1, 0.0, 0.0
    for row, label in enumerate(labels.tolist()):
        class_loss += torch.nn.functional.cross_entropy(scores[row], labels[row]).item()
        if label != classes:
            own = deltas[row, 4 * label : 4 * label + 4]
            box_loss += torch.nn.functional.smooth_l1_loss(own, goals[row], reduction="sum").item()
    return [class_loss / len(labels), box_loss * box_weight / len(labels)] if len(labels) else [0, 0]


def shared_quota(verdicts, per_image, quota, generator):  # place by place, lists
    mixed = [torch.randperm(len(verdict), generator=generator).tolist() for verdict in verdicts]
    front = [[row for row in rows if v[row] == 1] for rows, v in zip(mixed, verdicts, strict=True)]
    taken = [rows[:quota] for rows in front]
    places = sum(quota - len(rows) for rows in taken)
    for i, rows in enumerate(front):
        while places and len(taken[i]) < per_image and len(taken[i]) < len(rows):
            taken[i] = rows[: len(taken[i]) + 1]
            places -= 1
    rest = [[row for row in rows if v[row] == 0] for rows, v in zip(mixed, verdicts, strict=True)]
    return [[rows, back[: per_image - len(rows)]] for rows, back in zip(taken, rest, strict=True)]


def answer_image(scores, deltas, regions, size, score_threshold=0.05, nms_iou=0.3, most=100):  # class by class
    probability, found = scores.softmax(dim=1), []
    for c in range(scores.shape[1] - 1):
        of_class = boxes.decode(deltas[:, 4 * c : 4 * c + 4] / torch.tensor([10, 10, 5, 5]), regions)
        of_class[:, 0::2] = of_class[:, 0::2].clamp(0, size[1])
        of_class[:, 1::2] = of_class[:, 1::2].clamp(0, size[0])
        good = (probability[:, c] >= score_threshold) & ((of_class[:, 2:] - of_class[:, :2]) >= 0.01).all(dim=1)
        of_class, surely = of_class[good], probability[good, c]
        kept = torchvision.ops.nms(of_class, surely, nms_iou).tolist()
        found += [(surely[i].item(), c, of_class[i]) for i in kept]
    found = sorted(found, key=lambda one: -one[0])[:most]
    return [box for _, _, box in found], [label for _, label, _ in found], [score for score, _, _ in found]


def rank_for_energy(weight, share):  # NumPy, a loop
    values = np.linalg.svd(weight.numpy().astype(np.float64), compute_uv=False)
    held, t = values[0] ** 2, 1
    while held < (share - 1e-9) * (values**2).sum():
        held, t = held + values[t] ** 2, t + 1
    return np.int64(t)


def cut_off(backbone, head, image, goal, learning_rate=0.1):  # the step by hand
    both = torch.nn.Sequential(backbone, torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten(), head)
    learning = [p for p in both.parameters() if p.requires_grad]
    loss = torch.nn.functional.smooth_l1_loss(both(image), goal, reduction="sum")
    for parameter, slope in zip(learning, torch.autograd.grad(loss, learning), strict=True):
        parameter.data -= learning_rate * slope
    return loss.detach()


def targets_in_order(regions, fg, bg, matched, gt, gt_labels):  # row by row, lists
    labels = [gt_labels[matched[i]].item() for i in fg] + [0] * len(bg)
    deltas = [boxes.encode(gt[matched[i]][None], regions[i][None])[0] for i in fg] + [torch.zeros(4)] * len(bg)
    return [regions[i] for i in [*fg, *bg]], labels, deltas


def rows_to_targets(rows, sizes, names):  # one pass over the rows, NumPy
    found = {image_id: ([], []) for image_id in sizes}
    for row in rows:
        if row["ImageID"] in found and row["LabelName"] in names:
            height, width = sizes[row["ImageID"]]
            x1, x2, y1, y2 = (float(row[key]) for key in ("XMin", "XMax", "YMin", "YMax"))
            found[row["ImageID"]][0].append([x1 * width, y1 * height, x2 * width, y2 * height])
            found[row["ImageID"]][1].append(names.index(row["LabelName"]) + 1)
    return {key: {"labels": k, "boxes": np.array(b).reshape(-1, 4)} for key, (b, k) in found.items()}


def validation_loss(model, batches):  # a copy of the model, all batches at once
    theirs = copy.deepcopy(model).eval()
    scores = torch.cat([theirs(inputs) for inputs, _ in batches])
    return torch.nn.functional.cross_entropy(scores, torch.cat([labels for _, labels in batches]))


def corrected_corners(regions, offsets, size):  # corner by corner, in double precision
    answer = regions.double().clone()
    for corner in range(4):
        answer[:, corner] += offsets[:, corner] * size[1 - corner % 2]
    return answer


def anchors_by_width(rows, columns, stride, sizes, ratios):  # NumPy, without loops
    s, r = np.meshgrid(np.array(sizes, float), np.array(ratios, float), indexing="ij")
    w, h = (s * np.sqrt(r)).ravel(), (s / np.sqrt(r)).ravel()
    y, x = np.meshgrid((np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, indexing="ij")
    x, y = x.reshape(-1, 1), y.reshape(-1, 1)
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1).reshape(-1, 4)


def grid_row_by_row(base, rows, columns, stride):  # a list, cell by cell
    found = []
    for cell in range(rows * columns):
        x, y = stride * (cell % columns + 0.5), stride * (cell // columns + 0.5)
        found += [[x1 + x, y1 + y, x2 + x, y2 + y] for x1, y1, x2, y2 in base.tolist()]
    return found


def foreground_anchors(iou, per_cell, threshold=0.7):  # loops, numbers of Python
    answer = [any(value >= threshold for value in row) for row in iou.tolist()]
    for of_object in iou.T.tolist():
        for t, value in enumerate(of_object):
            answer[t] |= value == max(of_object) > 0
    return answer


def window_of_layers(layers):  # from the last layer to the first: how many cells of the layer before are seen
    pixels, step = 1, 1
    for kernel, stride, dilation in reversed(layers):
        pixels = (pixels - 1) * stride + (kernel - 1) * dilation + 1
        step *= stride
    return [pixels, step]


def anchor_verdicts(anchors, gt, size, fg=0.7, bg=0.3):  # anchor by anchor
    height, width = size
    takes_part = [x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height for x1, y1, x2, y2 in anchors.tolist()]
    iou = boxes.iou(anchors, gt).numpy()
    best = [max((iou[t, k] for t in range(len(anchors)) if takes_part[t]), default=0) for k in range(len(gt))]
    answer = []
    for t, row in enumerate(iou):
        if not takes_part[t]:
            answer.append(-1)
        elif any(v >= fg or (v == b and v > 0) for v, b in zip(row, best, strict=True)):
            answer.append(1)
        else:
            answer.append(0 if all(v < bg for v in row) else -1)
    return np.array(answer)


def rpn_loss_paper(pairs, deltas, labels, goals, cells, box_weight=10.0):  # anchor by anchor, numbers of Python
    class_loss, box_loss, drawn = 0.0, 0.0, 0
    for (background, thing), delta, label, goal in zip(pairs.tolist(), deltas, labels.tolist(), goals, strict=True):
        if label < 0:
            continue
        drawn += 1
        chosen = thing if label else background
        class_loss += np.log(np.exp(background) + np.exp(thing)) - chosen
        if label:
            off = np.abs((delta - goal).double().numpy())
            box_loss += sum(9 * x * x / 2 if x < 1 / 9 else x - 1 / 18 for x in off)
    return [class_loss / max(drawn, 1), box_loss * box_weight / cells]


def propose(objectness, deltas, anchors, size, before=6000, after=300, nms_iou=0.7, min_side=4.0):  # the course's
    found, _ = rpn.proposals(objectness, deltas, anchors, size, before, after, nms_iou, min_side)
    return found.double()


def rpn_answers(features, window, score, box):  # 1 x 1 convolutions
    hidden = torch.nn.functional.conv2d(features[None], window, padding=1).clamp(min=0)
    objectness = torch.nn.functional.conv2d(hidden, score[:, :, None, None]).permute(0, 2, 3, 1).flatten()
    deltas = torch.nn.functional.conv2d(hidden, box[:, :, None, None]).permute(0, 2, 3, 1).reshape(-1, 4)
    return [objectness, deltas]


def rpn_box_loss(outputs, anchors, gt):  # the course's own functions
    total = torch.nn.functional.smooth_l1_loss(outputs, boxes.encode(gt, anchors), beta=1 / 9, reduction="sum")
    return total.item() / len(anchors) if len(anchors) else 0.0


def flatten_outputs(raw, per_cell):  # number by number
    N, channels, h, w = raw.shape
    K = channels // per_cell
    answer = np.empty((N, h * w * per_cell, K))
    for n, y, x, a, k in itertools.product(range(N), range(h), range(w), range(per_cell), range(K)):
        answer[n, (y * w + x) * per_cell + a, k] = raw[n, a * K + k, y, x]
    return answer


def training_step(model, optimiser, images, targets):  # gradients set to None by hand, clipped by hand
    for weight in model.parameters():
        weight.grad = None
    report = model(images, targets)
    total = torch.stack([report[name] for name in report if name.startswith("loss_")]).sum()
    total.backward()
    norm = torch.sqrt(sum((weight.grad**2).sum() for weight in model.parameters()))
    for weight in model.parameters():
        weight.grad /= max(1.0, float(norm))
    optimiser.step()
    return dict({name: value.item() for name, value in report.items()}, total=total.item())


def background_to_front(weight, bias, box_weight, box_bias):  # roll and pad
    pad = torch.nn.functional.pad
    return [weight.roll(1, 0), bias.roll(1), pad(box_weight, (0, 0, 4, 0)), pad(box_bias, (4, 0)).numpy()]


def kind_of_error(label, overlaps, labels, taken, threshold=0.5):  # masks
    own = np.where(labels == label, overlaps, -1.0)
    if len(own) and own.max() >= 0.1:
        if own.max() < threshold:
            return "localisation"
        return "duplicate" if taken[own.argmax()] else "correct"
    return "confusion" if (overlaps >= 0.1).any() else "background"


def check_targets(boxes, labels, classes, size):  # one tensor expression
    x1, y1, x2, y2 = boxes.double().T
    good = (x1 >= 0) & (x1 < x2) & (x2 <= size[1]) & (y1 >= 0) & (y1 < y2) & (y2 <= size[0])
    bad = torch.nonzero(~(good & (labels > 0) & (labels <= classes)))
    return bad[0, 0] if len(bad) else None


def parts_reached(loss, parts):  # all parts at once
    weights = [(name, weight) for name, part in parts.items() for weight in part.parameters() if weight.requires_grad]
    if not weights:
        return set()
    found = torch.autograd.grad(loss, [weight for _, weight in weights], retain_graph=True, allow_unused=True)
    return {
        name for (name, _), one in zip(weights, found, strict=True) if one is not None and bool(one.abs().max() > 0)
    }


def send_back(winners, grads, cells):  # scatter, with a place behind the last for empty bins
    arrived = torch.zeros(cells + 1, dtype=torch.float64)
    where = torch.where(winners < 0, cells, winners)
    return arrived.scatter_add_(0, where.flatten(), grads.double().flatten())[:-1]


def changed_tensors(before, after):  # bytes
    def content(state, name):
        if name not in state:
            return None
        array = state[name].numpy()
        return array.shape, array.dtype, array.tobytes()

    return sorted(name for name in set(before) | set(after) if content(before, name) != content(after, name))


def freeze(module):  # a hook before each call, which a copy takes along
    for part in module.modules():
        for weight in part.parameters(recurse=False):
            weight.requires_grad = False
    module.register_forward_pre_hook(lambda one, _: one.eval() and None)
    return module


def resume():  # a list in the file, read by its places
    def save(path, *things):
        model, optimiser, generator, epoch = things
        torch.save([epoch + 1, generator.get_state(), optimiser.state_dict(), model.state_dict()], str(path))

    def load(path, model, optimiser, generator):
        epoch, state, *others = torch.load(path)
        for thing, stored in zip((optimiser, model), others, strict=True):
            thing.load_state_dict(stored)
        generator.set_state(state)
        return epoch

    return [save, load]


def fill_up(verdict, size, share, generator):  # numbers of Python
    def some(kind, count):
        rows = [t for t, value in enumerate(verdict.tolist()) if value == kind]
        return [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()][:count]

    objects = some(1, int(share * size))
    return objects, some(0, size - len(objects))


def calibration(scores, right, bins=10):  # score by score
    table = [[] for _ in range(bins)]
    for score, is_right in zip(scores.numpy(), right.numpy(), strict=True):
        table[min(int(score * bins), bins - 1)].append((score, is_right))
    return [(len(one), *(np.mean(one, axis=0).tolist() if one else (None, None))) for one in table]


def nudge(f, x, eps=1e-3):  # a row of the unit matrix at a time
    steps = torch.eye(x.numel(), dtype=x.dtype).reshape(x.numel(), *x.shape) * eps
    return np.array([(f(x + step).item() - f(x - step).item()) / 2 / eps for step in steps]).reshape(x.shape)


REWRITTEN = [
    *(iou_one_cxcywh, deltas_to_one, decode_classes, nms_with_a_hole, soft_nms, catch_iou, ciou_pairs),
    *(context_box, svm_targets, mine, ridge, regression_examples, three_kinds, as_the_network_knows_it),
    *(bin_edges, roi_average_pool, roi_average_backward, bilinear, region_cells, best_scale, catch_roi_pool),
    *(smooth_l1, two_task_loss, shared_quota, answer_image, rank_for_energy, cut_off, targets_in_order),
    *(rows_to_targets, validation_loss, corrected_corners),
    *rewritten_02_to_04.REWRITTEN,
    *(anchors_by_width, grid_row_by_row, foreground_anchors, window_of_layers, anchor_verdicts),
    *(rpn_loss_paper, propose, rpn_answers, rpn_box_loss, flatten_outputs),
    *(training_step, background_to_front, kind_of_error, check_targets, parts_reached),
    *(send_back, changed_tensors, freeze, resume, fill_up, calibration, nudge),
    *rewritten_12_and_13.REWRITTEN,
]


@pytest.mark.usefixtures("unchecked")  # the shape checker draws random numbers
@pytest.mark.parametrize("function", REWRITTEN, ids=lambda function: function.__name__)
def test_a_right_answer_in_another_style_is_accepted(function):
    exercise = dataclasses.replace(EXERCISES[function.__name__], forbidden=())
    report = checking.judge(exercise, function)
    assert report.verdict == "right", report.sentences


def test_another_right_picture_is_accepted():
    report = checking.judge(EXERCISES["place_the_box"], {"a": [2, 3, 6, 8], "b": (2, 6, 6, 7), "c": (4, 4, 5, 8)})
    assert report.sentences[:2] == ["Not yet, c: IoU with the truth.", "Expected 0.25, got 0.1111."]
    report = checking.judge(EXERCISES["place_the_box"], {"a": [2, 3, 6, 8], "b": (2, 6, 6, 7), "c": (3, 3, 5, 5)})
    assert report.verdict == "right", report.sentences


def test_every_function_is_rewritten_once():
    written = {name for name, exercise in EXERCISES.items() if exercise.reference is not None}
    assert {function.__name__ for function in REWRITTEN} == written
