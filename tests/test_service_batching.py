"""The queue before a detector: who goes together, who is turned away, and what happens at the end. Lesson 13."""

import threading

import pytest
import torch

from frcnn_lessons.backbones import mini
from frcnn_lessons.detectors import Detector
from frcnn_lessons.faster_rcnn import FasterRCNN
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.service.batching import Batcher, QueueFull
from frcnn_lessons.tagging import tag_prepared
from helpers.serving import Colours


class Gate(Colours):
    """Waits in its first pass until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.opened = threading.Event(), threading.Event()

    def forward(self, images):
        self.entered.set()
        self.opened.wait(10)
        return super().forward(images)


def gray(height: int, width: int) -> torch.Tensor:
    return torch.full((3, height, width), 0.5)


@pytest.fixture
def gate():
    return Gate().eval()


@pytest.fixture
def held(gate):
    """A batcher whose detector is busy with a first image of 10 x 10 pixels."""
    batcher = Batcher(Detector(gate, ("red", "blue"), 10, 20, {}), largest=3, most_waiting=5)
    batcher.submit(gray(10, 10), (10, 10))
    assert gate.entered.wait(10)
    yield batcher
    gate.opened.set()
    batcher.close()


def test_images_of_one_padded_size_go_together_in_the_order_they_came(held, gate):
    sizes = [(32, 40), (33, 40), (10, 33), (31, 64), (1, 60)]  # padded: 32 x 64, 64 x 64, 32 x 64 three times
    answers = [held.submit(gray(*size), size) for size in sizes]
    gate.opened.set()
    assert [(a.result(10).height, a.result(10).width) for a in answers] == sizes
    assert gate.passes == [1, 3, 1, 1]


def test_when_the_queue_is_full_one_more_is_turned_away(held):
    for _ in range(5):
        held.submit(gray(10, 10), (10, 10))
    with pytest.raises(QueueFull, match=r"try again in 1 s"):
        held.submit(gray(10, 10), (10, 10))
    assert held.waiting() == 5


def test_who_gave_up_waiting_is_not_looked_at(held, gate):
    given_up, stayed = held.submit(gray(10, 10), (10, 10)), held.submit(gray(10, 10), (10, 10))
    assert given_up.cancel()
    gate.opened.set()
    assert stayed.result(10).labels == []
    assert gate.passes == [1, 1]


def test_what_waits_when_it_is_closed_is_answered_and_nothing_after(held, gate):
    waits = held.submit(gray(10, 10), (10, 10))
    threading.Timer(0.1, gate.opened.set).start()
    held.close()
    assert waits.result(0).labels == []
    with pytest.raises(QueueFull):
        held.submit(gray(10, 10), (10, 10))


class FailsOnWhite(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        if any(image.min() == 1 for image in images):
            raise RuntimeError("white")
        none = torch.zeros(0)
        return [{"boxes": none.reshape(0, 4), "labels": none.long(), "scores": none} for _ in images]


def test_an_image_that_fails_fails_alone():
    batcher = Batcher(Detector(FailsOnWhite(), ("a",), 10, 10, {}))
    with batcher._changed:  # so that all three wait before the first is taken
        answers = [batcher.submit(image, (10, 10)) for image in (gray(10, 10), torch.ones(3, 10, 10), gray(10, 10))]
    assert (answers[0].result(10).labels, answers[2].result(10).labels) == ([], [])
    assert str(answers[1].exception(10)) == "white"
    batcher.close()


class Meets(Colours):
    """Ends a pass only when another one runs at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2, timeout=10)

    def forward(self, images):
        self.both.wait()
        return super().forward(images)


def test_passes_run_side_by_side_each_with_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    shares = []
    monkeypatch.setattr(torch, "set_num_threads", shares.append)
    batcher = Batcher(Detector(Meets().eval(), ("red", "blue"), 10, 20, {}), largest=1, passes=2)
    answers = [batcher.submit(gray(10, 10), (10, 10)) for _ in range(4)]
    assert [answer.result(10).labels for answer in answers] == [[]] * 4
    batcher.close()
    assert shares == [2, 2]


def test_there_are_no_more_passes_than_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    batcher = Batcher(Detector(Colours().eval(), ("red", "blue"), 10, 20, {}), passes=2)
    assert sum(thread.name == "detector" for thread in batcher._threads) == 1
    batcher.close()


def test_an_answer_alone_is_the_answer_in_a_batch():
    draw = torch.Generator().manual_seed(0)
    settings = RPNSettings(sizes=(16, 32), ratios=(1.0,), before_nms=(200, 100), after_nms=(50, 20))
    model = FasterRCNN(mini(draw), 2, settings, generator=draw).eval()
    detector = Detector(model, ("a", "b"), 40, 80, {})
    images = [(torch.rand(3, *size, generator=draw), size) for size in ((40, 57), (35, 60), (33, 64), (40, 57))]
    stride = Batcher(detector).stride
    assert len({tuple(-(-side // stride) for side in size) for _, size in images}) == 1, "they are padded alike"
    together = tag_prepared(images, detector, threshold=0)
    for one, in_batch in zip(images, together, strict=True):
        alone = tag_prepared([one], detector, threshold=0)[0]
        assert len(alone.scores) > 5
        assert alone.labels == in_batch.labels
        assert torch.allclose(torch.tensor(alone.scores), torch.tensor(in_batch.scores), atol=1e-4)
        assert torch.allclose(torch.tensor(alone.boxes), torch.tensor(in_batch.boxes), atol=1e-3)
