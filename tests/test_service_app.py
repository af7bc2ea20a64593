"""The service answers what it promises, over real HTTP, and refuses everything else in a sentence. Lesson 13."""

import concurrent.futures
import json
import socket
import statistics
import time

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from frcnn_lessons.detectors import Detector
from frcnn_lessons.service.uploads import Limits
from frcnn_lessons.tagging import tag_image
from helpers.serving import Colours, colour_detector, encoded, picture, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    with running(colour_detector(), Limits(upload_bytes=2_000_000, seconds=2.0)) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=20) as client:
        yield client


def post(client, data, name="file", **query):
    return client.post("/tag", files={name: ("x.png", data)}, params=query)


def test_objects_come_with_label_score_and_box_in_pixels_of_the_picture(client):
    answer = post(client, encoded(picture())).json()
    assert (answer["width"], answer["height"], answer["model"]) == (300, 200, "colours")
    assert [tag["label"] for tag in answer["tags"]] == ["red", "blue"]
    assert [tag["score"] for tag in answer["tags"]] == pytest.approx([0.9, 0.6])
    assert answer["tags"][0]["box"] == pytest.approx([30, 40, 120, 100], abs=2)


def test_labels_alone_and_best_scores(client):
    data = encoded(picture())
    assert post(client, data, format="list").json() == ["red", "blue"]
    assert post(client, data, format="dict").json() == pytest.approx({"red": 0.9, "blue": 0.6})


def test_threshold_and_limit(client):
    data = encoded(picture())
    assert post(client, data, format="list", threshold=0.7).json() == ["red"]
    assert post(client, data, format="list", limit=1).json() == ["red"]
    assert post(client, data, format="list", threshold=1).json() == []


def test_nothing_found_is_an_answer(client):
    answer = post(client, encoded(picture(red=None, blue=None)))
    assert answer.status_code == 200
    assert answer.json()["tags"] == []


