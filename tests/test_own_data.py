"""Somebody's own data are opened as what they are. Lesson 12."""

import shutil
from pathlib import Path

import pytest

from frcnn_lessons.datasets import DataError, VOCDataset
from frcnn_lessons.datasets.own_data import open_data
from helpers.tiny_photographs import write_voc

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "streets-sample"


def test_a_voc_folder_keeps_its_parts():
    data = open_data(SAMPLE)
    assert data.kind == "VOC"
    assert data.classes == ("bus", "car", "truck")
    assert list(data.splits) == ["train", "val", "test"]
    for name, images in data.splits.items():
        assert images.ids == VOCDataset(SAMPLE, name).ids
    assert data.defects == []


def test_an_open_images_table_gives_a_tenth_for_validation():
    data = open_data(SAMPLE / "df.csv", images=SAMPLE / "JPEGImages")
    assert data.kind == "Open Images"
    train, val = data.splits["train"], data.splits["val"]
    assert len(val) == (len(train) + len(val)) // 10
    assert not set(train.ids) & set(val.ids)
    for images in (train, val):
        assert [sample.image_id for sample in images] == list(images.ids)
    assert open_data(SAMPLE / "df.csv", images=SAMPLE / "JPEGImages").splits["val"].ids == val.ids


def test_a_voc_folder_without_lists_and_one_bad_image(tmp_path):
    folder = write_voc(tmp_path / "own")
    shutil.rmtree(folder / "ImageSets")
    (folder / "JPEGImages" / "003.jpg").write_bytes(b"")
    data = open_data(folder)
    assert {name: len(images) for name, images in data.splits.items()} == {"train": 6, "val": 1}
    (defect,) = data.defects
    assert "003.jpg" in defect
    alone = write_voc(tmp_path / "alone", train=1, val=0)
    shutil.rmtree(alone / "ImageSets")
    with pytest.raises(DataError, match="one image cannot be divided"):
        open_data(alone)
