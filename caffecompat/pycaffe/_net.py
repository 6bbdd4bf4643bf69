"""Net, as pycaffe has it, on the executor: blobs to look into and to edit, passes that begin and end anywhere.

Source of the rules: _caffe.cpp and pycaffe.py of the original, of both branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from caffecompat import net as core
from caffecompat.blob import Blob, Floats
from caffecompat.data.source import Reading
from caffecompat.errors import ShapeError, UsageError, did_you_mean, quoted
from caffecompat.formats import read_net, read_weights, write_caffemodel, write_hdf5
from caffecompat.graph import build_graph
from caffecompat.graph.passes.insert_splits import split_blobs
from caffecompat.layers.data import DataLayer
from caffecompat.layers.memory_data import MemoryData
from caffecompat.layers.python import python_layers
from caffecompat.net.meanings import state_meanings
from caffecompat.net.saving import net_blobs, trained_message
from caffecompat.pycaffe._arguments import Array, PathLike, arguments, batches
from caffecompat.pycaffe._errors import runtime_errors
from caffecompat.pycaffe._passes import Callback, Passes
from caffecompat.pycaffe._python_layer import find_python_layer
from caffecompat.pycaffe._state import STATE
from caffecompat.solver.devices import own_parameters


class Net(Passes):
    """A net: `Net(file, phase, level=0, stages=None, weights=None)`, or in the old form `Net(file, weights, phase)`.

    Args:
        network_file: a prototxt of any age.
        phase: `TRAIN` or `TEST`.
        level: the level that rules of the prototxt may ask for.
        stages: the stages that rules of the prototxt may ask for.
        weights: a weight file, of any kind.

    Raises:
        CaffeCompatError: a file cannot be read, the layers make no net, the weights do not fit, or what a data layer
            reads is not there.
    """

    @runtime_errors()
    def __init__(self, network_file: PathLike, *args: Any, **named: Any) -> None:
        phase, level, stages, weights = arguments(args, named)
        graph = split_blobs(
            build_graph(read_net(network_file), phase, level=level, stages=stages, dialect=STATE.dialect)
        )
        sources = [] if weights is None else [read_weights(weights)]
        state_meanings(graph, sources)
        with python_layers(find_python_layer):
            net = core.Net(graph, reading=Reading(draws=STATE.draws, optional_results=True))
        for source in sources:
            net.copy_from(source)
        net.fill()
        if sources:
            # Caffe copies weights; a view of the file would be slower in every pass.
            own_parameters(net, torch.device("cpu"), plan=False)
        super().__init__(net)

    @classmethod
    def of(cls, net: core.Net) -> Net:
        """The net of a solver, as pycaffe shows it; its graph has the Split layers."""
        made = cls.__new__(cls)
        Passes.__init__(made, net)
        return made

    # --- passes

    def forward(
        self, blobs: Iterable[str] | None = None, start: str | None = None, end: str | None = None, **inputs: Array
    ) -> dict[str, Floats]:
        """A pass forward, or a part of one.

        Args:
            blobs: names of blobs to return beside the outputs.
            start: the layer to begin with.
            end: the last layer; its tops are returned in the place of the outputs.
            inputs: the values of all inputs; without them they stay as they are, and data layers read.

        Returns:
            Each blob's data, by name; later passes write into them while they are held.

        Raises:
            UsageError: no layer, blob or input has a name that is given, or an input is missing.
            ShapeError: an input has another batch size than its blob, or a layer refuses its bottoms.
        """
        first = 0 if start is None else self._number(start)
        last = len(self.layers) - 1 if end is None else self._number(end)
        wanted = [*(self.outputs if end is None else self.top_names[end]), *(blobs or ())]
        if inputs:
            self._assign(inputs, self.inputs, "data")
        self._forward(first, last)
        return {name: self._blob(name).data for name in wanted}

    def backward(
        self, diffs: Iterable[str] | None = None, start: str | None = None, end: str | None = None, **tops: Array
    ) -> dict[str, Floats]:
        """A pass backward, or a part of one. Diffs of parameters add up; those of blobs are replaced.

        Without `force_backward` in the net, it goes through those layers only that a loss depends on.

        Args:
            diffs: names of blobs whose diffs to return beside those of the inputs.
            start: the layer to begin with.
            end: the last layer; the diffs of its bottoms are returned in the place of the inputs'.
            tops: the diffs of all outputs; without them they stay as they are.

        Returns:
            Each blob's diff, by name.

        Raises:
            UsageError: no layer, blob or output has a name that is given, or an output is missing.
            ShapeError: a diff has another batch size than its blob.
        """
        first = len(self.layers) - 1 if start is None else self._number(start)
        last = 0 if end is None else self._number(end)
        wanted = [*(self.inputs if end is None else self.bottom_names[end]), *(diffs or ())]
        if tops:
            self._assign(tops, self.outputs, "diff")
        self._backward(first, last)
        return {name: self._blob(name).diff for name in wanted}

    def forward_all(self, blobs: Iterable[str] | None = None, **inputs: Array) -> dict[str, Array]:
        """Passes forward over inputs of any length, batch by batch.

        Args:
            blobs: names of blobs to return beside the outputs.
            inputs: the values of all inputs, as many items of each.

        Returns:
            Each blob's data of all items, by name.
        """
        found, _ = self._all(list(blobs or ()), None, inputs, {})
        return found

    def forward_backward_all(
        self, blobs: Iterable[str] | None = None, diffs: Iterable[str] | None = None, **arrays: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Passes forward and backward over inputs and diffs of any length, batch by batch.

        Args:
            blobs: names of blobs to return beside the outputs.
            diffs: names of blobs whose diffs to return beside those of the inputs.
            arrays: the values of all inputs, and the diffs of all outputs; either may be missing.

        Returns:
            Each blob's data, and each blob's diffs, by name.
        """
        inputs = {name: arrays[name] for name in self.inputs if name in arrays}
        tops = {name: arrays[name] for name in self.outputs if name in arrays}
        return self._all(list(blobs or ()), list(diffs or ()), inputs, tops)

    def _all(
        self, blobs: list[str], diffs: list[str] | None, inputs: Mapping[str, Array], tops: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        found: dict[str, list[Array]] = {name: [] for name in (*self.outputs, *blobs)}
        back: dict[str, list[Array]] = {name: [] for name in (*self.inputs, *(diffs or ()))}
        given = next(iter((inputs or tops).values()), None)
        if given is None:
            raise UsageError("expected arrays for the net's inputs", hint=f"inputs: {', '.join(self.inputs)}")
        size = self._blobs[0].shape[0]
        for forward, backward in zip_longest(batches(inputs, size), batches(tops, size), fillvalue=None):
            for name, array in self.forward(blobs, None, None, **(forward or {})).items():
                found[name].extend(array.copy())
            if diffs is not None:
                for name, array in self.backward(diffs, None, None, **(backward or {})).items():
                    back[name].extend(array.copy())
        return tuple({name: np.asarray(items)[: len(given)] for name, items in part.items()} for part in (found, back))  # type: ignore[return-value]

    def _number(self, layer: str) -> int:
        if layer not in self.layer_dict:
            raise UsageError(f"the net has no layer {quoted(layer)}", hint=did_you_mean(layer, self._layer_names))
        return self._layer_names.index(layer)

    def _blob(self, name: str) -> Blob:
        blob = self.blobs.get(name)
        if blob is None:
            raise UsageError(f"the net has no blob {quoted(name)}", hint=did_you_mean(name, self._blob_names))
        return blob

    def _assign(self, arrays: Mapping[str, Array], names: Sequence[str], half: str) -> None:
        if set(arrays) != set(names):
            what = "inputs" if half == "data" else "outputs"
            raise UsageError(f"expected arrays for the {what} {', '.join(names) or '(none)'}, got {', '.join(arrays)}")
        for name, array in arrays.items():
            blob, given = self.blobs[name], np.asarray(array)
            if given.shape[:1] != blob.shape[:1]:
                raise ShapeError(
                    f"{quoted(name)} has shape {blob.shape}, got an array of shape {given.shape}",
                    hint=f"net.blobs[{quoted(name)}].reshape{given.shape} before the pass changes the batch size",
                )
            try:
                getattr(blob, half)[...] = given
            except ValueError as error:
                raise ShapeError(f"{quoted(name)} has shape {blob.shape}: {error}") from error

    def reshape(self) -> None:
        """Give all blobs the shapes that follow from those of the inputs.

        Raises:
            ShapeError: a layer refuses its bottoms.
        """
        for layer in self._net.layers:
            if isinstance(layer, DataLayer):
                continue
            spec = layer.spec
            shapes = layer.shapes(*(self._blob_of[key].shape for key in spec.bottoms))
            for key, shape in zip(spec.tops, shapes, strict=True):
                self._blob_of[key].reshape(*shape)

    def before_forward(self, call: Callback) -> None:
        """Let `call(index)` be called before each layer of every pass forward."""
        self._callbacks["before_forward"].append(call)

    def after_forward(self, call: Callback) -> None:
        """Let `call(index)` be called after each layer of every pass forward."""
        self._callbacks["after_forward"].append(call)

    def before_backward(self, call: Callback) -> None:
        """Let `call(index)` be called before each layer of every pass backward."""
        self._callbacks["before_backward"].append(call)

    def after_backward(self, call: Callback) -> None:
        """Let `call(index)` be called after each layer of every pass backward."""
        self._callbacks["after_backward"].append(call)

    # --- parameters

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters to zero."""
        for layer in self.layers:
            for blob in layer.blobs:
                blob.diff[...] = 0

    @runtime_errors()
    def copy_from(self, weights: PathLike) -> None:
        """Take the weights of a file, layer by layer of the same name.

        Raises:
            CaffeCompatError: it cannot be read, or a blob of it does not fit.
        """
        self._net.copy_from(weights)

    def load_hdf5(self, weights: PathLike) -> None:
        """Take the weights of an HDF5 file, as `copy_from`."""
        self._net.copy_from(weights)

    def share_with(self, other: Net) -> None:
        """Use another net's parameters, layer by layer of the same name: one memory for both.

        Raises:
            UsageError: `other` is no net.
            WeightsError: a layer of the same name has another number of blobs, or blobs of another shape.
        """
        if not isinstance(other, Net):
            raise UsageError(f"share_with takes a net, got {type(other).__name__}")
        self._net.share_with(other._net)

    def save(self, path: PathLike) -> None:
        """Write the net and its weights as a `.caffemodel`, which the original loads.

        Raises:
            CaffeCompatError: the file cannot be written.
        """
        write_caffemodel(path, *self._saved())

    def save_hdf5(self, path: PathLike) -> None:
        """Write the weights as HDF5 (needs h5py), which the original loads."""
        write_hdf5(path, *self._saved())

    def _saved(self) -> tuple[Any, list[list[Floats]]]:
        self._prepare()
        message, indices = trained_message(self._net)
        blobs = net_blobs(self._net)
        return message, [[] if index is None else blobs[index] for index in indices]

    def set_input_arrays(self, data: Array, labels: Array) -> None:
        """Let the first layer, a MemoryData, read these.

        Args:
            data: (n, channels, height, width), n a multiple of its batch size.
            labels: n numbers.

        Raises:
            UsageError: the first layer is no MemoryData.
            ShapeError: they have other shapes.
        """
        first = self._net.layers[0]
        if not isinstance(first, MemoryData):
            raise UsageError(f"expected MemoryData as the first layer, got {first.spec.type}")
        first.set_arrays(np.asarray(data), np.asarray(labels))
