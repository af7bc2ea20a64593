"""The detector for the streets is trained once, whole, and by one process. Lesson 13."""

import threading
from dataclasses import replace

import pytest

from frcnn_lessons.checkpoints import CheckpointError
from frcnn_lessons.datasets import streets
from frcnn_lessons.service import streets_model
from frcnn_lessons.tagging import tag_image

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder of its own, eight scenes, and one pass."""
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path))
    for split in ("train", "val", "test"):
        monkeypatch.setitem(streets.SPLITS, split, 8)
    short = replace(streets_model.STREETS_TRAINING, epochs=1, warmup_steps=0)
    monkeypatch.setattr(streets_model, "STREETS_TRAINING", short)
    return tmp_path / "models" / "streets.pth"


def test_two_that_ask_at_once_train_once(small):
    said, detectors = [], []
    ask = lambda: detectors.append(streets_model.streets_detector(said.append))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1
    assert len(detectors) == 2
    about = detectors[0].about
    assert (about["detector"], about["trained_on"]) == ("faster", "8 drawn street scenes")
    assert 0 <= about["ap50"] <= 1
    assert tag_image(streets.render("test", 0).image, detectors[0], threshold=0).width > 100
    streets_model.streets_detector(said.append)
    assert len(said) == 1, "it was trained again"
    small.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        streets_model.streets_detector(said.append)
