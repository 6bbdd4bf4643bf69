"""Matching networks on drawn glyphs: held-out classes, one example of each of five.

    python -m tests.zoo.fewshot [--classes 200] [--iterations 2000] [--episodes 600]

Compares, on the same episodes, the cosine's nearest neighbour on the features of a classifier of the training classes,
the matching network, and the one with full-context embeddings; each trained for as many iterations, with the same
trunk. Writes a table, and the accuracy along the way.
"""

from __future__ import annotations

import argparse
import tempfile
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
from caffecompat.zoo import MODELS, ask, make
from caffecompat.zoo.embedding import embed_pictures
from caffecompat.zoo.fewshot import matching_loss, right_in_episodes, summary
from tests.zoo.glyphs import write_glyphs

INSTANCES = 20
Found = tuple[float, float]


def classifier(data: str, classes: int, batch: int) -> caffe_pb2.NetParameter:
    """The same trunk, trained to tell all the training classes."""
    net = NetSpec()
    transform = {"mean_value": [255], "scale": -1 / 255}
    net.data, net.label = L.Data(
        ntop=2, transform_param=transform, data_param={"source": data, "backend": 1, "batch_size": batch}
    )
    net.scores = L.InnerProduct(net[embed_pictures(net)], num_output=classes, weight_filler={"type": "xavier"})
    net.loss = L.SoftmaxWithLoss(net.scores, net.label)
    return net.to_proto()


def write(folder: Path, train: str, test: str, classes: int) -> dict[str, tuple[Path, Path]]:
    """For each method the net that it trains, and the one that its weights are tested in."""
    nets = {}
    for name, variant in (("matching", "1-shot"), ("full context", "1-shot-fce")):
        model = MODELS["matching-net"]
        message = make(model, ask(model, variant=variant, data=train, test_data=test)).nets["train_val"]
        path = folder / f"{variant}.prototxt"
        path.write_text(write_text(message))
        nets[name] = path, path
    path = folder / "classifier.prototxt"
    # As many pictures as an episode has.
    path.write_text(write_text(classifier(train, classes, 30)))
    return {"classifier": (path, nets["matching"][1]), **nets}


def score(prototxt: Path, weights: Path, episodes: int) -> Found:
    """The accuracy on episodes of held-out classes, always the same ones."""
    net = Net(build_graph(parse_net(prototxt.read_bytes()), "TEST"), reading=Reading(draws=Draws(1), workers=0))
    net.copy_from(str(weights))
    net.fill()
    layer, found = matching_loss(net.eval()), []
    with torch.inference_mode():
        for _ in range(episodes):
            found += right_in_episodes(net, layer)
    net.close()
    return summary(found)


def train(folder: Path, nets: tuple[Path, Path], iterations: int, stops: int, episodes: int) -> list[Found]:
    """Train, and score after each of `stops` equal parts of the iterations."""
    step = iterations // stops
    trained, tested = nets
    text = (
        f'net: "{trained}" type: "Adam" base_lr: 0.001 momentum: 0.9 momentum2: 0.999 lr_policy: "step" gamma: 0.3 '
        f"stepsize: {max(1, iterations * 2 // 3)} max_iter: {iterations} snapshot: {step} random_seed: 1 "
        f'snapshot_prefix: "{trained.with_suffix("")}" display: 0'
    )
    solver = trained.with_suffix(".solver")
    solver.write_text(text)
    Solver(read_solver(solver)).solve()
    return [
        score(tested, Path(f"{trained.with_suffix('')}_iter_{step * stop}.caffemodel"), episodes)
        for stop in range(1, stops + 1)
    ]


def compare(folder: Path, classes: int, iterations: int, stops: int, episodes: int) -> dict[str, list[Found]]:
    """The accuracies of each method along its training; the last one is the result."""
    seen = str(write_glyphs(folder / "train", range(classes), INSTANCES))
    held_out = str(write_glyphs(folder / "test", range(10_000, 10_000 + classes // 4), INSTANCES))
    nets = write(folder, seen, held_out, classes)
    return {name: train(folder, pair, iterations, stops, episodes) for name, pair in nets.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("classes", 200), ("iterations", 2000), ("stops", 5), ("episodes", 600)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = vars(parser.parse_args())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, found in compare(Path(folder), **asked).items():
            print(f"| {name} | " + " | ".join(f"{100 * mean:.1f} ± {100 * half:.1f}" for mean, half in found) + " |")


if __name__ == "__main__":
    main()
