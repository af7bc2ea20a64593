"""References of the exercises of lessons 02 to 04, rewritten once in another style; `test_exercises` hands them in."""

import re

import numpy as np
import torch
import torchvision


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


REWRITTEN = (
    *(voc_object, open_images_box, rotate_right, resize_with_boxes, crop_boxes, pad_batch),
    *(colour_similarity, fill_of_masks, merge_regions, neighbours_4, rank_unique, group_small_first, recall_at),
    drop_repeats,
)
