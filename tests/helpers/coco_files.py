"""A COCO file with the same boxes as another data set, to compare both readers."""

import json
from pathlib import Path
from typing import Any

from frcnn_lessons.datasets.reading import AnnotatedImages


def as_coco(dataset: AnnotatedImages, ending: str = ".jpg") -> dict[str, Any]:
    """The content of a COCO file for the images of `dataset`, with gaps in all ids, in plain Python."""
    images, annotations = [], []
    for place, image_id in enumerate(dataset.ids):
        known = dataset.annotation(place)
        height, width = known["size"]
        images.append({"id": 7 + 3 * place, "file_name": image_id + ending, "width": width, "height": height})
        for box, label, difficult in zip(
            known["boxes"].tolist(), known["labels"].tolist(), known["difficult"].tolist(), strict=True
        ):
            x1, y1, x2, y2 = box
            annotations.append(
                {
                    "id": 100 + 2 * len(annotations),
                    "image_id": images[-1]["id"],
                    "category_id": 5 * label,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(difficult),
                    "segmentation": [],
                }
            )
    categories = [{"id": 5 * label, "name": name} for label, name in enumerate(dataset.classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(path: Path, content: dict[str, Any]) -> Path:
    """Write it, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
