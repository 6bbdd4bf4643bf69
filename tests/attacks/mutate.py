"""Mutated files by the thousand: whatever they hold, nothing but a CaffeCompatError may come out.

    python -m tests.attacks.mutate --caffemodel 20000 --prototxt 20000 --layers 20000

Each case depends on the seed and its number alone, so `--first` repeats a failed one.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caffecompat.errors import CaffeCompatError

# What one case does with its mutated bytes, and what mutates them.
Attempt = Callable[[bytes], None]
Change = Callable[[random.Random, bytes], bytes]


@dataclass
class Outcome:
    """How many files were taken, and which faults the others were refused for."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    seconds: float = 0.0


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A copy with a few changes: bytes flipped, set, dropped, repeated, moved, or the end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        length = rng.choice((1, 1, 2, 4, 9, 40))
        kind = rng.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = rng.randbytes(length)
        elif kind == 4:
            out[at:at] = out[at : at + length] * rng.choice((1, 2, 20))
        elif kind == 5:
            source = rng.randrange(len(out) + 1)
            out[at : at + length] = out[source : source + length]
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def attack(
    samples: Sequence[bytes], attempt: Attempt, count: int, seed: int, first: int = 0, change: Change = mutated
) -> Outcome:
    """Try `count` mutated samples. Anything but a CaffeCompatError is raised, with the number of its case."""
    outcome = Outcome()
    begun = time.perf_counter()
    for case in range(first, first + count):
        rng = random.Random(f"{seed}/{case}")
        data = change(rng, rng.choice(samples))
        start = time.perf_counter()
        try:
            attempt(data)
            outcome.accepted += 1
        except CaffeCompatError as error:
            str(error)
            outcome.refused["".join("N" if char.isdigit() else char for char in error.message)[:40]] += 1
        except Exception as error:
            raise AssertionError(f"case {case} of seed {seed} raised {type(error).__name__}: {error}") from error
        outcome.slowest = max(outcome.slowest, time.perf_counter() - start)
    outcome.seconds = time.perf_counter() - begun
    return outcome


def caffemodels(count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Attack `read_weights` with binary weight files; what it takes is read to its last number."""
    from caffecompat.formats import read_weights
    from tests.formats.weight_samples import ENCODINGS, small_net

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.caffemodel"

        def attempt(data: bytes) -> None:
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            for layer in read_weights(path).layers:
                for blob in layer.blobs:
                    np.isfinite(blob.array).all()

        return attack([small_net(encoding) for encoding in ENCODINGS], attempt, count, seed, first)


def prototxts(count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Attack the reader of prototxt and what builds graphs from it."""
    from tests.attacks import mutate_prototxt

    return mutate_prototxt.prototxts(count, seed, first)


def layers(count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Attack `caffecompat.load` and a pass of the net with layers of every type."""
    from tests.attacks import mutate_layers

    return mutate_layers.layers(count, seed, first)


ATTACKS: dict[str, Callable[[int, int, int], Outcome]] = {
    "caffemodel": caffemodels,
    "prototxt": prototxts,
    "layers": layers,
}


def main() -> int:
    """Run the attacks that the command line asks for and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ATTACKS:
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help=f"mutated {name} files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    for name, run in ATTACKS.items():
        count = getattr(arguments, name)
        if not count:
            continue
        outcome = run(count, arguments.seed, arguments.first)
        print(
            f"{name}: {count} files in {outcome.seconds:.1f} s, slowest {outcome.slowest * 1000:.1f} ms; "
            f"{outcome.accepted} accepted, refused:"
        )
        for reason, times in outcome.refused.most_common(12):
            print(f"  {times:6} {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
