"""Try many inputs of a reader, and keep those that break the rule (tests/fuzz/campaign.py).

    python -m tests.fuzz --reader table --inputs 100000 --seed 0
    python -m tests.fuzz --list

Each reader runs in a process of its own, which is begun anew behind an input that ends it. A
finding is kept as a file, which belongs into tests/fuzz/findings/READER/ once it is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.campaign import bounded, input_of, tried
from tests.fuzz.readers import readers

Told = tuple[int, str | None, float]  # index, what is wrong, seconds


def work(pipe: Connection, name: str, seed: int, begin: int, end: int) -> None:
    """Trials `begin` to `end`; tells of each before and after it."""
    reader = readers()[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seeds = reader.seeds(folder)
        reader.read(seeds[0], folder)  # what is imported and built once is no trial's
        with bounded():
            for index in range(begin, end):
                pipe.send((index, None, -1.0))
                why, seconds = tried(
                    reader,
                    input_of(reader, seeds, seed, index),
                    folder,
                    sound=index < len(seeds),
                )
                pipe.send((index, why, seconds))


def told(name: str, seed: int, n_inputs: int, until: float) -> Iterator[Told]:
    """Trials in order, of as many processes as it takes; none is begun after `until`."""
    begin = 0
    while begin < n_inputs and time.monotonic() < until:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(
            target=work, args=(theirs, name, seed, begin, n_inputs)
        )
        process.start()
        theirs.close()
        try:
            while time.monotonic() < until:
                index, why, seconds = ours.recv()
                begin = index + 1
                if seconds >= 0:
                    yield index, why, seconds
        except EOFError:
            process.join()
            if begin < n_inputs or process.exitcode:
                yield begin - 1, f"the process ended with {process.exitcode}", 0.0
        finally:
            process.kill()
            process.join()


def campaign(name: str, n_inputs: int, seed: int, seconds: float, out: Path) -> dict[str, object]:
    """Figures of one reader; findings of one kind (their place) are kept once."""
    found: dict[str, str] = {}
    reader, slowest_s, tries, begun = readers()[name], 0.0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        seeds = reader.seeds(Path(place))
    for index, why, took_s in told(name, seed, n_inputs, begun + seconds):
        tries, slowest_s = tries + 1, max(slowest_s, took_s)
        kind = "" if why is None else why.partition(": ")[0]
        if why is not None and kind not in found:
            data = input_of(reader, seeds, seed, index)
            path = out / name / hashlib.sha256(data).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            found[kind] = f"{path}: {why[:300]}"
            print(f"  {name} {index}: {found[kind]}", flush=True)
    elapsed_s = time.monotonic() - begun
    print(
        f"{name:20}{tries:>8} inputs {tries / elapsed_s:>8.0f} a second, slowest "
        f"{slowest_s:.2f} s, findings {len(found)}",
        flush=True,
    )
    return {"inputs": tries, "seconds": elapsed_s, "slowest_s": slowest_s, "findings": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reader", nargs="+", choices=list(readers()), default=list(readers()))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="for each reader, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings"))
    parser.add_argument("--out", type=Path, help="figures as JSON")
    parser.add_argument("--list", action="store_true", help="name the readers, and end")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(readers()))
        return
    figures = {
        name: campaign(
            name, arguments.inputs, arguments.seed, arguments.seconds, arguments.findings
        )
        for name in arguments.reader
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    raise SystemExit(any(one["findings"] for one in figures.values()))


if __name__ == "__main__":
    main()
