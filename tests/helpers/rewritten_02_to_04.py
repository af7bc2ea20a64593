"""References of the exercises of lessons 02 to 04, rewritten once in another style; `test_exercises` hands them in."""

import re

import numpy as np
import torch
import torchvision

from frcnn_lessons import metrics


def voc_object(xml):  # text cut to pieces, a list and a NumPy array
    outside = re.sub("<part>.*?</part>", "", xml)
    name = re.search("<name>(.*?)</name>", outside)[1]
    sides = np.array([float(re.search(f"<{tag}>(.*?)<", outside)[1]) for tag in ("xmin", "ymin", "xmax", "ymax")])
    return [name, sides - [1, 1, 0, 0], np.bool_("<difficult>1<" in outside)]


def open_images_box(row, size):  # a tensor in double precision
    shares = torch.tensor([float(row[key]) for key in ("XMin", "YMin", "XMax", "YMax")], dtype=torch.float64)
    return shares * torch.tensor([size[1], size[0], size[1], size[0]])


def rotate_right(image, gt_boxes):  # transposed and mirrored; boxes in a loop
    turned = [[image.shape[1] - y2, x1, image.shape[1] - y1, x2] for x1, y1, x2, y2 in gt_boxes.tolist()]
    return image.transpose(1, 2).flip(2), turned


def resize_with_boxes(size, gt_boxes, short=400, cap=600):  # NumPy, a list for the size
    scale = short / min(size)
    if max(size) * scale > cap:
        scale = cap / max(size)
    new = [round(side * scale) for side in size]
    factors = np.array(new, dtype=float)[::-1] / np.array(size)[::-1]
    return new, gt_boxes.numpy() * np.tile(factors, 2)


def crop_boxes(gt_boxes, labels, window, min_visible=0.3):  # one after the other
    kept, names = [], []
    for box, label in zip(gt_boxes, labels, strict=True):
        clipped = torchvision.ops.clip_boxes_to_image(
            box - torch.tensor([window[0], window[1]] * 2), (window[3] - window[1], window[2] - window[0])
        )
        whole, left = (torchvision.ops.box_area(one[None]).item() for one in (box, clipped))
        if left / whole >= min_visible - 1e-9:
            kept.append(clipped.tolist())
            names.append(int(label))
    return kept, np.array(names, dtype=int)


