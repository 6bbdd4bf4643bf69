"""Matching networks on drawn glyphs: held-out classes, one example of each of five.

    python -m tests.zoo.fewshot [--classes 1000] [--iterations 400] [--seeds 1 2 3] [--filters 32] [--plot FILE]

Compares, on the same episodes, the cosine's nearest neighbour on the features of a classifier of the training classes,
the matching network with the paper's attention (cosines as they are), with cosines times 20, and with full-context
embeddings. All have the same trunk, and as many iterations of as many pictures by the same solver, but for the rate.
Each seed has its own initialisation, draws, and episodes of the test.
Writes a table, in percent with the interval of 95 %: of the first seed the accuracy along the way, by a quarter of the
episodes, and at the end that of all seeds; the gains at the end, episode by episode; and the first seed's curves. The
paper's attention is trained with the first seed only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from caffecompat import Net, Solver
from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading
from caffecompat.formats import parse_net, read_solver, write_text
from caffecompat.graph import build_graph
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.schema.plugins import parameters
from caffecompat.zoo import MODELS, ask, make
from caffecompat.zoo.embedding import embed_pictures
from caffecompat.zoo.fewshot import matching_loss, right_in_episodes, summary
from tests.zoo.glyphs import write_glyphs

INSTANCES = 20
NEAREST, PLAIN, MATCHING, CONTEXT = "nearest neighbour", "matching, scale 1", "matching", "full context"
# What Adam begins with. The classifier has what served it best of 0.004, 0.008 and 0.016 in trials with other glyphs.
RATE, RATES = 0.004, {NEAREST: 0.008}
# For each stop of a training the accuracies of the episodes.
Curve = list[list[float]]


def narrowed(net: caffe_pb2.NetParameter, filters: int) -> caffe_pb2.NetParameter:
    """The net with so many filters in each convolution."""
    for layer in net.layer:
        if layer.type == "Convolution":
            layer.convolution_param.num_output = filters
    return net


def matching_net(variant: str, train: str, test: str) -> caffe_pb2.NetParameter:
    model = MODELS["matching-net"]
    return make(model, ask(model, variant=variant, data=train, test_data=test)).nets["train_val"]


def with_paper_attention(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    parameters(net.layer[[layer.type for layer in net.layer].index("MatchingLoss")], "matching_param").scale = 1
    return net


def classifier(data: str, classes: int, like: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The same trunk, trained to tell all the training classes; a batch has as many pictures as that of `like`."""
    drawn = parameters(like.layer[0], "episode_data_param")
    batch = drawn.episodes * drawn.ways * (drawn.shots + drawn.queries)
    net = NetSpec()
    transform = {"mean_value": [255], "scale": -1 / 255}
    net.data, net.label = L.Data(
        ntop=2, transform_param=transform, data_param={"source": data, "backend": 1, "batch_size": batch}
    )
    net.scores = L.InnerProduct(net[embed_pictures(net)], num_output=classes, weight_filler={"type": "xavier"})
    net.loss = L.SoftmaxWithLoss(net.scores, net.label)
    return net.to_proto()


def write(folder: Path, train: str, test: str, classes: int, filters: int) -> dict[str, tuple[Path, Path]]:
    """For each method the net that it trains, and the one that its weights are tested in."""
    plain = matching_net("1-shot", train, test)
    nets = {
        NEAREST: classifier(train, classes, plain),
        PLAIN: with_paper_attention(matching_net("1-shot", train, test)),
        MATCHING: plain,
        CONTEXT: matching_net("1-shot-fce", train, test),
    }
    paths = {}
    for number, (name, net) in enumerate(nets.items()):
        paths[name] = folder / f"{number}.prototxt"
        paths[name].write_text(write_text(narrowed(net, filters)))
    return {name: (path, paths[MATCHING] if name == NEAREST else path) for name, path in paths.items()}


def accuracies(prototxt: Path, weights: Path, episodes: int, seed: int) -> list[float]:
    """Those of episodes of held-out classes; a seed always draws the same ones."""
    net = Net(build_graph(parse_net(prototxt.read_bytes()), "TEST"), reading=Reading(draws=Draws(seed), workers=0))
    net.copy_from(str(weights))
    net.fill()
    layer = matching_loss(net.eval())
    found: list[float] = []
    with torch.inference_mode():
        while len(found) < episodes:
            found += right_in_episodes(net, layer)
    net.close()
    return found


