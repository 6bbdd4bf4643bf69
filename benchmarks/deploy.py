"""Deploy: ms a picture of RepVGG-A0, VGG-16, ResNet-18, MobileNet and ShuffleNet v2, each as fast as we run it.

    python benchmarks/deploy.py [--nets vgg-d resnet-18] [--engine auto] [--batch 1] [--threads 2] [--rounds 15]

The nets are the zoo's, at their own size, with random weights. "as trained" is the plain net, RepVGG in its three
branches; "fused" is what `caffecompat.fuse` makes of it, in the same eager PyTorch; "engine" is what
`caffecompat.optimize` takes: with "auto" the fastest of what is installed. All are timed in turns in one process; times
are medians, and the ratio is the median of the rounds' ratios. Work is in billions of multiply-adds, parameters are in
millions, both after fusing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from timing import interleaved  # noqa: E402

import caffecompat  # noqa: E402
from caffecompat import Net  # noqa: E402
from caffecompat.formats import write_text  # noqa: E402
from caffecompat.graph.analysis import analyse  # noqa: E402
from caffecompat.layers.normalization import BatchNorm  # noqa: E402
from caffecompat.zoo import ask, find_model, make  # noqa: E402

NETS = ("repvgg-a0", "vgg-d", "resnet-18", "mobilenet-v1", "shufflenet-v2")
WAYS = ("as trained", "fused", "engine")


def net_of(name: str, batch: int) -> Net:
    """A net of the zoo in evaluation; what it computes stays within the range of float32."""
    model = find_model(name)
    deploy = make(model, ask(model)).nets["deploy"]
    next(layer for layer in deploy.layer if layer.type == "Input").input_param.shape[0].dim[0] = batch
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deploy.prototxt"
        path.write_text(write_text(deploy))
        net = caffecompat.load(path)
    with torch.no_grad():
        for layer in net.layers:
            if layer.spec.type in ("Convolution", "InnerProduct"):
                weight = layer.blobs[0]
                weight.normal_(0, (2 / weight[0].numel()) ** 0.5)
            elif isinstance(layer, BatchNorm):
                layer.variance.fill_(1)
                layer.factor.fill_(1)
            elif layer.spec.type == "Scale":
                layer.blobs[0].fill_(1)
        # Statistics as training leaves them.
        if any(isinstance(layer, BatchNorm) for layer in net.layers):
            net.train()(data=torch.randn(8, 3, 224, 224))
    return net.eval()


def size(net: Net) -> tuple[float, float]:
    """Millions of parameters, and billions of multiply-adds for a picture."""
    costs = analyse(net.graph, net.blob_shapes, [[tuple(blob.shape) for blob in layer.blobs] for layer in net.layers])
    return sum(cost.parameters for cost in costs) / 1e6, sum(cost.multiply_adds for cost in costs) / 1e9


def without_gradients(run: Callable[..., object], data: torch.Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return run(data=data)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--engine", default="auto")
    for name, value in (("batch", 1), ("threads", 2), ("rounds", 15)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    data = torch.randn(asked.batch, 3, 224, 224)
    steps: dict[str, Callable[[], object]] = {}
    heads = {}
    for name in asked.nets:
        net = net_of(name, asked.batch)
        fused = caffecompat.fuse(net)
        engine = caffecompat.optimize(net, asked.engine, example={"data": data}, threads=asked.threads, cache=False)
        for way, run in zip(WAYS, (net, fused, engine), strict=True):
            steps[f"{name} {way}"] = without_gradients(run, data)
        millions, billions = size(fused)
        heads[name] = f"| {name} | {millions:.2f} | {billions:.2f} | {engine.name}"
        print(f"ready: {name}, {engine.name}", file=sys.stderr, flush=True)
    times = interleaved(steps, asked.rounds)
    print(f"| | parameters | work | engine | {' | '.join(f'{way}, ms' for way in WAYS)} | ratio |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    for name, head in heads.items():
        plain, fused_times, best = (times[f"{name} {way}"] for way in WAYS)
        cells = [f"{1e3 * median(own) / asked.batch:.1f}" for own in (plain, fused_times, best)]
        ratio = median(first / last for first, last in zip(plain, best, strict=True))
        print(f"{head} | {' | '.join(cells)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
