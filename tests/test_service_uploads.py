"""What an upload may hold, looked at without a server. Lesson 13."""

import asyncio

import pytest
from fastapi import HTTPException, Request
from PIL import ImageFile

from frcnn_lessons.service.uploads import Limits, decode, receive_file
from helpers.serving import encoded, picture


def test_the_pixels_are_those_that_were_sent():
    assert (decode(encoded(picture()), Limits()) == picture()).all()


def test_an_image_is_refused_by_the_size_that_its_header_claims():
    data = encoded(picture(300, 200))
    assert decode(data, Limits(pixels=60_000)).shape == (200, 300, 3)
    with pytest.raises(HTTPException) as refusal:
        decode(data[:100], Limits(pixels=59_999))  # before it is found out that the rest is missing
    assert refusal.value.status_code == 413
    assert "300 x 200" in refusal.value.detail


def test_a_client_that_leaves_is_no_failure_of_the_service():
    kind = (b"content-type", b"multipart/form-data; boundary=x")
    messages = iter([{"type": "http.request", "body": b"--x\r\n", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    request = Request({"type": "http", "method": "POST", "headers": [kind]}, receive)
    with pytest.raises(HTTPException) as left:
        asyncio.run(receive_file(request, Limits()))
    assert left.value.status_code == 499


def test_want_of_memory_is_not_put_down_to_the_image(monkeypatch):
    def load(_image):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(MemoryError):
        decode(encoded(picture()), Limits())
