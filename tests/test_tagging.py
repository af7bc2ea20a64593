"""From an image to its tags: boxes lie where a person sees the thing, whatever was handed in. Lesson 13."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from frcnn_lessons.datasets import DataError
from frcnn_lessons.detectors import Detector
from frcnn_lessons.tagging import Tags, prepare, tag_image, tag_prepared


class FindsRed(nn.Module):
    """The box around all that is red, as class 2, twice: sure and less sure; and all of the image as class 1."""

    def __init__(self):
        super().__init__()
        self.calls, self.anything = [], nn.Parameter(torch.zeros(1))

    def forward(self, images):
        self.calls.append([tuple(image.shape) for image in images])
        return [self.detect(image) for image in images]

    def detect(self, image):
        y, x = torch.nonzero((image[0] > 0.5) & (image[1] < 0.5), as_tuple=True)
        red = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        boxes = torch.tensor([red, [0, 0, image.shape[2], image.shape[1]], red], dtype=torch.float32)
        return {"boxes": boxes, "labels": torch.tensor([2, 1, 2]), "scores": torch.tensor([0.9, 0.6, 0.4])}


@pytest.fixture
def detector():
    return Detector(FindsRed(), ("scene", "red thing"), 40, 60, {})


def picture(height=80, width=100, box=(10, 20, 50, 60)):
    pixels = np.full((height, width, 3), 200, np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = (220, 20, 20)
    return pixels


def content(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_a_path_a_content_and_an_array_give_the_same(tmp_path, detector):
    pixels = picture()
    (tmp_path / "a.png").write_bytes(content(pixels))
    tags = tag_image(pixels, detector)
    assert tags == tag_image(content(pixels), detector) == tag_image(tmp_path / "a.png", detector)
    assert tags == tag_image(str(tmp_path / "a.png"), detector)
    assert tags.labels == ["red thing", "scene"]
    assert tags.boxes == [[10, 20, 50, 60], [0, 0, 100, 80]]  # seen at half the size
    assert (tags.width, tags.height) == (100, 80)
    assert detector.model.calls[0] == [(3, 40, 50)]


def test_the_dictionary_and_the_list_hold_each_label_once_the_surest_first(detector):
    tags = tag_image(picture(), detector, threshold=0.3)
    assert tags.labels == ["red thing", "scene", "red thing"]
    assert tags.as_list() == ["red thing", "scene"]
    assert list(tags.as_dict().items()) == [("red thing", pytest.approx(0.9)), ("scene", pytest.approx(0.6))]
    nothing = Tags([], [], [], 5, 5)
    assert nothing.as_list() == []
    assert nothing.as_dict() == {}


def test_threshold_and_limit(detector):
    assert tag_image(picture(), detector, threshold=0.7).labels == ["red thing"]
    assert tag_image(picture(), detector, threshold=0.95).labels == []
    assert tag_image(picture(), detector, threshold=0.0, limit=1).labels == ["red thing"]
    for wrong in ({"threshold": 1.5}, {"limit": 0}):
        with pytest.raises(ValueError, match="threshold must be within"):
            tag_image(picture(), detector, **wrong)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_lie_in_the_picture_as_a_person_sees_it(detector, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = picture(80, 100, (10, 20, 50, 60))
    back = {  # how a camera that was held so has stored the picture; Exif 2.32, section 4.6.4
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    stored = np.ascontiguousarray(back[orientation](upright))
    tags = tag_image(content(stored, "JPEG", quality=100, subsampling=0, exif=exif), detector)
    assert (tags.width, tags.height) == (100, 80)
    assert tags.boxes[0] == pytest.approx([10, 20, 50, 60], abs=2.01)


def test_a_photograph_of_4000_pixels(detector):
    tags = tag_image(picture(3000, 4000, (1000, 600, 3000, 2400)), detector)
    assert tags.boxes[0] == pytest.approx([1000, 600, 3000, 2400], abs=76)  # a pixel of what the detector sees is 75
    assert detector.model.calls == [[(3, 40, 53)]]


def test_a_grey_and_a_tiny_picture(detector):
    seen = prepare(np.array(Image.fromarray(picture()).convert("L").convert("RGB")), detector)
    assert seen.shape == (3, 40, 50)
    assert seen.dtype == torch.float32
    assert prepare(np.zeros((1, 300, 3), np.uint8), detector).shape == (3, 1, 60)


def test_several_images_go_through_the_detector_once(detector):
    pictures = [picture(), picture(80, 120, (30, 30, 90, 70))]
    prepared = [(prepare(p, detector), p.shape[:2]) for p in pictures]
    tags = tag_prepared(prepared, detector)
    assert detector.model.calls == [[(3, 40, 50), (3, 40, 60)]]
    assert tags == [tag_image(p, detector) for p in pictures]
    assert tag_prepared([], detector) == []


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
@pytest.mark.usefixtures("unchecked")
def test_pixels_of_another_kind_are_refused(detector, wrong):
    with pytest.raises(ValueError, match="an image must be RGB pixels, uint8, H x W x 3; got"):
        tag_image(wrong, detector)


def test_a_content_that_is_no_image_is_refused_in_one_sentence(detector):
    for data, words in (
        (b"", "not a readable"),
        (b"GIF89a", "not a readable"),
        (content(picture())[:200], "cannot be"),
    ):
        with pytest.raises(DataError, match=f"the image.*{words}"):
            tag_image(data, detector)
