"""Take an image out of an upload, whatever comes instead of one.

An upload is refused as early as it can be: by its length before a byte is read, by its size while it is read, by the
pixels that its header claims before they are decoded. Nothing of it is kept: large ones lie in a temporary file without
a name until the answer is given, and the name that the sender gave is not looked at.

Lesson 13.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from jaxtyping import UInt8
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from frcnn_lessons.datasets import DataError
from frcnn_lessons.datasets.images import read_pixels

FIELD = "file"
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # how JPEG and PNG files begin


@dataclass(frozen=True)
class Limits:
    """What the service is willing to carry.

    Attributes:
        upload_bytes: of a whole request.
        pixels: of an image, height times width; one of 25 million takes 300 MB while it is made smaller.
        seconds: for a request to come in.
        uploads, uploads_bytes: requests that come in or are decoded at the same time, and their bytes in all.
        images: in one pass of the detector.
        passes: of the detector at the same time.
        waiting: images that wait for it.
    """

    upload_bytes: int = 20_000_000
    pixels: int = 25_000_000
    seconds: float = 30.0
    uploads: int = 64
    uploads_bytes: int = 200_000_000
    images: int = 4
    passes: int = 2
    waiting: int = 64


def claimed_bytes(request: Request, limits: Limits) -> int:
    """How much memory a request may take while it comes in: what it says, or the most when it does not say."""
    length = request.headers.get("content-length", "")
    return min(int(length), limits.upload_bytes) if length.isdecimal() else limits.upload_bytes


async def receive_file(request: Request, limits: Limits) -> bytes:
    """Read the one file of a multipart request.

    Raises:
        HTTPException: 400, 408, 413 or 415, with a sentence.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        await hear_out(request, limits)
        raise HTTPException(415, f"send the image as multipart/form-data, in a field named {FIELD!r}")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.upload_bytes:
        await hear_out(request, limits)
        raise too_large(limits)
    # (Without the app, `form` raises what went wrong instead of an answer with words of its own.)
    scope = {name: value for name, value in request.scope.items() if name != "app"}
    body = _Body(request, limits)
    bounded = Request(scope, body.receive)
    try:
        async with asyncio.timeout(limits.seconds), bounded.form(max_files=2, max_fields=8) as form:
            fields = form.multi_items()
            files = [value for name, value in fields if name == FIELD and isinstance(value, UploadFile)]
            uploads = sum(isinstance(value, UploadFile) for _, value in fields)
            if len(files) != 1 or uploads != 1:
                raise HTTPException(400, _about(files, uploads))
            return await files[0].read()
    except TimeoutError:
        raise HTTPException(
            408, f"the upload did not come in within {limits.seconds:g} s; send it faster", {"connection": "close"}
        ) from None
    except ClientDisconnect:
        raise HTTPException(499, "the client has left") from None
    except MultiPartException as error:
        if body.more:
            await hear_out(request, limits)
        too_many = "Too many files" in error.message
        raise HTTPException(
            400, _about([], 2) if too_many else "the request is no well-formed multipart/form-data; send it whole"
        ) from None
    except _TooLarge:
        await hear_out(request, limits)
        raise too_large(limits) from None


def _about(files: list[Any], uploads: int) -> str:
    if len(files) > 1 or uploads > 1:
        return f"send one image a request, in the field {FIELD!r}"
    return f"the request holds no file in a field named {FIELD!r}; send one"


def too_large(limits: Limits) -> HTTPException:
    """What is said of an upload over the limit; the connection is closed, or the rest of it would have to be read."""
    detail = f"the upload is larger than {limits.upload_bytes / 1e6:g} MB; send a smaller image"
    return HTTPException(413, detail, {"connection": "close"})


class _TooLarge(Exception):
    """More bytes came than are allowed."""


class _Body:
    """What comes of a request; it stops at the limit, whatever length the request had claimed."""

    def __init__(self, request: Request, limits: Limits) -> None:
        self.request, self.limits = request, limits
        self.received, self.more = 0, True

    async def receive(self) -> Any:
        """The next part, as `Request` asks for it."""
        message = await self.request.receive()
        self.received += len(message.get("body", b""))
        self.more = message.get("more_body", False)
        if self.received > self.limits.upload_bytes:
            raise _TooLarge
        return message


async def hear_out(request: Request, limits: Limits) -> None:
    """Throw away what else is sent, for 2 seconds and five times as much as is allowed, at most.

    A client that is still sending when the connection closes sees it break, and not the answer. One that asks first
    (curl does) is answered before it sends.
    """
    if "expect" in request.headers:
        return
    thrown_away = 0
    try:
        async with asyncio.timeout(2):
            while thrown_away < 5 * limits.upload_bytes:
                message = await request.receive()
                thrown_away += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def decode(data: bytes, limits: Limits) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an uploaded image as a person sees it, EXIF applied.

    Raises:
        HTTPException: 400, 413, 415 or 422, with a sentence.
    """
    if not data:
        raise HTTPException(400, "the file is empty; send an image")
    if not data.startswith(SIGNATURES):
        raise HTTPException(415, "the file is not a JPEG or PNG image; save it as one of the two")
    try:
        return read_pixels(data, limits.pixels, exif="apply")
    except DataError as error:
        if isinstance(error.__cause__, MemoryError):  # that is no fault of the image
            raise error.__cause__ from None
        status = 413 if "pixels" in str(error) else 422
        raise HTTPException(status, str(error)) from None
