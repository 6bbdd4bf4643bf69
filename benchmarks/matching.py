"""Time of a matching network's layers against the size of the support set.

    python benchmarks/matching.py

Of one episode of 25 queries with embeddings of 64 values: attention alone, and with full context (5 steps), forward
and backward, in milliseconds: the median of interleaved runs on one thread.
"""

from __future__ import annotations

import statistics
import time

import torch

from caffecompat import Net
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph

QUERIES, SIZE, ROUNDS = 25, 64, 20
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


def seconds(net: Net, members: int) -> float:
    q, s = (torch.randn(rows, SIZE, requires_grad=True) for rows in (QUERIES, members))
    labels = torch.arange(members) % 5, torch.arange(QUERIES) % 5
    start = time.perf_counter()
    net(q=q, s=s, sl=labels[0].float(), ql=labels[1].float())["loss"].backward()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    sizes = (5, 25, 100, 400, 1600)
    nets = {(size, context): net_of(size, context) for size in sizes for context in (False, True)}
    times: dict[tuple[int, bool], list[float]] = {key: [] for key in nets}
    for _ in range(ROUNDS + 1):
        for key, net in nets.items():
            times[key].append(1000 * seconds(net, key[0]))
    print("| members | attention, ms | full context, ms |\n|---|---|---|")
    for size in sizes:
        plain, full = (statistics.median(times[size, context][1:]) for context in (False, True))
        print(f"| {size} | {plain:.2f} | {full:.2f} |")


if __name__ == "__main__":
    main()
