"""All exercises, lesson by lesson."""

from frcnn_lessons.exercises import boxes_and_iou, fast_rcnn, rcnn, sppnet_to_roi_pooling
from frcnn_lessons.exercises.description import Exercise

LESSONS: tuple[tuple[Exercise, ...], ...] = (
    boxes_and_iou.EXERCISES,
    rcnn.EXERCISES,
    sppnet_to_roi_pooling.EXERCISES,
    fast_rcnn.EXERCISES,
)

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in LESSONS for exercise in lesson}
