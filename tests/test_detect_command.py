"""`frcnn-lessons evaluate` and `detect`, with a detector that knows the answers. Lesson 12."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from frcnn_lessons.course import cli
from frcnn_lessons.detectors import Detector
from helpers.tiny_photographs import photograph, write_voc


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("own") / "photographs")


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


class FindsColours(torch.nn.Module):
    """Finds the rectangles by their colours."""

    def __init__(self):
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return [self.detect(image) for image in images]

    def detect(self, image):
        boxes, labels = [], []
        for label, (mine, other) in ((1, (0, 2)), (2, (2, 0))):
            y, x = torch.nonzero(image[mine] - image[other] > 0.3, as_tuple=True)
            if len(x):
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
                labels.append(label)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.long),
            "scores": torch.full((len(labels),), 0.9),
        }


@pytest.fixture
def knows(monkeypatch):
    """A detector that finds all, sees images at twice their size, and numbers the classes the other way round."""
    detector = Detector(FindsColours(), ("red", "blue"), 128, 214, {})
    monkeypatch.setattr("frcnn_lessons.detectors.load_detector", lambda _: detector)
    return detector


@pytest.mark.usefixtures("knows")
def test_a_detector_that_is_right_scores_1_in_pixels_of_the_stored_images(photographs, tmp_path):
    result = call("evaluate", "any.pth", photographs, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.output.splitlines() if line.startswith(("red", "blue", "mean"))][:3] == [
        ["red", "2", "1.000", "1.000"],
        ["blue", "2", "1.000", "1.000"],
        ["mean", "4", "1.000", "1.000"],
    ]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["coco"]["AP50"] == pytest.approx(1)
    assert scores["coco"]["AP_large"] == -1, "the rectangles are small in the stored images"
    assert scores["confusion"] == [[0, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert scores["errors"] == {
        "correct": 4,
        "localisation": 0,
        "duplicate": 0,
        "confusion": 0,
        "background": 0,
        "ignored": 0,
        "missed": 0,
    }
    unsure = call("evaluate", "any.pth", photographs, "--threshold", 0.95, "--split", "train")
    assert "missed           12" in unsure.output
    assert "--split can be" in call("evaluate", "any.pth", photographs, "--split", "test").output


def test_data_without_a_class_of_the_detector_are_refused(photographs, knows, monkeypatch):
    stranger = replace(knows, classes=("a", "b"))
    monkeypatch.setattr("frcnn_lessons.detectors.load_detector", lambda _: stranger)
    result = call("evaluate", "any.pth", photographs)
    assert result.exit_code == 1
    assert "the detector knows a, b, and the data have blue, red: no class is in both" in result.output


@pytest.mark.usefixtures("knows")
def test_detect_goes_on_after_a_bad_file_and_its_exit_code_says_so(photographs, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    pixels, objects = photograph(0)
    whole = (photographs / "JPEGImages" / "000.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "b.jpg").write_bytes(whole)
    Image.fromarray(pixels).convert("L").save(folder / "c.png")
    Image.fromarray(pixels).convert("L").save(folder / f"{'é' * 120}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "._b.jpg").write_text("what macOS leaves beside b.jpg")
    (folder / "d.jpg").mkdir()
    result = call("detect", "any.pth", folder, tmp_path / "none.jpg", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "a.jpg: the image cannot be read" in result.output
    assert "none.jpg: the image is missing" in result.output
    assert "2 could not be read" in result.output
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [Path(one["image"]).name for one in found] == ["b.jpg", "c.png", f"{'é' * 120}.png"]
    assert [one["label"] for one in found[0]["objects"]] == ["red", "blue"]
    assert found[1]["objects"] == []
    for one, wanted in zip(found[0]["objects"], objects, strict=True):
        assert one["box"] == pytest.approx(wanted.box, abs=1.6)
    drawn = np.array(Image.open(tmp_path / "out" / found[0]["picture"]))
    assert drawn.shape == pixels.shape
    assert np.abs(drawn.astype(int) - pixels).max() > 100, "boxes are drawn"

    good = call("detect", "any.pth", folder / "b.jpg", "--out", tmp_path / "out")
    assert good.exit_code == 0
    empty = call("detect", "any.pth", tmp_path / "out" / "none", "--out", tmp_path / "out")
    assert empty.exit_code == 1


@pytest.mark.usefixtures("knows")
def test_pictures_of_an_earlier_run_are_not_looked_at(photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.jpg").write_bytes((photographs / "JPEGImages" / "000.jpg").read_bytes())
    for _ in range(2):
        assert call("detect", "any.pth", ".").exit_code == 0
    found = json.loads((tmp_path / "detections" / "detections.json").read_text())
    assert [one["image"] for one in found] == ["b.jpg"]
    assert call("detect", "any.pth", "detections").exit_code == 0  # asked for by name
    found = json.loads((tmp_path / "detections" / "detections.json").read_text())
    assert [one["image"] for one in found] == ["detections/1_b.jpg"]