def test_a_photograph_that_is_to_be_turned_is_turned_first(client):
    turned = Image.fromarray(picture()).transpose(Image.Transpose.ROTATE_90)  # stored on its side, 200 x 300
    exif = Image.Exif()
    exif[274] = 6  # "turn clockwise by 90 degrees to see it"
    answer = post(client, encoded(turned, "JPEG", exif=exif, quality=95)).json()
    assert (answer["width"], answer["height"]) == (300, 200)
    assert answer["tags"][0]["box"] == pytest.approx([30, 40, 120, 100], abs=3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_other_kinds_of_pixels_are_taken_as_the_readers_take_them(client, mode):
    image = Image.fromarray(picture()).convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    expected = tag_image(data, colour_detector())
    answer = post(client, data, format="dict")
    assert answer.status_code == 200
    assert answer.json() == pytest.approx(expected.as_dict())


def test_the_first_frame_of_an_animation_is_tagged(client):
    first, second = Image.fromarray(picture(blue=None)), Image.fromarray(picture(red=None))
    data = encoded(first, "PNG", save_all=True, append_images=[second])
    assert post(client, data, format="list").json() == ["red"]


# --- refused ------------------------------------------------------------------------------------------------------


def bomb(side: int) -> bytes:
    return encoded(Image.new("1", (side, side)))  # a few kB that claim millions of pixels


WRONG = {
    "empty": (b"", 400, "empty"),
    "text": (b"hello", 415, "JPEG or PNG"),
    "html": (b"<html><script>alert(1)</script></html>", 415, "JPEG or PNG"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "JPEG or PNG"),
    "zip": (b"PK\x03\x04" + bytes(100), 415, "JPEG or PNG"),
    "gif": (encoded(picture(), "GIF"), 415, "JPEG or PNG"),
    "truncated png": (encoded(picture())[:-300], 422, "cannot be read"),
    "truncated jpeg": (encoded(picture(), "JPEG")[:-500], 422, "cannot be read"),
    "only a signature": (b"\xff\xd8\xff", 422, "JPEG or PNG"),
    "16 bits": (encoded(Image.fromarray(np.zeros((9, 9), np.uint16))), 422, "16 bits"),
    "bomb": (bomb(20_000), 413, "more pixels"),
    "large": (bomb(6_000), 413, "6000 x 6000 is 36,000,000 pixels"),
    "too large": (bytes(2_000_001), 413, "larger than 2 MB"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image_is_refused_in_a_sentence(client, name):
    data, status, words = WRONG[name]
    answer = post(client, data)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": "nan"}, "threshold"),
        ({"threshold": "high"}, "threshold"),
        ({"limit": 0}, "limit"),
        ({"format": "xml"}, "format"),
    ],
)
def test_a_wrong_question_is_refused_in_a_sentence(client, query, word):
    answer = post(client, encoded(picture()), **query)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{word}: ")


def test_one_file_in_the_right_field(client):
    data = encoded(picture())
    assert post(client, data, name="image").status_code == 400
    assert "named 'file'" in post(client, data, name="image").json()["detail"]
    for count in (2, 3, 20):
        several = client.post("/tag", files=[("file", ("a", data))] * count)
        assert (several.status_code, "one image" in several.text) == (400, True)
    assert client.post("/tag", files=[("file", ("a", data)), ("other", ("b", data))]).status_code == 400
    assert client.post("/tag", data={"file": "text, no file"}).status_code == 415  # not multipart
    assert client.post("/tag").status_code == 415
    shouted = client.build_request("POST", "/tag", files={"file": ("a", data)})
    shouted.headers["content-type"] = shouted.headers["content-type"].replace("multipart", "MULTIPART")
    assert client.send(shouted).status_code == 200
    assert client.post("/tag", content=data, headers={"content-type": "image/png"}).status_code == 415
    broken = client.post("/tag", content=b"--x\r\n", headers={"content-type": "multipart/form-data; boundary=y"})
    assert broken.status_code == 400
    none = client.post("/tag", content=b"abc", headers={"content-type": "multipart/form-data"})
    assert none.status_code == 400


@pytest.mark.parametrize("name", ["../../etc/passwd", "<img src=x onerror=alert(1)>.png", "a\x00b", "ü" * 300, ""])
def test_the_name_of_an_upload_is_not_looked_at(client, name):
    answer = client.post("/tag", files={"file": (name, encoded(picture()))})
    assert answer.status_code in (200, 400)  # httpx sends no filename at all for "": then it is no file
    assert "onerror" not in answer.text


@pytest.mark.parametrize("size", [3_000_000, 9_000_000])
def test_who_sends_too_much_hears_why_each_time(address, size):
    # Closed with bytes unread, a connection is torn down at once, and sometimes the answer with it.
    for _ in range(10):
        answer = httpx.post(f"{address}/tag", files={"file": bytes(size)}, timeout=20)
        assert (answer.status_code, "larger than 2 MB" in answer.json()["detail"]) == (413, True)


def test_an_upload_without_a_length_is_cut_off_at_the_limit(address):
    sent = 0

    def endless():
        nonlocal sent
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while sent < 200_000_000:
            sent += 100_000
            yield bytes(100_000)

    try:
        answer = httpx.post(
            f"{address}/tag", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}, timeout=20
        )
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # the connection was closed in the middle
    assert sent < 30_000_000


@pytest.mark.parametrize(
    ("question", "kind", "status"),
    [
        ("", "image/jpeg", 415),
        ("?limit=0", "multipart/form-data; boundary=x", 422),
        ("", "multipart/form-data; boundary=x", 400),
    ],
)
def test_a_refusal_is_heard_by_one_that_is_still_sending(address, question, kind, status):
    host, port = address.removeprefix("http://").split(":")
    fields = 34_000 * b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n'  # 2 MB
    head = f"POST /tag{question} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {kind}\r\nconnection: close\r\n"
    with socket.create_connection((host, int(port))) as sending:
        sending.sendall(f"{head}content-length: {len(fields)}\r\n\r\n".encode() + fields[:1000])
        time.sleep(0.5)  # by then the answer is known
        sending.sendall(fields[1000:])
        sending.settimeout(15)
        assert f" {status} ".encode() in sending.recv(1000)


def test_a_slow_client_is_not_waited_for(address):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            b"POST /tag HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n"
            b"content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        slow.settimeout(15)
        assert b" 408 " in slow.recv(1000)


def test_who_connects_and_does_not_ask_is_not_waited_for(address):
    host, port = address.removeprefix("http://").split(":")
    asked = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    for sent, heard in ((b"", b""), (asked[:30], b""), (asked + asked[:30], b"HTTP/1.1 200")):
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(sent)
            slow.settimeout(20)
            answer = b"".join(iter(lambda: slow.recv(1000), b""))  # until it is hung up on
        assert answer.startswith(heard)
        assert answer.count(b"HTTP/1.1") == bool(heard)


