"""The built-in data set: street scenes with buses, trucks and cars seen from the side, drawn by this package.

Lesson 02.
"""

from frcnn_lessons.datasets.streets.dataset import FIRST_LOOK, SAMPLE, jpeg, prepare, write
from frcnn_lessons.datasets.streets.scenes import CLASSES, SPLITS, Scene, Vehicle, render

__all__ = ["CLASSES", "FIRST_LOOK", "SAMPLE", "SPLITS", "Scene", "Vehicle", "jpeg", "prepare", "render", "write"]
