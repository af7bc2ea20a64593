"""All exercises, lesson by lesson."""

from frcnn_lessons.exercises import anchors, boxes_and_iou, faster_rcnn, four_step, rpn
from frcnn_lessons.exercises.description import Exercise

LESSONS: tuple[tuple[Exercise, ...], ...] = (
    boxes_and_iou.EXERCISES,
    anchors.EXERCISES,
    rpn.EXERCISES,
    faster_rcnn.EXERCISES,
    four_step.EXERCISES,
)

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in LESSONS for exercise in lesson}
