"""All exercises, lesson by lesson."""

from frcnn_lessons.exercises import (
    anchors,
    boxes_and_iou,
    fast_rcnn,
    faster_rcnn,
    four_step,
    images_and_annotations,
    measuring_a_detector,
    rcnn,
    real_photographs,
    rpn,
    selective_search,
    sppnet_to_roi_pooling,
    tagging_service,
)
from frcnn_lessons.exercises.description import Exercise

LESSONS: tuple[tuple[Exercise, ...], ...] = (
    boxes_and_iou.EXERCISES,
    images_and_annotations.EXERCISES,
    selective_search.EXERCISES,
    measuring_a_detector.EXERCISES,
    rcnn.EXERCISES,
    sppnet_to_roi_pooling.EXERCISES,
    fast_rcnn.EXERCISES,
    anchors.EXERCISES,
    rpn.EXERCISES,
    faster_rcnn.EXERCISES,
    four_step.EXERCISES,
    real_photographs.EXERCISES,
    tagging_service.EXERCISES,
)

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in LESSONS for exercise in lesson}
