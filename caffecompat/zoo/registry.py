"""The one table of the nets that can be asked for by name; each family's file has its rows."""

from __future__ import annotations

from caffecompat.errors import UsageError, did_you_mean, quoted
from caffecompat.zoo import (
    acnet,
    alexnet,
    dilation,
    googlenet,
    matching,
    mobilenet,
    repvgg,
    resnet,
    segmentation,
    shufflenet,
    small,
    ssd,
    vgg,
)
from caffecompat.zoo.model import Model

_FAMILIES = (
    vgg,
    ssd,
    dilation,
    segmentation,
    repvgg,
    resnet,
    acnet,
    mobilenet,
    shufflenet,
    small,
    alexnet,
    googlenet,
    matching,
)
MODELS: dict[str, Model] = {model.name: model for family in _FAMILIES for model in family.MODELS}


def find_model(name: str) -> Model:
    """The net of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in MODELS:
        hint = did_you_mean(name.lower(), MODELS) or "`caffecompat new --list` lists them"
        raise UsageError(f"there is no net {quoted(name)}", hint=hint)
    return MODELS[name]
