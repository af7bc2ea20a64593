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

BY_HEART = [
    (box.tolist(), others.tolist(), EXERCISES["iou_one_cxcywh"].reference(box, others).tolist())
    for case in EXERCISES["iou_one_cxcywh"].cases
    if case.group != "random"
    for box, others in [case.fresh_inputs()]
]
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
    "by an alias of getattr": "g = getattr\n" + HEAD + "return g(g(torch, 'o' + 'ps'), 'torchvision')",
    "by getattr handed on": HEAD + "return list(map(getattr, [torch], ['o' + 'ps']))",
    "by a pattern": HEAD + "match iou_one_cxcywh:\n        case object(__globals__=found): return found",
    "an operation of C": "torch._C._jit_get_operation('torchvision::nms')\n" + RIGHT,
    "text as TorchScript": "torch.jit.CompilationUnit('def f(x: int):\\n    return x')\n" + RIGHT,
    "text as a type": "import typing\ndef f(x: 'print()'): 0\ntyping.get_type_hints(f)\n" + RIGHT,
    "text that is timed": "import timeit\ntimeit.timeit('import os', number=1)\n" + RIGHT,
    "a library that has it": "from pycocotools import mask\n" + RIGHT,
    "a file": "open('/proc/self/environ').read()\n" + RIGHT,
    "a file of NumPy": "import numpy as np\nnp.fromfile('/proc/self/environ', dtype='uint8')\n" + RIGHT,
    "the network": "import urllib.request\n" + RIGHT,
    "too deep to be looked through": "import os\nx = os" + ".a" * 3000 + "\n" + RIGHT,
    "half a sign": HEAD + "raise ValueError('\\ud800\\x1b[2J')",
    "what is public, by heart": f"KNOWN = {BY_HEART!r}\n" + HEAD + "for a, b, iou in KNOWN:\n"
    "        if (a, b) == (box.tolist(), others.tolist()): return torch.tensor(iou)\n"
    "    return torch.zeros(len(others))",
}
WITHOUT_END = ("print for ever", "catch the end", "an endless cell")


@pytest.mark.slow
@pytest.mark.parametrize("fraud", FRAUDS)
def test_a_fraud_has_nothing(court, fraud):
    mark = judged(court, FRAUDS[fraud], patience=0.25 if fraud in WITHOUT_END else 1)
    assert mark.points == 0, mark
    assert all(sentence.isprintable() for sentence in mark.says)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["raise ValueError", "return True"])
def test_who_counts_calls_in_place_of_testing_has_nothing(court, then):
    """The first calls once went to right functions alone, and what failed later was taken for a fault it found."""
    answer = f"calls = [0]\ndef catch_iou(iou):\n    calls[0] += 1\n    if calls[0] <= 3: return False\n    {then}"
    assert mark_of(court, PLAIN, "catch_iou", answer, [SETUP]).points == 0


@pytest.mark.slow
def test_what_was_not_allowed_in_a_late_case_is_named(court):
    late = "from torchvision.models.detection import roi_heads as r\ncalls = [0]\n" + RIGHT.replace("one", "own", 1)
    late += "\n" + HEAD + "calls[0] += 1\n    if calls[0] > 9: r.box_ops.box_iou(box[None], others)\n"
    late += "    return iou_own_cxcywh(box, others)"
    assert judged(court, late).verdict == "not allowed"


ASKING = """import json, struct
message = json.dumps({"ask": 0, "inputs": [], "named": {"is": "dict", "pairs": []}}).encode()
for number in range(3, 40):
    try:
        pipe = open(number, "wb", closefd=False)
        while True: pipe.write(struct.pack(">I", len(message)) + message)
    except OSError: pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iou_one_cxcywh", "catch_iou"])
def test_who_asks_and_does_not_listen_does_not_stop_us(court, name):
    inside = "".join(f"    {line}\n" for line in ASKING.splitlines())
    answers = {"iou_one_cxcywh": ASKING, "catch_iou": f"def catch_iou(iou):\n{inside}"}
    assert mark_of(court, PLAIN, name, answers[name], [SETUP], accepted=True).points == 0


@pytest.mark.slow
def test_our_functions_are_not_called_with_what_fills_our_memory(court):
    answer = "def catch_iou(iou):\n    many = torch.zeros(20_000, 4)\n    iou(many, many)\n    return False"
    mark = mark_of(court, PLAIN, "catch_iou", answer, [SETUP])
    assert mark.points == 0
    assert "take fewer numbers" in " ".join(mark.says)


# --- right answers in an odd form ---------------------------------------------------------------------------------

OWN = RIGHT.replace("iou_one_cxcywh", "own", 1) + "\n"
ODD = {
    "a lambda": "iou_one_cxcywh = lambda box, others: own(box, others)",
    "an array": HEAD + "return own(box, others).numpy()",
    "a list": HEAD + "return own(box, others).tolist()",
    "double, with a gradient": HEAD + "return own(box, others).double().requires_grad_()",
    "it prints and warns": "import warnings as w\n"
    + HEAD
    + "print(box)\n    w.warn('hm')\n    return own(box, others)",
    "a decorator": "import functools, itertools, math\n@functools.lru_cache\n" + HEAD + "return own(box, others)",
    "a partial": "from functools import partial\niou_one_cxcywh = partial(own)",
    "type hints": "def iou_one_cxcywh(box: 'torch.Tensor', others: torch.Tensor = None) -> torch.Tensor:\n"
    "    return own(box, others)",
    "a class": "from dataclasses import dataclass\n@dataclass\nclass Box:\n    at: torch.Tensor\n"
    "    def __call__(self, others): return own(self.at, others)\n" + HEAD + "return Box(box)(others)",
    "recursion": HEAD + "if len(others) < 2: return own(box, others)\n"
    "    return torch.cat([iou_one_cxcywh(box, others[:1]), iou_one_cxcywh(box, others[1:])])",
    "tested in the cell": HEAD + "return own(box, others)\nassert iou_one_cxcywh(torch.ones(4), torch.ones(1, 4)) == 1",
    "checked in the cell": HEAD + "return own(box, others)\ncheck.iou_one_cxcywh(iou_one_cxcywh)",
    "variables named like modules": "code, signal, resource = 1, 2, 3\n" + HEAD + "return own(box, others)",
}


@pytest.mark.slow
@pytest.mark.parametrize("form", ODD)
def test_a_right_answer_in_an_odd_form_has_all_points(court, form):
    mark = judged(court, "from __future__ import annotations\n" + OWN + ODD[form])
    assert mark.points == 3, mark


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
