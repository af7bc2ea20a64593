"""Time our function against a named peer, side by side in one run."""

import time
from collections.abc import Callable


def seconds(function: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def ratio(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 30) -> float:
    """Our best time over the peer's best time. The best of many, because noise only ever adds."""
    ours(), peer()  # warm up
    # In turns, so that a slow moment of the machine meets both.
    rounds = [(seconds(ours, 3), seconds(peer, 3)) for _ in range(max(1, repeats // 3))]
    return min(mine for mine, _ in rounds) / min(theirs for _, theirs in rounds)


def report(rows: list[tuple[str, str, Callable[[], float], float]]) -> int:
    """Measure and print (work, peer, ratio, limit) as a table; return 1 if a limit is passed, as an exit code.

    What is too slow is measured again, up to three times in all: other work on the machine can make ours slower than
    it is, never quicker.
    """
    print(f"{'work':44} {'against':34} {'ratio':>6} {'limit':>6}")
    too_slow = 0
    for work, peer, measure, limit in rows:
        measured = measure()
        for _ in range(2):
            measured = measured if measured <= limit else min(measured, measure())
        print(
            f"{work:44} {peer:34} {measured:6.2f} {limit:6.2f}{'' if measured <= limit else '  TOO SLOW'}", flush=True
        )
        too_slow |= measured > limit
    return int(too_slow)
