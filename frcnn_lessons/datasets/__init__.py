"""The data of the course: built-in street scenes, PASCAL VOC folders, Open Images tables and COCO files, as `Sample`.

Lesson 02.
"""

from frcnn_lessons.datasets.coco import COCODataset
from frcnn_lessons.datasets.loading import batches
from frcnn_lessons.datasets.open_images import OPEN_IMAGES_COLUMNS, OpenImagesDataset
from frcnn_lessons.datasets.own_data import OwnData, open_data
from frcnn_lessons.datasets.sample import AnnotatedObject, DataError, Defect, Sample, collate
from frcnn_lessons.datasets.transforms import HorizontalFlip, ResizeShortSide
from frcnn_lessons.datasets.voc import VOC_CLASSES, VOCDataset

__all__ = [
    "OPEN_IMAGES_COLUMNS",
    "VOC_CLASSES",
    "AnnotatedObject",
    "COCODataset",
    "DataError",
    "Defect",
    "HorizontalFlip",
    "OpenImagesDataset",
    "OwnData",
    "ResizeShortSide",
    "Sample",
    "VOCDataset",
    "batches",
    "collate",
    "open_data",
]
