"""The parts of pycaffe's nets, by name."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property

from caffecompat import net as core
from caffecompat.blob import Blob
from caffecompat.graph.spec import BlobKey
from caffecompat.pycaffe._python_layer import BlobVec, Layer


class Names:
    """Blobs, parameters and layers of a net by name; `Passes` makes them."""

    layers: list[Layer]
    _net: core.Net
    _blob_names: list[str]
    _blobs: list[Blob]
    _numbers: dict[BlobKey, int]
    _layer_names: list[str]
    _fed: list[BlobKey]

    @cached_property
    def blobs(self) -> OrderedDict[str, Blob]:
        """The blobs by name, in the order in which the layers make them."""
        return OrderedDict(zip(self._blob_names, self._blobs, strict=True))

    @cached_property
    def params(self) -> OrderedDict[str, BlobVec]:
        """The parameters of each layer that has some, by the layer's name."""
        return OrderedDict(
            (name, layer.blobs) for name, layer in zip(self._layer_names, self.layers, strict=True) if layer.blobs
        )

    @cached_property
    def layer_dict(self) -> OrderedDict[str, Layer]:
        """The layers by name."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    @cached_property
    def inputs(self) -> list[str]:
        """Names of the blobs that the user fills: the tops of the Input layers."""
        return [key.name for key in self._fed]

    @cached_property
    def outputs(self) -> list[str]:
        """Names of the blobs that no layer reads, in Caffe's order."""
        return self._net.outputs

    @cached_property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The weight of each blob in the loss, by name."""
        weights = self._net.loss_weights
        return OrderedDict((name, weights.get(name, 0.0)) for name in self._blob_names)

    @cached_property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Names of the blobs that each layer reads."""
        specs = self._net.graph.layers
        return OrderedDict((spec.name, [key.name for key in spec.bottoms]) for spec in specs)

    @cached_property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Names of the blobs that each layer makes."""
        specs = self._net.graph.layers
        return OrderedDict((spec.name, [key.name for key in spec.tops]) for spec in specs)

    @property
    def name(self) -> str:
        """The net's name."""
        return self._net.graph.name

    @property
    def _inputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.inputs]

    @property
    def _outputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.outputs]

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self.blob_loss_weights.values())

    def _bottom_ids(self, layer: int) -> list[int]:
        return [self._numbers[key] for key in self._net.graph.layers[layer].bottoms]

    def _top_ids(self, layer: int) -> list[int]:
        return [self._numbers[key] for key in self._net.graph.layers[layer].tops]
