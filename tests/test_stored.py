"""Figures stored with the lessons: shown as they are, below the command and the date that they come from.

Lesson 12.
"""

import json

import pytest

from frcnn_lessons.course import stored


def row(job: str, **more):
    """A row as `tests/benchmarks/voc.py` writes it."""
    scores = {"AP50": 0.75, "AP50 11 points": 0.7, "COCO AP": 0.4, "by class": {"bus": 0.5, "cat": 1.0}}
    cost = {"training images": 917, "training seconds": 60.4, "images": 965, "seconds an image": 0.035}
    return {"job": job, "seed": 0, "machine": "CPU"} | scores | cost | more


RECALL = {
    "RPN": {"AR": [0.3, 0.4], "at 0.5": [0.9, 0.95], "at 0.7": [0.6, 0.65]},
    "counts": [50, 100],
}
CONTENT = {
    "command": "python tests/benchmarks/voc.py FOLDER ours --seed 0",
    "date": "2026-11-27",
    "rows": [
        row("faster", recall=RECALL),
        row("best", averaged={"AP50": 0.76, "seconds an image": 0.04}),
        row("torchvision"),
        row("ours", epochs=6, loss=[2.0, 1.0, 0.5, 0.25]),
    ],
}


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "voc.json"
    place.write_text(json.dumps(CONTENT))
    return place


def test_rows_stand_in_the_order_of_their_groups_below_where_they_come_from(path):
    lines = stored.tables(path).splitlines()
    assert lines[0] == "Measured on 2026-11-27 by `python tests/benchmarks/voc.py FOLDER ours --seed 0`"
    shown = [line for line in lines if line.startswith("| ") and "0.750" in line]
    assert [line.split(" | ")[0] for line in shown] == ["| ours", "| torchvision", "| best", "| faster"]
    assert shown[0] == "| ours | 0 | 0.750 | 0.700 | 0.400 | 0.500 | 1.000 | 917 | 6 | 965 | 60 s | 35 ms | CPU |"
    (averaged,) = [line for line in lines if line.startswith("| best, averaged | 0 | 0.760 | 0.700")]
    assert "| 60 s | 40 ms |" in averaged
    assert lines[-1] == "| RPN | 0.90 / 0.60 | 0.95 / 0.65 |"
    for line in lines:
        assert not line.startswith("|") or line.count("|") in (14, 4), line


def test_the_curve_is_that_of_the_row(path):
    (ax,) = stored.curves(path).axes
    (line,) = ax.lines
    assert line.get_xydata().tolist() == [[0.25, 2.0], [0.5, 1.0], [0.75, 0.5], [1.0, 0.25]]
    assert (line.get_label(), ax.get_ylabel()) == ("ours, seed 0", "loss")


def test_before_the_first_measurement_the_command_is_named(tmp_path):
    assert stored.COMMAND in stored.tables(tmp_path / "none.json")
    assert stored.curves(tmp_path / "none.json") is None


@pytest.mark.parametrize("damage", ["rows", "score", "json"])
def test_a_damaged_file_is_named(path, damage):
    content = json.loads(path.read_text())
    if damage == "rows":
        del content["rows"]
    elif damage == "score":
        del content["rows"][1]["AP50"]
    path.write_text("{" if damage == "json" else json.dumps(content))
    with pytest.raises(ValueError, match=r"voc\.json is damaged or of another form"):
        stored.tables(path)
