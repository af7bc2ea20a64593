"""The course's table of detectors: written by the lessons, one at a time, in any order."""

import math
import re

import pytest

from frcnn_lessons.course import results
from frcnn_lessons.course.results import Result


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.json"


def test_an_empty_table_says_which_lesson_fills_each_row(path):
    lines = results.table(path, path.with_name("none.json")).splitlines()
    assert len(lines) == 2 + len(results.DETECTORS)
    assert lines[2] == "| R-CNN | *lesson 05* | | | | | | |"


def test_a_result_is_read_back_and_a_newer_one_takes_its_place(path):
    results.record(Result("Fast R-CNN", 0.5, 60.0, 0.25, 0.2, 300, "5"), path)
    results.record(Result("R-CNN", 0.6, 40.0, 2.0, 0.1, 300, "5"), path)
    results.record(Result("Fast R-CNN", 0.82, 55.0, 0.2, 0.15, 300, "5"), path)
    assert results.read(path) == {
        "R-CNN": Result("R-CNN", 0.6, 40.0, 2.0, 0.1, 300, "5"),
        "Fast R-CNN": Result("Fast R-CNN", 0.82, 55.0, 0.2, 0.15, 300, "5"),
    }
    # In the order of the papers, whatever the order of the lessons.
    assert [line.split(" | ")[0] for line in results.table(path, path.with_name("none.json")).splitlines()[2:]] == [
        f"| {name}" for name in results.DETECTORS
    ]
    assert "| Fast R-CNN | yours | 300 | 5 | 0.82 | 55 s | 200 ms | 50 ms |" in results.table(
        path, path.with_name("none.json")
    )


def test_the_row_of_reference_stands_over_the_readers_own(path):
    reference = path.with_name("table.json")
    results.write({"SPPNet": Result("SPPNet", 0.7, 9.0, 0.08, 0.03, 300, "–")}, reference)
    results.record(Result("SPPNet", 0.64, 7.0, 0.07, 0.03, 200, "–"), path)
    lines = results.table(path, reference).splitlines()
    assert lines[3] == "| SPPNet | reference | 300 | – | 0.70 | 9 s | 80 ms | 50 ms |"
    assert lines[4] == "|  | yours | 200 | – | 0.64 | 7 s | 70 ms | 40 ms |"


def test_the_table_lies_with_the_data_of_the_course(monkeypatch, tmp_path):
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path))
    results.record(Result("R-CNN", 0.6, 40.0, 2.0, 0.1, 300, "5"))
    assert (tmp_path / "results.json").is_file()
    assert list(results.read()) == ["R-CNN"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("YOLO", 0.5, 1.0, 1.0, 0.0), "'YOLO' is not in the table"),
        (("R-CNN", 60.0, 1.0, 1.0, 0.0), "ap50 of R-CNN must lie in 0..1; got 60.0"),
        (("R-CNN", math.nan, 1.0, 1.0, 0.0), "ap50 of R-CNN"),
        (("R-CNN", 0.5, -1.0, 1.0, 0.0), "training_seconds of R-CNN must be 0 or more"),
        (("R-CNN", 0.5, 1.0, math.inf, 0.0), "image_seconds of R-CNN must be 0 or more"),
        (("R-CNN", 0.5, 1.0, 1.0, -0.1), "proposal_seconds of R-CNN must be 0 or more"),
        (("R-CNN", 0.5, 1.0, 1.0, 2.0), "proposal_seconds of R-CNN is part of image_seconds; got 2.0 of 1.0"),
    ],
)
def test_a_result_that_cannot_be_is_refused(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Result(*values, 300, "5")


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"detector": "R-CNN"}]', '[{"detector": 1, "x": 2}]'])
def test_a_damaged_table_is_named_and_left_alone(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path)) + " is damaged"):
        results.record(Result("R-CNN", 0.6, 40.0, 2.0, 0.1, 300, "5"), path)
    assert path.read_text() == text
