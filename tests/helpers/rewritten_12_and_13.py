"""The functions of the exercises of lessons 12 and 13, and of a late one of 09, as somebody else would write them."""

import numpy as np
import torch

from frcnn_lessons.exercises.rpn import propose_slowly


def catch_the_proposer(propose):  # drawn scenes, crowded enough for every rule, beside a loop
    draw = torch.Generator().manual_seed(0)
    for before, after in ((6000, 300), (40, 300), (6000, 50)):
        corner = torch.rand(120, 2, generator=draw) * torch.tensor([36.0, 12.0])
        anchors = torch.cat([corner, corner + 2 + 12 * torch.rand(120, 2, generator=draw)], dim=1)
        given = (torch.rand(120, generator=draw), 0.4 * torch.randn(120, 4, generator=draw), anchors, (16, 40))
        got, wanted = propose(*given, before, after), propose_slowly(*given, before, after)
        if got.shape != wanted.shape or (got - wanted).abs().max() > 1e-3:
            return True
    return False


def exif_turned(boxes, size, orientation):  # a picture of pixel numbers is turned, and the box looked for, in NumPy
    height, width = size
    turns = {3: 2, 6: -1, 8: 1}.get(orientation, 0)
    corners = boxes.numpy().astype(np.float64).reshape(-1, 2, 2)
    centre, new_centre = np.array([width, height]) / 2, np.array([height, width] if turns % 2 else [width, height]) / 2
    matrix = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turns % 4)  # a quarter counterclockwise, y downwards
    turned = (corners - centre) @ matrix.T + new_centre
    return np.concatenate([turned.min(axis=1), turned.max(axis=1)], axis=1)


def fpn_level(boxes):  # doubled until it is large enough, a list
    answer = []
    for x1, y1, x2, y2 in boxes.double().tolist():
        area, level = (x2 - x1) * (y2 - y1), 2
        while level < 5 and area >= (224 * 2 ** (level - 3)) ** 2:
            level += 1
        answer.append(level)
    return answer


def parameter_groups(model):  # sets and comprehensions
    learns = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    stays = {name for name, parameter in learns.items() if len(parameter.shape) <= 1}
    return [sorted(set(learns) - stays), sorted(stays)]


def names_to_labels(images, classes, synonyms):  # word by word
    def label(word):
        word = word.strip().casefold()
        for other, name in synonyms.items():
            if other.casefold() == word:
                word = name.casefold()
        names = [name.casefold() for name in classes]
        return names.index(word) + 1 if word in names else None

    found = [list(map(label, names)) for names in images]
    return [None if any(one is None for one in labels) else labels for labels in found]


def best_tags(labels, scores, threshold):  # sorted first: the first of a label is its best
    answer = {}
    for score, label in sorted(zip(scores, labels, strict=True), reverse=True):
        if score >= threshold:
            answer.setdefault(label, score)
    return answer


def scale_back(boxes, seen, picture):  # shares of the image, in NumPy
    shares = boxes.numpy().astype(np.float64) / np.array([*seen[::-1], *seen[::-1]])
    return np.minimum(shares, 1) * np.array([*picture[::-1], *picture[::-1]])


def claims_too_much(header, most):  # byte by byte
    if not header.startswith(b"\x89PNG\r\n\x1a\n") or len(header) < 24:
        return True
    width = height = 0
    for place in range(4):
        width, height = 256 * width + header[16 + place], 256 * height + header[20 + place]
    return not width * height <= most


REWRITTEN = [
    catch_the_proposer,
    exif_turned,
    fpn_level,
    parameter_groups,
    names_to_labels,
    best_tags,
    scale_back,
    claims_too_much,
]
