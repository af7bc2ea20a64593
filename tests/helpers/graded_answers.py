"""Answers to the first exercise, and a plain key, for the tests of grading."""

from frcnn_lessons.course.grading.key import Key
from frcnn_lessons.exercises.catalogue import EXERCISES

PLAIN = Key(2520, {})
SETUP = "import torch\nfrom frcnn_lessons import boxes\nfrom frcnn_lessons.exercises import check\n"
RIGHT = EXERCISES["iou_one_cxcywh"].solution
HEAD = "def iou_one_cxcywh(box, others):\n    "
ENDLESS = HEAD + "while True: pass\n"