def test_a_client_that_leaves_in_the_middle_harms_nobody(client, address):
    host, port = address.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(
                b"POST /tag HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n"
                b"content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
    assert post(client, encoded(picture()), format="list").json() == ["red", "blue"]


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.benchmark)])
def test_damaged_uploads_get_an_answer_each(client, count):
    rng = np.random.default_rng(count)
    whole = [encoded(picture(60, 40, (5, 5, 20, 20), None), kind) for kind in ("PNG", "JPEG")]
    for number in range(count):
        data = bytearray(whole[number % 2])
        for place in rng.integers(0, len(data), rng.integers(1, 30)):
            data[place] = rng.integers(256)
        answer = post(client, bytes(data[: rng.integers(1, len(data) + 1)]))
        assert answer.status_code in (200, 413, 415, 422), answer.text
        assert answer.status_code == 200 or answer.json()["detail"]
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}


class Fails(Colours):
    def forward(self, images):
        self.passes.append(len(images))
        raise RuntimeError("a bug") if len(self.passes) == 1 else MemoryError()


def test_a_failure_is_answered_without_a_traceback_and_want_of_memory_with_a_later():
    with running(Detector(Fails().eval(), ("red",), 120, 200, {})) as address:
        answers = [httpx.post(f"{address}/tag", files={"file": encoded(picture())}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 503]
    assert "a bug" not in answers[0].text
    assert "retry-after" in answers[1].headers


# --- many at once -------------------------------------------------------------------------------------------------


def test_an_answer_does_not_depend_on_who_else_waits():
    generator = torch.Generator().manual_seed(0)
    pictures = [
        encoded(picture(300, 200, (x, 40, x + 60, 100), None))
        for x in torch.randint(0, 200, (12,), generator=generator)
    ]
    detector = colour_detector(seconds=0.05)
    with running(detector) as address, concurrent.futures.ThreadPoolExecutor(12) as pool:
        alone = [httpx.post(f"{address}/tag", files={"file": data}).json() for data in pictures]
        detector.model.passes.clear()
        together = list(pool.map(lambda data: httpx.post(f"{address}/tag", files={"file": data}).json(), pictures))
    assert together == alone
    assert max(detector.model.passes) > 1, "nothing was batched"


def test_too_many_are_told_when_to_come_again_and_health_answers_meanwhile():
    data, waits = encoded(picture()), []
    limits = Limits(waiting=3, images=1)
    with running(colour_detector(seconds=0.2), limits) as address, concurrent.futures.ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(httpx.post, f"{address}/tag", files={"file": data}, timeout=30) for _ in range(40)]
        while not all(one.done() for one in asked):
            started = time.perf_counter()
            assert httpx.get(f"{address}/health", timeout=30).status_code == 200
            waits.append(time.perf_counter() - started)
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 503)
    assert statistics.median(waits) < 0.2, "it answers health only between two images"


def test_hundreds_of_uploads_at_once_all_get_an_answer_and_their_bytes_are_bounded():
    data = encoded(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))  # 360 kB
    limits = Limits(uploads_bytes=2_000_000, images=4, waiting=4)
    with running(colour_detector(seconds=0.02), limits) as address, concurrent.futures.ThreadPoolExecutor(200) as pool:
        ask = lambda _: httpx.post(f"{address}/tag", files={"file": data}, timeout=60).status_code  # noqa: E731
        statuses = list(pool.map(ask, range(200)))
        assert httpx.get(f"{address}/health").json() == {"status": "ok", "waiting": 0}
    assert set(statuses) == {200, 503}


# --- what is around it --------------------------------------------------------------------------------------------


def test_health_model_and_the_description_for_programmers(client):
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}
    model = client.get("/model").json()
    assert (model["classes"], model["model"], model["short_side"]) == (["red", "blue"], "colours", 120)
    described = client.get("/openapi.json").json()
    assert "multipart/form-data" in json.dumps(described["paths"]["/tag"])
    docs = client.get("/docs")
    assert docs.status_code == 200
    assert "https://" not in docs.text, "the page for programmers fetches something from elsewhere"


def test_headers_keep_the_browser_in(client):
    for path in ("/", "/page.js", "/health", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
    assert "https://" not in client.get("/").text + client.get("/page.js").text.replace("http://www.w3.org", "")


def test_another_name_than_this_machines_is_refused(client):
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_what_is_not_there_and_not_allowed(client):
    assert client.get("/tag").status_code == 405
    for path in ("/", "/health"):
        assert (client.head(path).status_code, client.head(path).content) == (200, b"")
    assert client.get("/../secret").status_code == 404
