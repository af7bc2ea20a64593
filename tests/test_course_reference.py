"""The table of reference: all detectors taught and scored alike, and still true."""

import pytest

from frcnn_lessons.course import reference, results


def test_every_detector_of_the_table_has_a_training():
    assert list(reference.TRAININGS) == list(results.DETECTORS)


def test_the_stored_table_is_fair_and_in_the_order_of_the_papers():
    table = results.read(results.REFERENCE)
    assert list(table) == list(results.DETECTORS)
    assert {row.images for row in table.values()} == {300}
    passes = {name: row.passes for name, row in table.items()}
    assert passes["Fast R-CNN"] == passes["Faster R-CNN"] == passes["Faster R-CNN, four steps"].removeprefix("4 x ")
    assert table["R-CNN"].ap50 < table["Fast R-CNN"].ap50 < table["Faster R-CNN"].ap50


@pytest.mark.slow
@pytest.mark.parametrize("detector", reference.TRAININGS)
def test_a_row_is_measured_from_any_number_of_images(detector, monkeypatch):
    short = reference.replace(reference.STREETS_TRAINING, epochs=1, warmup_steps=0)
    monkeypatch.setattr(reference, "STREETS_TRAINING", short)
    row = reference.measure(detector, reference.load(train_images=6, test_images=4))
    assert (row.detector, row.images) == (detector, 6)
    assert row.proposal_seconds == 0 if "Faster" in detector else row.proposal_seconds > 0
    assert row.passes == {"R-CNN": "–", "SPPNet": "–", "Faster R-CNN, four steps": "4 x 1"}.get(detector, "1")


@pytest.mark.threads
@pytest.mark.parametrize("detector", ["Fast R-CNN", "Faster R-CNN"])
def test_what_the_table_says_comes_out_again(detector):
    stored = results.read(results.REFERENCE)[detector]
    assert reference.measure(detector, reference.load()).ap50 == pytest.approx(stored.ap50, abs=0.03)
