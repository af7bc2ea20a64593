"""A service to talk to: a detector that finds colours, behind a real server on a free port of this machine."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import nn

from frcnn_lessons.detectors import Detector
from frcnn_lessons.service.server import listen, server_of
from frcnn_lessons.service.uploads import Limits


class Colours(nn.Module):
    """Finds what is red (sure) and what is blue (less sure); one box each. Notes how many images came together."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.passes = seconds, []
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        self.passes.append(len(images))
        time.sleep(self.seconds)
        return [self.found(image) for image in images]

    def found(self, image):
        boxes, labels = [], []
        for label, channel in ((1, 0), (2, 2)):
            others = [c for c in range(3) if c != channel]
            rows, columns = torch.nonzero((image[channel] > 0.6) & (image[others] < 0.4).all(dim=0), as_tuple=True)
            if len(rows):
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                labels.append(label)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.long),
            "scores": torch.tensor([{1: 0.9, 2: 0.6}[label] for label in labels]),
        }


def colour_detector(seconds: float = 0.0) -> Detector:
    return Detector(Colours(seconds).eval(), ("red", "blue"), 120, 200, {"detector": "colours"})


def picture(width: int = 300, height: int = 200, red=(30, 40, 120, 100), blue=(200, 60, 260, 180)) -> np.ndarray:
    """Gray, with a red and a blue rectangle."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    for box, colour in ((red, (230, 20, 20)), (blue, (20, 20, 230))):
        if box is not None:
            x1, y1, x2, y2 = box
            pixels[y1:y2, x1:x2] = colour
    return pixels


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@contextmanager
def running(detector: Detector, limits: Limits | None = None) -> Iterator[str]:
    """The address of a service that runs until the block ends."""
    listening = listen("127.0.0.1", 0)
    server = server_of(detector, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
