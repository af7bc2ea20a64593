"""Exercises that say at once what is wrong, and why.

    from frcnn_lessons.exercises import check, hint, solution, progress

`check.iou_one_cxcywh(iou_one_cxcywh)` looks at your function, `hint()` helps a little more each time, `solution()`
shows a right answer once you have tried twice, `progress()` shows how far you are. A mirror, not a judge: it runs in
your own kernel and can be fooled.
"""

from frcnn_lessons.exercises.student import check, hint, progress, solution

__all__ = ["check", "hint", "progress", "solution"]