def pad_batch(images, stride):  # NumPy, each padded on its own
    height, width = (-(-max(image.shape[axis] for image in images) // stride) * stride for axis in (1, 2))
    return np.stack([np.pad(i, ((0, 0), (0, height - i.shape[1]), (0, width - i.shape[2]))) for i in images])


def colour_similarity(a, b):  # bin by bin, lists
    whole_a, whole_b = float(a.sum()), float(b.sum())
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    return sum(min(x / whole_a, y / whole_b) for x, y in pairs)


def fill_of_masks(a, b):  # rows and columns that hold anything
    both = torch.from_numpy(a) | torch.from_numpy(b)
    rows, columns = (torch.nonzero(both.any(dim=axis)).ravel() for axis in (1, 0))
    box = both[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return 1 - (~box).sum() / both.numel()


def merge_regions(a, b):  # a weight, a list for the box
    weight = a["size"] / (a["size"] + b["size"])
    box = np.stack([a["box"], b["box"]])
    union = {key: weight * a[key] + (1 - weight) * b[key] for key in ("colour", "mean")}
    return {"box": [*box[:, :2].min(axis=0), *box[:, 2:].max(axis=0)], "size": float(a["size"] + b["size"]), **union}


def neighbours_4(segments):  # pixel by pixel; a NumPy array
    found = []
    h, w = segments.shape
    for y in range(h):
        for x in range(w):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < h and u < w and segments[y, x] != segments[v, u]:
                    pair = sorted((int(segments[y, x]), int(segments[v, u])))
                    if pair not in found:
                        found.append(pair)
    return np.array(sorted(found), dtype=np.int32)


def rank_unique(candidates, positions, throws):  # a stable sort and a look back
    ranked = sorted(range(len(candidates)), key=lambda i: positions[i] * throws[i])
    kept = []
    for i in ranked:
        if candidates[i].tolist() not in kept:
            kept.append(candidates[i].tolist())
    return kept


def group_small_first(sizes, pairs):  # a table of neighbours, dead regions crossed out
    sizes = dict(enumerate(sizes))
    around = {i: set() for i in sizes}
    for a, b in pairs:
        around[a].add(b)
        around[b].add(a)
    merges = []
    while len(sizes) > 1:
        choices = [(sizes[a] + sizes[b], a, b) for a in sizes for b in around[a] if a < b]
        size, a, b = min(choices)
        new = len(around)
        sizes[new] = size
        around[new] = (around[a] | around[b]) - {a, b}
        for one in around[new]:
            around[one] = (around[one] - {a, b}) | {new}
        del sizes[a], sizes[b]
        merges.append([a, b])
    return merges


def recall_at(tables, counts, threshold=0.5):  # the first rank that covers each object
    first = []
    for table in tables:
        for column in table.T.tolist():
            hits = [rank for rank, iou in enumerate(column) if iou >= threshold]
            first.append(hits[0] if hits else 10**9)
    return torch.tensor([np.mean([rank < n for rank in first]) if first else np.nan for n in counts])


def drop_repeats(rects):  # a dict keeps the order
    return np.array(list(dict.fromkeys(rects))).reshape(-1, 4)


def match_next_best(scores, iou, threshold=0.5):  # a table in which what is taken is crossed out
    iou = iou.double().numpy().copy()
    answer = np.full(len(scores), -1, dtype=np.int32)
    for i in np.argsort(-scores.numpy()):
        if iou.shape[1] and iou[i].max() >= threshold:
            answer[i] = iou[i].argmax()
            iou[:, answer[i]] = -1
    return answer


def ap_interpolated(right, objects, points=101):  # torch, the envelope from behind
    if objects == 0:
        return torch.tensor(float("nan"))
    right = torch.from_numpy(right).double()
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    at = torch.linspace(0, 1, points, dtype=torch.float64)
    places = torch.searchsorted(right.cumsum(0) / objects, at)
    return torch.cat([envelope, torch.zeros(1, dtype=torch.float64)])[places].mean()


def ap_from_list(answers, objects):  # with the course's own functions
    if not objects:
        return np.nan
    answers = sorted((-score, mark) for score, mark in answers if mark in "TF")
    right = np.array([mark == "T" for _, mark in answers], dtype=np.int8)
    return np.float32(metrics.average_precision(*metrics.precision_recall(right, objects)))


def mean_ap(aps, objects):  # a loop
    total, classes = 0, 0
    for name, count in objects.items():
        if count:
            classes += 1
            if name in aps:
                total += aps[name]
    return np.float64(total) / classes if classes else np.nan


def lowest_threshold(scores, right, precision):  # NumPy, from the lowest score up
    scores, right = np.array(scores), np.array(right)
    for t in np.unique(scores):
        if right[scores >= t].mean() >= precision:
            return t
    return None


def catch_the_evaluator(evaluate):  # drawn scenes, compared with the course's own evaluation, and two on paper
    draw = np.random.default_rng(3)
    predictions, targets = [], []
    for _ in range(60):
        corner = draw.integers(0, 4, (4, 2)) * 8.0
        truth = np.concatenate([corner, corner + draw.integers(4, 9, (4, 2))], axis=1)
        answers = np.concatenate([truth, truth])[:6] + draw.integers(-1, 2, (6, 4))
        labels = draw.integers(1, 3, 4)
        targets.append(
            {
                "boxes": torch.from_numpy(truth).float(),
                "labels": torch.from_numpy(labels),
                "difficult": torch.from_numpy(draw.random(4) < 0.2),
            }
        )
        named = np.where(draw.random(6) < 0.8, np.concatenate([labels, labels])[:6], draw.integers(1, 4, 6))
        predictions.append(
            {
                "boxes": torch.from_numpy(answers).float(),
                "labels": torch.from_numpy(named),
                "scores": torch.from_numpy(draw.permutation(6000)[:6] / 6000),
            }
        )
    half = [{"boxes": torch.tensor([[0.0, 0, 8, 4]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}]
    whole = [{"boxes": torch.tensor([[0.0, 0, 8, 8]]), "labels": torch.tensor([1]), "difficult": torch.tensor([False])}]
    scenes = [(predictions, targets), (half, whole), (predictions[:20], targets[:20])]
    return not all(
        np.isclose(float(evaluate(given, truth)), metrics.evaluate_voc(given, truth).mean_ap, atol=1e-4)
        for given, truth in scenes
    )


REWRITTEN = (
    *(voc_object, open_images_box, rotate_right, resize_with_boxes, crop_boxes, pad_batch),
    *(colour_similarity, fill_of_masks, merge_regions, neighbours_4, rank_unique, group_small_first, recall_at),
    *(drop_repeats, match_next_best, ap_interpolated, ap_from_list, mean_ap, lowest_threshold, catch_the_evaluator),
)
