"""The service under load: batches beside one image at a time, and beside the plainest way people serve a detector.

Three services with the same weights, each in a process of its own, are asked by 8 and by 64 clients who
each send the next picture when they have their answer:

- ours, up to 4 images of equal padded size in a pass, two passes at a time;
- ours, one image in a pass, one pass at a time;
- plain: FastAPI and torchvision's Faster R-CNN, `def tag(file)`, one request at a time (a lock), nothing else.

Then 2,000 requests to ours, and its memory before and after.

    python tests/benchmarks/service.py
"""

import argparse
import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch

sys.path.append(str(Path(__file__).parents[1]))

from frcnn_lessons.datasets import streets
from frcnn_lessons.service.server import listen, serve
from frcnn_lessons.service.streets_model import streets_detector
from frcnn_lessons.service.uploads import Limits
from frcnn_lessons.torchvision_twin import torchvision_twin
from helpers.serving import encoded

CLIENTS = (8, 64)
ROUNDS = 4


def ours(connection, images: int, passes: int) -> None:
    """Serve from a process of its own; the address goes back through the connection."""
    at = listen("127.0.0.1", 0)
    detector = streets_detector()
    connection.send(f"http://127.0.0.1:{at.getsockname()[1]}")
    serve(detector, at, Limits(images=images, passes=passes))


def plain(connection, *_limits: int) -> None:
    """What a tutorial does."""
    import io

    import uvicorn
    from fastapi import FastAPI, UploadFile
    from PIL import Image
    from torchvision.models.detection.transform import GeneralizedRCNNTransform
    from torchvision.transforms.functional import to_tensor

    app, one_at_a_time = FastAPI(), threading.Lock()
    detector = streets_detector()
    model = torchvision_twin(detector.model, detect_only=True)
    # As torchvision's own users have it: it resizes by itself, and pads to 32.
    mean, std = model.transform.image_mean, model.transform.image_std
    model.transform = GeneralizedRCNNTransform(detector.short_side, detector.long_side, mean, std)

    @app.post("/tag")
    def tag(file: UploadFile) -> dict:
        with one_at_a_time, torch.no_grad():
            found = model([to_tensor(Image.open(io.BytesIO(file.file.read())).convert("RGB"))])[0]
        return {name: value.tolist() for name, value in found.items()}

    @app.get("/health")
    async def health() -> str:
        return "ok"

    at = listen("127.0.0.1", 0)
    connection.send(f"http://127.0.0.1:{at.getsockname()[1]}")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[at])


def ask(address: str, pictures: list[bytes], clients: int, requests: int) -> tuple[list[float], float, list[float]]:
    """Seconds of each request, requests a second, and seconds of each /health meanwhile."""
    waits: list[float] = []
    healths: list[float] = []
    done = threading.Event()

    def one(client: httpx.Client, number: int) -> None:
        started = time.perf_counter()
        answer = client.post(f"{address}/tag", files={"file": pictures[number % len(pictures)]})
        answer.raise_for_status()
        waits.append(time.perf_counter() - started)

    def look() -> None:
        with httpx.Client(timeout=60) as client:
            while not done.wait(0.1):
                started = time.perf_counter()
                client.get(f"{address}/health")
                healths.append(time.perf_counter() - started)

    looking = threading.Thread(target=look)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    with httpx.Client(timeout=60, limits=limits) as client, ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: one(client, number), range(8)))  # warm
        waits.clear()
        looking.start()
        started = time.perf_counter()
        list(pool.map(lambda number: one(client, number), range(requests)))
        seconds = time.perf_counter() - started
        done.set()
    looking.join()
    return waits, requests / seconds, healths


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=400, help="of each service and number of clients")
    parser.add_argument("--of-memory", type=int, default=2000, help="requests while memory is watched")
    parser.add_argument("--threads", type=int, default=2, help="of each service")
    options = parser.parse_args()
    folder = streets_detector().about  # trained before anything is timed
    pictures = [encoded(streets.render("test", number).image, "JPEG", quality=90) for number in range(40)]
    print(f"{options.threads} threads; {folder['trained_on']}; {len(pictures)} pictures")
    print(f"{'service':20}{'clients':>8}{'a second':>10}{'p50':>8}{'p95':>8}{'p99':>8}{'health p99':>12}   (ms)")
    start = multiprocessing.get_context("spawn")
    services: list[tuple[str, str]] = []
    processes = []
    for name, target, *limits in (("batches", ours, 4, 2), ("one at a time", ours, 1, 1), ("plain torchvision", plain)):
        here, there = start.Pipe()
        arguments = (options.threads, target, there, *limits)
        processes.append(start.Process(target=with_threads, args=arguments, daemon=True))
        processes[-1].start()
        services.append((name, here.recv()))
    a_second: dict[tuple[str, int], float] = {}
    slowest_health = 0.0
    for clients in CLIENTS:
        # In turns, so that a slow moment of the machine meets all of them.
        rounds = [
            (name, ask(address, pictures, clients, options.requests // ROUNDS))
            for _ in range(ROUNDS)
            for name, address in services
        ]
        for name, _ in services:
            of_it = [measured for other, measured in rounds if other == name]
            waits = [wait for measured in of_it for wait in measured[0]]
            a_second[name, clients] = 1 / float(np.mean([1 / measured[1] for measured in of_it]))
            health = 1000 * float(np.percentile([wait for measured in of_it for wait in measured[2]], 99))
            shares = "".join(f"{1000 * float(np.percentile(waits, share)):8.0f}" for share in (50, 95, 99))
            print(f"{name:20}{clients:8}{a_second[name, clients]:10.1f}{shares}{health:12.0f}", flush=True)
            if name == "batches":
                slowest_health = max(slowest_health, health)
    memory = psutil.Process(processes[0].pid)
    before = memory.memory_info().rss
    ask(services[0][1], pictures, 8, options.of_memory)
    growth = (memory.memory_info().rss - before) / 2**20
    print(f"memory of batches: {before / 2**20:.0f} MB, after {options.of_memory} more requests {growth:+.0f} MB")
    for process in processes:
        process.terminate()
        process.join()
    gains: dict[str, list[float]] = {}
    for name in ("one at a time", "plain torchvision"):
        gains[name] = [a_second["batches", n] / a_second[name, n] for n in CLIENTS]
        print(f"batches over {name}: " + ", ".join(f"{gain:.2f}" for gain in gains[name]))
    kept = {
        "1.3 times one at a time": min(gains["one at a time"]) >= 1.3,
        "/health within 100 ms": slowest_health < 100,
        "memory flat to 50 MB": growth < 50,
    }
    print(*(f"{promise}: {held}" for promise, held in kept.items()), sep="\n")
    return 0 if all(kept.values()) else 1


def with_threads(threads: int, target, connection, *limits: int) -> None:
    torch.set_num_threads(threads)
    target(connection, *limits)


if __name__ == "__main__":
    sys.exit(main())
