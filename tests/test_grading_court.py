"""The processes in which answers run: frauds earn nothing, and nothing outlives an answer.

Lesson 01.
"""

import psutil
import pytest

from frcnn_lessons.course.grading.court import Court
from frcnn_lessons.course.grading.judging import _heard, mark_of
from frcnn_lessons.course.grading.names import names_not_allowed
from frcnn_lessons.exercises.catalogue import EXERCISES
from frcnn_lessons.exercises.description import Exercise, on_paper
from helpers.graded_answers import ENDLESS, HEAD, PLAIN, RIGHT, SETUP


@pytest.fixture(scope="module")
def court():
    with Court() as made:
        yield made


def judged(court, answer, **more):
    return mark_of(court, PLAIN, "iou_one_cxcywh", answer, [SETUP], **more)


# --- frauds -----------------------------------------------------------------------------------------------------

FRAUDS = {
    "patch the comparison": "torch.allclose = lambda *a, **k: True\n" + HEAD + "return torch.zeros(len(others))",
    "equal to everything": "class Yes(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): "
    "return 0.0\n" + HEAD + "return [Yes(1)] * len(others)",
    "display hook": "get_ipython().display_formatter = None\n" + RIGHT,
    "the stack": "import sys\n" + HEAD + "return sys._getframe(2).f_locals['expected']",
    "the solution of the course": "from frcnn_lessons.exercises.boxes_and_iou import iou_one_cxcywh",
    "exit": "import os\nos._exit(0)",
    "exit without a name": HEAD + "raise SystemExit(0)",
    "a hidden import": HEAD + "return __import__('torchvision').ops.box_iou(box[None], others)[0]",
    "evaluated text": HEAD + "return eval('boxes.' + 'iou')(box[None], others)[0]",
    "an alias": "from frcnn_lessons import boxes as b\nf = b.iou\n" + HEAD + "return f(box[None], others)[0]",
    "from elsewhere": "from torchvision.models.detection import roi_heads as r\n"
    + HEAD
    + "return r.box_ops.box_iou(box[None], others)[0]",
    "by getattr": HEAD + "return getattr(boxes, 'i' + 'ou')(box[None], others)[0]",
    "swallowed": HEAD + "import torchvision.models.detection.roi_heads as r\n    try:\n"
    "        return r.box_ops.box_iou(box[None], others)[0]\n"
    "    except BaseException:\n        return torch.zeros(len(others))",
    "a wide answer": HEAD + "return torch.zeros(10**7)",
    "all memory": HEAD + "return torch.zeros(10**12)",
    "a deep answer": HEAD + "a = []\n    for _ in range(10**4): a = [a]\n    return a",
    "print for ever": HEAD + "while True: print('x' * 10**6)",
    "catch the end": HEAD + "while True:\n        try:\n            while 1: pass\n        except BaseException: 0",
    "an endless cell": "while True: pass\n",
    "a constant": HEAD + "return torch.zeros(len(others))",
}
WITHOUT_END = ("print for ever", "catch the end", "an endless cell")


@pytest.mark.slow
@pytest.mark.parametrize("fraud", FRAUDS)
def test_a_fraud_has_nothing(court, fraud):
    mark = judged(court, FRAUDS[fraud], patience=0.25 if fraud in WITHOUT_END else 1)
    assert mark.points == 0, mark


LEAVING = {
    "its own session": "os.setsid(); time.sleep(600)",
    "a grandchild": "os.fork(); os.setsid(); os.fork(); time.sleep(600)",
    "two children": "os.fork(); time.sleep(600)",
    "kill the worker": "os.setsid(); os.kill(worker, 9); time.sleep(600)",
    "stop the worker": "os.setsid(); os.kill(worker, 19); os.fork(); time.sleep(600)",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", LEAVING)
def test_what_an_answer_leaves_running_is_ended(court, how):
    before = set(psutil.Process().children(recursive=True))
    code = "import os, time\nworker = os.getppid()\nif os.fork() == 0:\n    " + LEAVING[how] + "\n" + RIGHT
    assert judged(court, code).verdict == "not allowed"
    judged(court, code, accepted=True)
    left = set(psutil.Process().children(recursive=True)) - before
    assert [p for p in left if p != psutil.Process(court.worker.pid)] == [] if court.worker else not left
    assert judged(court, RIGHT).points == 3


def one():
    """One."""
    return 1


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "mistake"), [(0.0, ""), (0.2, "time")])
def test_all_calls_of_a_case_have_its_time_together(court, seconds, mistake):
    """No call alone is too slow. (The checker's alarm once went off in the queue of the pipe, and was an exception.)"""
    cases = [on_paper(label, gives=8, experiment=lambda f: sum(f() for _ in range(8))) for label in ("eight", "more")]
    exercise = Exercise(
        **{"kind": "implement", "reference": one, "number": "", "title": "", "text": "", "minutes": 1, "points": 1},
        **{"goals": (1,), "core": False, "cases": cases},
    )
    answer = f"import time\ndef one():\n    time.sleep({seconds})\n    return 1"
    witness = court.hear("one", answer, seconds=1.0)
    try:
        report, share = _heard(exercise, witness, 1.0)
    finally:
        witness.close()
    assert (report.mistake, share) == (mistake, 0.0 if mistake else 1.0), report.sentences


@pytest.mark.slow
def test_files_of_an_answer_lie_in_a_folder_that_goes(court):
    judged(court, "open('left.txt', 'w').write('x')\n" + RIGHT)
    assert list(court.scratch.rglob("left.txt")) == []


@pytest.mark.slow
def test_without_a_fork_it_is_the_same():
    with Court(fork=False) as court:
        assert judged(court, RIGHT).points == 3
        assert judged(court, ENDLESS).points == 0


@pytest.mark.parametrize("name", [name for name, e in EXERCISES.items() if e.reference is not None])
def test_no_solution_uses_a_name_that_is_not_allowed(name):
    exercise = EXERCISES[name]
    found = names_not_allowed(exercise.solution, [SETUP], exercise.forbidden)
    assert found == []
