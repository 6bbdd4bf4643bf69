"""Time of a matching network's layers against the size of the support set.

    python benchmarks/matching.py

Of one episode of 25 queries with embeddings of 64 values: attention alone, and with full context (5 steps), forward
and backward, in milliseconds on one thread: the least of all rounds. In a round each net has its turn, of one call that
is not counted and some that are: the first call after another net's finds little of its own in the caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from timing import milliseconds

from caffecompat import Net
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph

QUERIES, SIZE, ROUNDS, CALLS = 25, 64, 30, 3
CONTEXT = """
layer { name: "sc" type: "SupportContext" bottom: "s" top: "sc" full_context_param { FILL } }
layer { name: "qc" type: "QueryContext" bottom: "q" bottom: "sc" top: "qc" full_context_param { FILL } }
""".replace("FILL", 'weight_filler { type: "xavier" }')


def net_of(members: int, context: bool) -> Net:
    inputs = {"q": (QUERIES, SIZE), "s": (members, SIZE), "sl": (members,), "ql": (QUERIES,)}
    text = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {size}' for size in shape)} }} }} }}\n"
        for name, shape in inputs.items()
    )
    query, support = ("qc", "sc") if context else ("q", "s")
    text += CONTEXT if context else ""
    text += (
        f'layer {{ name: "loss" type: "MatchingLoss" bottom: "{query}" bottom: "{support}" bottom: "sl" bottom: "ql" '
        'top: "loss" }'
    )
    net = Net(build_graph(parse_net(text), "TRAIN"))
    net.fill()
    return net


def step_of(net: Net, members: int) -> Callable[[], None]:
    """A step on drawn embeddings, of five classes."""
    q, s = (torch.randn(rows, SIZE, requires_grad=True) for rows in (QUERIES, members))
    labels = {name: (torch.arange(rows) % 5).float() for name, rows in (("sl", members), ("ql", QUERIES))}
    return lambda: net(q=q, s=s, **labels)["loss"].backward()


def main() -> None:
    torch.set_num_threads(1)
    sizes = (5, 25, 100, 400, 1600)
    steps = {(size, context): step_of(net_of(size, context), size) for size in sizes for context in (False, True)}
    least = dict.fromkeys(steps, math.inf)
    for _ in range(ROUNDS):
        for key, step in steps.items():
            least[key] = min(least[key], milliseconds(step, CALLS)[1])
    print("| members | attention, ms | full context, ms |\n|---|---|---|")
    for size in sizes:
        print(f"| {size} | {least[size, False]:.2f} | {least[size, True]:.1f} |")


if __name__ == "__main__":
    main()
