"""`caffecompat evaluate fewshot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffecompat.cli.options import net_options, python_option, reading_options
from caffecompat.cli.reading import check_read, device_of, gpu_option, model_argument, open_reading_net
from caffecompat.errors import UsageError


@click.command("fewshot")
@model_argument
@net_options
@python_option
@gpu_option
@reading_options
@click.option(
    "--episodes",
    type=click.IntRange(2),
    default=600,
    show_default=True,
    help="How many episodes, drawn at random, are passed at least.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="What the episodes are drawn from.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the results here as well."
)
def command(
    net: Path,
    weights: Path | None,
    gpu: str | None,
    episodes: int,
    seed: int,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Score a matching network on episodes that its own data layer draws: accuracy with a confidence interval.

    NET is a net with one MatchingLoss, such as the train_val prototxt of `caffecompat new matching-net`. Nets that draw
    episodes of the same ways, shots and queries from the same data get the same episodes by the same seed.
    """
    from contextlib import closing

    import torch

    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.predict._writers import output, write_json
    from caffecompat.cli.progress import Progress
    from caffecompat.data.draws import Draws
    from caffecompat.zoo.fewshot import matching_loss, right_in_episodes, summary

    if weights is None:
        raise UsageError("no weights: give --weights FILE")
    keep_inputs(json_file, [net, weights])
    found: list[float] = []
    device = device_of(gpu)
    with closing(open_reading_net(net, weights, device=device, draws=Draws(seed), **options)) as made:
        check_read(made)
        layer = matching_loss(made)
        with Progress(episodes, "episodes") as progress, torch.inference_mode():
            while len(found) < episodes:
                shares = right_in_episodes(made, layer)
                found += shares
                progress.add(len(shares))
    mean, half = summary(found)
    click.echo(f"accuracy = {mean:.4f} +- {half:.4f} (95 % of {len(found)} episodes of {layer.ways} classes)")
    if json_file is not None:
        result = {"accuracy": mean, "interval": half, "episodes": len(found), "seed": seed, "accuracies": found}
        with output(json_file) as stream:
            write_json(stream, {"net": str(net), "weights": str(weights), **result})
