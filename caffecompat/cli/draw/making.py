"""Read what is to be drawn, draw it, write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from caffecompat.cli.draw.canvas import Drawing
from caffecompat.cli.draw.netdrawing import by, draw_net
from caffecompat.cli.draw.page import net_page
from caffecompat.cli.draw.priordrawing import draw_priors, priors_page
from caffecompat.cli.draw.priors import find_priors
from caffecompat.cli.draw.raster import raster
from caffecompat.cli.draw.subject import Subject, pass_picture, preprocessing_of, read_subject
from caffecompat.cli.draw.svg import document
from caffecompat.cli.report.markup import number
from caffecompat.data.images import read_image
from caffecompat.errors import UsageError, quoted, shown
from caffecompat.formats import atomic_write

PAGES, PICTURES = (".html", ".htm"), (".svg", ".png")
PREPARING = ("mean", "scale", "channels", "labels")


def make(
    prototxt: Path,
    target: Path,
    *,
    weights: Path | None,
    image: Path | None,
    priors: bool,
    at: tuple[float, float] | None,
    random_weights: bool,
    size: tuple[int, int] | None,
    input_shapes: Any,
    **options: Any,
) -> None:
    """Write the drawing of a net, or of its prior boxes.

    Args:
        prototxt: the net.
        target: the file; its suffix says what is written.
        weights: its weights.
        image: a picture, or None.
        priors: draw prior boxes.
        at: the pixel whose cells are drawn; None is the middle.
        random_weights: let the fillers give the parameters where no weights are given.
        size: what the picture is resized to.
        input_shapes: the values of --input-shape.
        options: mean, scale, channels, labels, and the values of `net_options`.

    Raises:
        UsageError: the arguments do not go together.
        CaffeCompatError: a file cannot be read or written, or the net cannot be drawn.
    """
    suffix = target.suffix.lower()
    if suffix not in (*PAGES, *PICTURES):
        raise UsageError(
            f"cannot draw into a file that ends in {quoted(target.suffix)}", hint="-o FILE.html, FILE.svg or FILE.png"
        )
    preparing = {name: options.pop(name) for name in PREPARING}
    if priors:
        subject = read_subject(prototxt, input_shapes, options)
        picture = None if image is None else read_image(image)
        geometry = None if picture is None else preprocessing_of(subject, prototxt, preparing, size)
        found = find_priors(subject, picture, geometry, at)
        drawing = draw_priors(found)
        data = priors_page(found, drawing) if suffix in PAGES else _drawn(drawing, suffix)
    elif image is not None:
        if suffix not in PAGES:
            raise UsageError("--image goes with a page, or with --priors", hint="-o FILE.html")
        subject = pass_picture(
            prototxt, weights, image, input_shapes, size, random_weights, preparing=preparing, rules=options
        )
        data = _net(subject, suffix, [("net", str(prototxt)), ("weights", str(weights or "from fillers"))])
    else:
        if weights is not None:
            raise UsageError("--weights goes with --image PICTURE", hint="without a picture no weights are needed")
        data = _net(read_subject(prototxt, input_shapes, options), suffix, [("net", str(prototxt))])
    with atomic_write(target) as file:
        file.write(data)


def _net(subject: Subject, suffix: str, facts: list[tuple[str, str]]) -> bytes:
    """A net in the form of a suffix."""
    told = _facts(subject)
    drawing = draw_net(subject.graph, subject.shapes, [f"{name} {value}" for name, value in told])
    if suffix not in PAGES:
        return _drawn(drawing, suffix)
    if subject.passed is not None:
        facts = [*facts, ("picture", subject.passed.name)]
    return net_page(subject, drawing, [*facts, *told])


def _facts(subject: Subject) -> list[tuple[str, str]]:
    """What is known of the whole net."""
    graph = subject.graph
    facts = [("phase", graph.phase), ("layers", number(len(graph.layers)))]
    if subject.costs:
        inputs = [f"{shown(key.name)} {by(subject.shapes[key])}" for key in graph.inputs[:4]]
        facts.append(("input" if len(inputs) == 1 else "inputs", ", ".join(inputs)))
        facts.append(("parameters", number(sum(cost.parameters for cost in subject.costs))))
        facts.append(("multiply-adds", number(sum(cost.multiply_adds for cost in subject.costs))))
    return facts


def _drawn(drawing: Drawing, suffix: str) -> bytes:
    """A drawing as SVG or PNG."""
    if suffix == ".svg":
        return document(drawing)
    _, data = cv2.imencode(".png", np.ascontiguousarray(raster(drawing)))
    return data.tobytes()
