"""Requests that wait at the same time go through the detector together.

One pass over four images takes less time than four passes over one. So a thread that is free takes the request that
has waited longest and with it others whose images become equally large when they are padded. Only these: padding beyond
what an image needs alone would change its features at the border, and so, by a trace, its answer.

    submit(image) -> Future ... [waiting, at most so many] ... `passes` threads: a pass for up to `largest` of them

On a processor two passes side by side, each with half of the cores, take less time than two passes one after the other
with all of them: within a pass the cores wait for each other after every layer.

Lesson 13.
"""

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch import Tensor

from frcnn_lessons.detectors import Detector
from frcnn_lessons.tagging import Tags, tag_prepared


class QueueFull(Exception):
    """So many requests wait that one more would only wait in vain.

    Attributes:
        seconds: after which a place is likely to be free; whole, 1 or more.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the service has more to do than it can keep waiting; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, eq=False)  # a job is equal to itself alone: the queue removes this very one
class Job:
    """An image that waits.

    Attributes:
        prepared: (3, h, w), see `tagging.prepare`.
        size: (height, width) of the picture itself.
        padded: (height, width) that the detector pads it to.
        answer: of type Tags, all that the detector found; whoever gives up waiting cancels it.
    """

    prepared: Tensor
    size: tuple[int, int]
    padded: tuple[int, int]
    answer: "Future[Tags]"


class Batcher:
    """The queue before a detector, and the threads that work it off. To be closed at the end."""

    def __init__(self, detector: Detector, largest: int = 4, most_waiting: int = 64, passes: int = 1) -> None:
        """Start the threads.

        Args:
            largest: images in one pass, at most; 1 for one request at a time.
            most_waiting: images in the queue, at most.
            passes: at the same time, each with its share of torch's threads; no more of them than there are threads.
        """
        self.detector, self.largest, self.most_waiting = detector, largest, most_waiting
        self.stride = getattr(getattr(detector.model, "backbone", None), "stride", None) or 32  # torchvision pads to 32
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_an_image = 0.1  # what it took of late
        cores = torch.get_num_threads()
        self._threads = [
            threading.Thread(target=self._work, args=(max(1, cores // passes),), name="detector", daemon=True)
            for _ in range(min(passes, cores))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, prepared: Tensor, size: tuple[int, int]) -> "Future[Tags]":
        """Queue an image.

        Raises:
            QueueFull: too many wait already.
        """
        height, width = (math.ceil(side / self.stride) * self.stride for side in prepared.shape[1:])
        job = Job(prepared, size, (height, width), Future())
        with self._changed:
            if self._closed or len(self._waiting) >= self.most_waiting:
                seconds = len(self._waiting) * self._seconds_an_image / len(self._threads)
                raise QueueFull(max(1, math.ceil(seconds)))
            self._waiting.append(job)
            self._changed.notify()
        return job.answer

    def waiting(self) -> int:
        """How many images wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Answer what waits, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self, cores: int) -> None:
        torch.set_num_threads(cores)  # of this thread
        while jobs := self._next():
            started = time.perf_counter()
            self._answer(jobs)
            self._seconds_an_image = (time.perf_counter() - started) / len(jobs)

    def _answer(self, jobs: list[Job]) -> None:
        try:
            found = tag_prepared([(job.prepared, job.size) for job in jobs], self.detector, threshold=0)
        except BaseException as error:  # whatever went wrong belongs to those who asked; the thread goes on
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
            else:  # nobody gets an error for somebody else's image, or for want of memory that one alone does not have
                for job in jobs:
                    self._answer([job])
            return
        for job, tags in zip(jobs, found, strict=True):
            job.answer.set_result(tags)

    def _next(self) -> list[Job]:
        """Wait for work and take it from the queue; nothing when it is closed and empty."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                padded = self._waiting[0].padded
                alike = [job for job in self._waiting if job.padded == padded][: self.largest]
                for job in alike:
                    self._waiting.remove(job)
                # One whose sender has left is cancelled, and is not worth a pass.
                if jobs := [job for job in alike if job.answer.set_running_or_notify_cancel()]:
                    return jobs
