"""What the report on a data set promises: all defects by kind, and a page that needs nothing else. Lesson 12."""

import base64
import html.parser
import io
import re

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from frcnn_lessons.course.cli import app
from frcnn_lessons.datasets import AnnotatedObject
from frcnn_lessons.datasets.report import check_data, odd_boxes
from test_datasets_coco import entry, photograph
from test_datasets_own_data import BUS, CAR, SIZE, bad_folder, fill

from helpers.coco_files import write_coco  # isort: skip


def check(*arguments):
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


def test_counts_and_sizes_are_those_of_the_data(tmp_path):
    fill(tmp_path, tmp_path, {f"{k}": [BUS, CAR] for k in range(9)} | {"z": []})
    done = check(tmp_path)
    assert done.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.output.splitlines() if line.strip()}
    assert np.add(*(np.array(rows[split], dtype=int) for split in ("train", "val"))).tolist() == [10, 1, 18, 9]
    assert sum(map(int, rows["bus"])) == sum(map(int, rows["car"])) == 9
    assert "images: 40 to 40 (half below 40) wide, 30 to 30 (half below 30) high" in done.output
    assert "boxes: 4 to 29" in done.output
    assert f"{tmp_path}: VOC" in done.output
    assert "defects: 0" in done.output


def test_the_objects_of_a_single_image_count_once(tmp_path):
    fill(tmp_path, tmp_path, {"a": [BUS, CAR]})
    assert "by COCO's measure: 2 small (below 32 x 32), 0 medium, 0 large" in check(tmp_path).output


def test_every_defect_is_listed_under_its_kind(tmp_path):
    bad_folder(tmp_path)
    done = check(tmp_path)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    for kind, object_of in (
        ("reaches beyond the image", "a.xml: object 1 (bus)"),
        ("no area", "a.xml: object 2 (car)"),
        ("image cannot be read", "b.jpg"),
    ):
        assert object_of in lines[lines.index(f"{kind}: 1") + 1]


def test_data_without_one_good_image_is_reported_too(tmp_path):
    bad_folder(tmp_path)
    for ending in (".jpg", ".xml"):
        (tmp_path / f"c{ending}").unlink()
    done = check(tmp_path)
    assert done.exit_code == 1
    for words in ("no image can be used", "reaches beyond the image: 1", "no area: 1", "image cannot be read: 1"):
        assert words in done.output
    nowhere = check(tmp_path / "nowhere")
    assert (nowhere.exit_code, "there is no such file or folder" in nowhere.output) == (1, True)


class Page(html.parser.HTMLParser):
    """The tags and pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.pictures = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            assert dict(attributes)["alt"]
            self.pictures.append(dict(attributes)["src"])


def test_the_page_holds_its_pictures_and_escapes_names(tmp_path):
    name = "<script>alert(1)</script>&\"'"
    for image in ("a", "b"):
        photograph(tmp_path / f"{image}.jpg")
    boxes = [entry(k, 1, 1, box) for k, box in enumerate([[1, 2, 90, 4], [3, 3, -2, 9], [-1e8, 3, 5, 9]])]
    boxes += [entry(9, 2, 1, [5, 5, 3, 20]), entry(10, 2, 1, [1, 1, 30, 4])]
    images = [{"id": k, "file_name": f"{image}.jpg"} for k, image in ((1, "a"), (2, "b"))]
    write_coco(tmp_path / "x.json", {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": name}]})
    done = check(tmp_path, "--html", tmp_path / "page.html")
    assert done.exit_code == 1
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "&lt;script&gt;" in text
    assert len(page.pictures) == 3 + 2
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    for source in page.pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2])))
        assert picture.size == (40 + 48, 30 + 48)


def test_boxes_without_area_are_shown_too(tmp_path):
    bad_folder(tmp_path)
    check(tmp_path, "--html", tmp_path / "page.html")
    wrong = (tmp_path / "page.html").read_text().partition("The oddest")[0]
    assert len(Page(wrong).pictures) == 2  # of the two bad boxes in a.xml; what is cut short has no picture


def test_the_box_is_drawn_where_it_is(tmp_path):
    (tmp_path / "a.jpg").parent.mkdir(exist_ok=True)
    Image.new("RGB", (640, 480), "black").save(tmp_path / "a.jpg")
    boxes = [entry(1, 1, 1, [160, 120, 320, 240])]
    data = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": boxes, "categories": [{"id": 1, "name": "x"}]}
    write_coco(tmp_path / "x.json", data)
    page = Page(check_data(tmp_path).as_html())
    picture = Image.open(io.BytesIO(base64.b64decode(page.pictures[0].partition("base64,")[2])))
    red = np.array(picture)[..., 0][24:-24, 24:-24]  # without the frame: 320 x 240
    rows, columns = np.nonzero(red > 128)
    assert np.abs(np.array([columns.min(), rows.min(), columns.max(), rows.max()]) - (80, 60, 240, 180)).max() <= 2


def test_the_oddest_boxes_are_the_extremes(tmp_path):
    sizes = {"small": (2, 2), "narrow": (3, 28), "flat": (38, 3), "large": (39, 29)}
    named = {k: [AnnotatedObject(k, (0.5, 0.5, 0.5 + w, 0.5 + h))] for k, (w, h) in sizes.items()}
    fill(tmp_path, tmp_path, named | {f"z{k}": [AnnotatedObject("z", (5.0, 5.0, 20.0, 20.0))] for k in range(5)})
    odd = odd_boxes(check_data(tmp_path).data, each=1)
    assert [(one.why, one.name) for one in odd] == [(why, why) for why in sizes]
    assert all(one.path == tmp_path / f"{one.name}.jpg" for one in odd)
    assert odd_boxes(None) == []
    assert SIZE == (30, 40)
