"""OpenCV's own selective search, in an environment of its own.

It is in the contrib build alone, and two OpenCV packages in one environment overwrite each other. So this file runs as
a script under `uv run --no-project --with opencv-contrib-python-headless`, and imports nothing of the course:

    python opencv_selective_search.py images.npz boxes.npz fast|quality

images.npz holds (H, W, 3) uint8 RGB arrays; boxes.npz gets, under the same names, (N, 4) float32 xyxy, best first.
The order has a random part that no seed reaches: the boxes of two runs are the same, their order is not. Keep the file.
"""

import sys

import cv2
import numpy as np

images_path, boxes_path, mode = sys.argv[1:]
boxes = {}
with np.load(images_path) as images:
    for name in images.files:
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(images[name][:, :, ::-1]))
        {"fast": search.switchToSelectiveSearchFast, "quality": search.switchToSelectiveSearchQuality}[mode]()
        xywh = search.process().astype(np.float32)
        boxes[name] = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
np.savez(boxes_path, **boxes)
