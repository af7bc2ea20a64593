"""The twelve figures by pycocotools, from the same lists of tensors that `evaluate_coco` takes."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Images = Sequence[Mapping[str, Any]]


def indexed(predictions: Images, targets: Images) -> tuple[COCO, COCO]:
    """Two COCO data sets, ground truth and detections. Targets may hold `iscrowd` and `area`."""
    labels = {c for record in (*targets, *predictions) for c in record["labels"].tolist()}
    return _coco(targets, labels), _coco(predictions, labels)


def _coco(records: Images, labels: set[int]) -> COCO:
    annotations: list[dict[str, Any]] = []
    for image, record in enumerate(records):
        boxes = record["boxes"].double()
        sizes = boxes[:, 2:] - boxes[:, :2]
        for n in range(len(boxes)):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would mean "no match"
                    "image_id": image,
                    "category_id": int(record["labels"][n]),
                    "bbox": [*boxes[n, :2].tolist(), *sizes[n].tolist()],
                    "area": float(record["area"][n] if "area" in record else sizes[n].prod()),
                    "iscrowd": int(record["iscrowd"][n]) if "iscrowd" in record else 0,
                    "score": float(record["scores"][n]) if "scores" in record else 1.0,
                }
            )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(records))],
        "categories": [{"id": label} for label in sorted(labels)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def twelve_figures(truth: COCO, found: COCO, evaluator: type[COCOeval] = COCOeval) -> list[float]:
    """AP, AP50, AP75, AP small / medium / large, AR1 / 10 / 100, AR small / medium / large; -1 for "nothing there"."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()
