"""All exercises, lesson by lesson."""

from frcnn_lessons.exercises import boxes_and_iou, images_and_annotations, measuring_a_detector, selective_search
from frcnn_lessons.exercises.description import Exercise

LESSONS: tuple[tuple[Exercise, ...], ...] = (
    boxes_and_iou.EXERCISES,
    images_and_annotations.EXERCISES,
    selective_search.EXERCISES,
    measuring_a_detector.EXERCISES,
)

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for lesson in LESSONS for exercise in lesson}
