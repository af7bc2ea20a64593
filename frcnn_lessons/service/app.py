"""The service: an image in, its tags out.

    POST /tag      an image, as multipart/form-data in the field `file`
    GET  /         a page to try it
    GET  /health   is it up, and how many images wait
    GET  /model    what it knows
    GET  /docs     all of this for programmers

Boxes are in pixels of the picture as a person sees it: a photograph that its EXIF says to turn is turned first.

The event loop only takes in and gives out. Images are decoded one at a time in one thread and detected in others
(`batching`), so a request to /health is answered at once whatever else goes on.

On a machine with many cores, or on several machines: start one service a core or a GPU, each with its share of the
threads (OMP_NUM_THREADS), behind the proxy that one has for HTTPS and for who may use it; nothing is shared between
them. `uvicorn --workers` does the same on one machine.

Lesson 13.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, Literal

import torch
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frcnn_lessons.detectors import Detector
from frcnn_lessons.service.batching import Batcher, QueueFull
from frcnn_lessons.service.uploads import FIELD, Limits, claimed_bytes, decode, hear_out, receive_file
from frcnn_lessons.tagging import Tags, prepare

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}

# The page loads nothing from elsewhere and runs no script but its own file. The pages for programmers, which FastAPI
# makes, have a script inside.
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
POLICY_OF_DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "worker-src blob:; base-uri 'none'; frame-ancestors 'none'"
)


class Tag(BaseModel):
    """An object in the picture."""

    label: str
    score: float
    box: tuple[float, float, float, float]


class Answer(BaseModel):
    """All objects, the surest first, and the size that their boxes refer to."""

    tags: list[Tag]
    width: int
    height: int
    model: str


def create_app(detector: Detector, limits: Limits | None = None, host: str = "127.0.0.1") -> FastAPI:
    """Make the service around a detector.

    Args:
        detector: what it tags with.
        limits: what it is willing to carry.
        host: the address that it will listen on. On this machine's own, requests that name another host are refused, so
            that no web page can reach it under a name of its own.
    """
    limits = limits or Limits()
    batcher = Batcher(detector, limits.images, limits.waiting, limits.passes)
    decoding = ThreadPoolExecutor(1, thread_name_prefix="decoding")
    coming_in: list[int] = []  # the bytes of each request that comes in or is decoded

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        decoding.shutdown()
        batcher.close()

    app = FastAPIOffline(title="Tags for images", version="1", lifespan=lifespan, redoc_url=None)
    app.state.batcher = batcher
    app.add_middleware(WithHeaders)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"], www_redirect=False)

    @app.post(
        "/tag",
        response_model=None,
        responses={200: {"model": Answer}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": [FIELD],
                            "properties": {FIELD: {"type": "string", "format": "binary"}},
                        }
                    }
                },
            }
        },
    )
    async def tag(
        request: Request,
        threshold: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="least score")] = 0.5,
        limit: Annotated[int, Query(ge=1, le=100, description="most objects")] = 100,
        format: Annotated[
            Literal["boxes", "list", "dict"],
            Query(description="objects with boxes; the different labels by score; or each label's best score"),
        ] = "boxes",
    ) -> Any:
        """Tag an image: a JPEG or PNG file in the field `file`."""
        claimed = claimed_bytes(request, limits)
        if len(coming_in) >= limits.uploads or sum(coming_in) + claimed > limits.uploads_bytes:
            await hear_out(request, limits)
            raise QueueFull(1)
        coming_in.append(claimed)
        try:
            data = await receive_file(request, limits)
            loop = asyncio.get_running_loop()
            prepared, size = await loop.run_in_executor(decoding, _decode_and_prepare, data, detector, limits)
        finally:
            coming_in.remove(claimed)
        found = await _answer_unless_gone(request, batcher.submit(prepared, size))
        kept = min(limit, sum(score >= threshold for score in found.scores))  # the surest come first
        tags = Tags(found.labels[:kept], found.scores[:kept], found.boxes[:kept], found.width, found.height)
        if format == "list":
            return tags.as_list()
        if format == "dict":
            return tags.as_dict()
        rows = [
            {"label": label, "score": score, "box": box}
            for label, score, box in zip(tags.labels, tags.scores, tags.boxes, strict=True)
        ]
        return {"tags": rows, "width": tags.width, "height": tags.height, "model": name_of(detector)}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the service is up, and how many images wait."""
        return {"status": "ok", "waiting": batcher.waiting()}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """What the detector knows, and how well."""
        return {"model": name_of(detector), "classes": detector.classes, "short_side": detector.short_side} | {
            name: value for name, value in detector.about.items() if isinstance(value, (str, int, float))
        }

    for path, kind in PAGE.items():
        app.add_api_route(path, _sends(path.strip("/") or "page.html", kind), include_in_schema=False)

    @app.exception_handler(QueueFull)
    async def full(_request: Request, error: QueueFull) -> Response:
        return JSONResponse({"detail": str(error)}, 503, {"retry-after": str(error.seconds)})

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        await hear_out(request, limits)
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg'][0].lower()}{first['msg'][1:]}"}, 422)

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, error: Exception) -> Response:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error):
            full = {"detail": "not enough memory for this image now; send a smaller one, or try again"}
            return JSONResponse(full, 503, HEADERS | {"retry-after": "5"})  # (this handler lies around `WithHeaders`)
        return JSONResponse({"detail": "the service failed on this image; its log says why"}, 500, HEADERS)

    return app


def name_of(detector: Detector) -> str:
    """The model in a few words, for answers."""
    return " ".join(str(detector.about[part]) for part in ("detector", "backbone") if part in detector.about)


def _decode_and_prepare(data: bytes, detector: Detector, limits: Limits) -> tuple[torch.Tensor, tuple[int, int]]:
    pixels = decode(data, limits)
    return prepare(pixels, detector), (pixels.shape[0], pixels.shape[1])


async def _answer_unless_gone(request: Request, answer: Any) -> Tags:
    """Wait for the detector; give the place in the queue up when the client has left."""
    waiting = asyncio.wrap_future(answer)
    while not (await asyncio.wait([waiting], timeout=0.5))[0]:
        if await request.is_disconnected():
            answer.cancel()
            raise HTTPException(499, "the client has left")
    return waiting.result()


def _sends(name: str, kind: str) -> Any:
    content = (files("frcnn_lessons.service") / name).read_bytes()

    async def send() -> Response:
        return Response(content, media_type=kind)

    return send


class WithHeaders:
    """Adds the headers that keep a browser from doing more than it is meant to."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add to the head of its answer."""
        if scope.get("method") == "HEAD":  # the head of what GET would be answered; the server leaves the rest out
            scope = {**scope, "method": "GET"}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = POLICY_OF_DOCS if scope["path"].startswith("/docs") else POLICY
                added = HEADERS | {"content-security-policy": policy}
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in added.items())]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
