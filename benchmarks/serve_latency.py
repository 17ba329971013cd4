"""How long does `pnag serve` take to answer at a fixed rate?

Starts the service on loopback and sends one-budget requests at exact times, whether or not
earlier ones were answered; a latency counts from when its request was due, so that a stall
is seen by all requests behind it.

    python -m benchmarks.serve_latency --run RUN
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.commands import MAIN
from benchmarks.landscape import write_json

CLIENT_THREADS = 16


@contextmanager
def service(run: Path) -> Iterator[dict[str, Any]]:
    """The running service, as its own first line describes it."""
    command = [sys.executable, "-c", MAIN, "serve", "--run", str(run), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


class Client:
    """Posts budgets; each thread keeps its own connection."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._local = threading.local()

    def post(self, budget_ms: float) -> int:
        """The status of the answer, read to its end."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._address)
        connection.request(
            "POST", "/generate", json.dumps({"budgets_ms": [budget_ms]}),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        answer = connection.getresponse()
        answer.read()
        return int(answer.status)


def load(url: str, budgets_ms: list[float], per_s: float) -> tuple[list[float], int]:
    """Latencies in ms of one request per budget at `per_s`, and how many did not succeed."""
    client = Client(url)
    begin = time.perf_counter() + 0.5

    def request(index: int) -> tuple[float, int]:
        status = client.post(budgets_ms[index])
        return 1e3 * (time.perf_counter() - begin - index / per_s), status

    pending = []
    with ThreadPoolExecutor(CLIENT_THREADS) as pool:
        for index in range(len(budgets_ms)):
            time.sleep(max(0.0, begin + index / per_s - time.perf_counter()))
            pending.append(pool.submit(request, index))
        answers = [future.result() for future in pending]
    return [latency for latency, _ in answers], sum(status != 200 for _, status in answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 50.0, 100.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serve_latency.json"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = []
    print(" per s  requests  failed   p50 ms   p90 ms   p99 ms   max ms")
    with service(arguments.run) as running:
        low, high = running["reachable_ms"]
        load(running["url"], [high] * 50, 50.0)  # connections and code paths are warm
        for per_s in arguments.rates:
            n = int(per_s * arguments.seconds)
            budgets_ms = (low + (high - low) * rng.random(n)).tolist()
            latencies, failed = load(running["url"], budgets_ms, per_s)
            p50, p90, p99 = np.percentile(latencies, [50, 90, 99]).tolist()
            row = {"per_s": per_s, "requests": n, "failed": failed, "p50_ms": p50,
                   "p90_ms": p90, "p99_ms": p99, "max_ms": max(latencies)}  # fmt: skip
            rows.append(row)
            print(
                f"{per_s:6.0f}  {n:8d}  {failed:6d}  {p50:7.2f}  {p90:7.2f}  {p99:7.2f}  "
                f"{row['max_ms']:7.2f}"
            )
    write_json(arguments.out, {"rows": rows})


if __name__ == "__main__":
    main()