def train(nets: tuple[Path, Path], rate: float, iterations: int, stops: int, episodes: int, seed: int) -> Curve:
    """Train, and test after each of `stops` equal parts of the iterations."""
    step = iterations // stops
    trained, tested = nets
    prefix = trained.with_suffix(f".{seed}")
    text = (
        f'net: "{trained}" type: "Adam" base_lr: {rate} momentum: 0.9 momentum2: 0.999 lr_policy: "step" gamma: 0.3 '
        f"stepsize: {max(1, iterations * 2 // 3)} max_iter: {iterations} snapshot: {step} random_seed: {seed} "
        f'snapshot_prefix: "{prefix}" display: 0'
    )
    solver = trained.with_suffix(".solver")
    solver.write_text(text)
    Solver(read_solver(solver)).solve()
    weights = [Path(f"{prefix}_iter_{step * stop}.caffemodel") for stop in range(1, stops + 1)]
    *earlier, last = weights
    return [
        *(accuracies(tested, file, episodes // 4, seed) for file in earlier),
        accuracies(tested, last, episodes, seed),
    ]


def compare(
    folder: Path, classes: int, iterations: int, stops: int, episodes: int, seeds: Sequence[int], filters: int
) -> dict[str, list[Curve]]:
    """For each method the curves, seed by seed; those after the first have their ends only."""
    seen = str(write_glyphs(folder / "train", range(classes), INSTANCES))
    held_out = str(write_glyphs(folder / "test", range(1_000_000, 1_000_000 + max(20, classes // 4)), INSTANCES))
    nets = write(folder, seen, held_out, classes, filters)
    curves: dict[str, list[Curve]] = {name: [] for name in nets}
    for place, seed in enumerate(seeds):
        for name, pair in nets.items():
            if place and name == PLAIN:
                continue
            parts = 1 if place else stops
            curves[name].append(train(pair, RATES.get(name, RATE), iterations, parts, episodes, seed))
            print(f"seed {seed}, {name}: {percent(curves[name][-1][-1])}", flush=True)
    return curves


def percent(found: Sequence[float]) -> str:
    mean, half = summary(found)
    return f"{100 * mean:.1f} ± {100 * half:.1f}"


def ends(curves: Sequence[Curve]) -> list[float]:
    """The episodes of all seeds, at the end of training."""
    return [one for curve in curves for one in curve[-1]]


def gains(curves: Sequence[Curve], over: Sequence[Curve]) -> list[float]:
    """By how much each episode is told better in the end, of the seeds that both have."""
    return [mine - theirs for mine, theirs in zip(ends(curves), ends(over), strict=False)]


def report(curves: dict[str, list[Curve]]) -> list[str]:
    """The table and the gains."""
    rows = []
    for name, several in curves.items():
        cells = [*(percent(found) for found in several[0][:-1]), percent(ends(several))]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    pairs = ((MATCHING, PLAIN), (MATCHING, NEAREST), (CONTEXT, NEAREST), (CONTEXT, MATCHING))
    return rows + [f"{name} over {over}: {percent(gains(curves[name], curves[over]))}" for name, over in pairs]


def plot(path: Path, curves: dict[str, list[Curve]], iterations: int) -> None:
    """Accuracy of the first seed over iterations, with the intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, (first, *_) in curves.items():
        told = [summary(found) for found in first]
        x = [iterations * (stop + 1) // len(told) for stop in range(len(told))]
        means, halves = ([100 * one for one in values] for values in zip(*told, strict=True))
        axes.errorbar(x, means, yerr=halves, capsize=3, marker="o", label=name)
    axes.set_xlabel("iteration")
    axes.set_ylabel("accuracy on held-out classes, %")
    axes.grid(alpha=0.25)
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = (("classes", 1000), ("iterations", 400), ("stops", 4), ("episodes", 400), ("filters", 32))
    for name, value in numbers:
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--plot", type=Path)
    asked = vars(parser.parse_args())
    picture = asked.pop("plot")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        curves = compare(Path(folder), **asked)
    print("\n".join(report(curves)))
    if picture is not None:
        plot(picture, curves, asked["iterations"])


if __name__ == "__main__":
    main()
