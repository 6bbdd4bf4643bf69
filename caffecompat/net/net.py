"""Net: the layers of a graph as a module."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.errors import CaffeCompatError, UsageError, WeightsError, did_you_mean, quoted
from caffecompat.formats.weights import Weights
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.layers import build
from caffecompat.layers.base import MAX_AXES, MAX_FILLED, MAX_VALUES, Layer, Shape
from caffecompat.layers.data import DataLayer
from caffecompat.layers.detection import DetectionOutput
from caffecompat.net.editing import replacement
from caffecompat.net.executor import Env, Executor, Hooks
from caffecompat.net.learnable import Learnable, learnable
from caffecompat.net.naming import escape
from caffecompat.net.sharing import share_between, share_within
from caffecompat.net.weights import Assigned, assign

if TYPE_CHECKING:
    from caffecompat.data.prefetch import Prefetcher
    from caffecompat.data.preprocessing import Preprocessing
    from caffecompat.data.source import Reading


class Outputs(dict[str, Tensor]):
    """The output blobs of a pass by name, and in `losses` each loss of the net with its weight."""

    losses: tuple[tuple[float, Tensor], ...] = ()


class Net(nn.Module):
    """A Caffe net: called with its inputs by name, it returns its outputs by name.

    Args:
        graph: what `caffecompat.graph.build_graph` made.
        input_shapes: shapes of inputs that the prototxt leaves open, or that differ from it.
        reading: let data layers read by themselves, in this way; without it they are fed like inputs.

    Attributes:
        graph: the graph it was made from.
        layers: the layers in order; each is also a child module under its escaped name.
        module_names: the escaped name of each layer, by its index.
        blob_shapes: the shape of every blob, as built.
        keep: names of blobs that `blobs` is to hold after a pass, or "all".
        blobs: the blobs of the last pass that `keep` asked for, by name.
        filled: names of the layers whose parameters came from their fillers.
        replaced: indices of the layers that were replaced: `net.fc8 = torch.nn.Linear(4096, 20)`.

    Raises:
        ShapeError: an input's shape is not known, or a layer does not fit its bottoms.
        UsageError: `input_shapes` names no input.
    """

    def __init__(
        self,
        graph: Graph,
        input_shapes: Mapping[str, Iterable[int]] | None = None,
        *,
        reading: Reading | None = None,
    ) -> None:
        super().__init__()
        self._reading = reading
        self.graph = graph
        self.keep: Collection[str] | Literal["all"] = frozenset()
        self.blobs: dict[str, Tensor] = {}
        self.filled: tuple[str, ...] = ()
        self.replaced: frozenset[int] = frozenset()
        self.layers: tuple[Layer, ...] = ()
        self.module_names: list[str] = []
        self.blob_shapes: dict[BlobKey, Shape] = {}
        self._input_keys = {key.name: key for key in graph.inputs}
        self._input_keys.update({name: self._input_keys[blob] for name, blob in self.input_names.items()})
        self._check_names(input_shapes or {})
        given = {
            self._input_keys[name].name: tuple(int(size) for size in shape)
            for name, shape in (input_shapes or {}).items()
        }
        self.layers = tuple([self._append(spec, given) for spec in graph.layers])
        share_within(self.layers)
        self._executor = Executor(graph, self.layers)
        self._needed = [key for spec in graph.layers if spec.type == "Input" for key in spec.tops]
        self._losses = tuple(
            (weight, key)
            for spec in graph.layers
            for weight, key in zip(spec.loss_weights, spec.tops, strict=False)
            if weight
        )
        self._always_kept = frozenset((*graph.outputs, *(key for _, key in self._losses)))
        self.train(graph.phase == "TRAIN")
        for layer in self.layers:
            if layer.spec.phase != graph.phase:
                layer.train(layer.spec.phase == "TRAIN")

    def _append(self, spec: LayerSpec, given: Mapping[str, Shape]) -> Layer:
        bottoms = [self.blob_shapes[key] for key in spec.bottoms]
        layer = build(spec, bottoms)
        try:
            if self._reading is not None and isinstance(layer, DataLayer):
                layer.read(self._reading)
            if isinstance(layer, DetectionOutput):
                layer.open_writers(self._reading)
            tops = layer.shapes_given(given) if isinstance(layer, DataLayer) else layer.shapes(*bottoms)
        except CaffeCompatError as error:
            spec.locate(error)
            raise
        for key, shape in zip(spec.tops, tops, strict=True):
            if len(shape) > MAX_AXES or prod(shape) > MAX_VALUES:
                raise layer.error(
                    f"{quoted(key.name)} would have shape {shape}; at most {MAX_AXES} axes and {MAX_VALUES} values "
                    "are possible"
                )
            self.blob_shapes[key] = shape
        name = escape(spec.name, lambda candidate: hasattr(self, candidate))
        self.add_module(name, layer)
        self.module_names.append(name)
        if self.graph.force_backward:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(True)
        return layer

    def __setattr__(self, name: str, value: Any) -> None:
        # Only a layer's module can be replaced; all else is as PyTorch has it.
        if isinstance(value, nn.Module) and name in self._modules and name in self.module_names:
            value = self._replace(self.module_names.index(name), value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._modules and name in self.module_names:
            raise UsageError(f"layer {quoted(name)} is part of the net", hint=f"net.{name} = torch.nn.Identity()")
        super().__delattr__(name)

    def _replace(self, index: int, module: nn.Module) -> Layer:
        """Put a module in the place of a layer: see `caffecompat.net.editing`."""
        old = self.layers[index]
        made = replacement(old, module, [self.blob_shapes[key] for key in old.spec.bottoms])
        self.layers = (*self.layers[:index], made, *self.layers[index + 1 :])
        self._executor.replace(index, made)
        specs = self.graph.layers
        self.graph = replace(self.graph, layers=(*specs[:index], made.spec, *specs[index + 1 :]))
        self.replaced |= {index}
        return made

    # --- running

    @property
    def inputs(self) -> list[str]:
        """Names of the blobs to feed, in order: the tops of Input and data layers."""
        return [key.name for key in self.graph.inputs]

    @property
    def outputs(self) -> list[str]:
        """Names of the blobs that a pass returns, alphabetical as Caffe numbers them."""
        return [key.name for key in self.graph.outputs]

    @cached_property
    def input_names(self) -> dict[str, str]:
        """Keyword to feed an input by, where its name is no identifier -> the name."""
        names: dict[str, str] = {}
        for name in self.inputs:
            if not name.isidentifier():
                names[escape(name, lambda candidate: candidate in names or candidate in self.inputs)] = name
        return names

    def forward(self, /, **inputs: Tensor | np.ndarray[Any, Any]) -> Outputs | dict[str, Tensor]:
        """Run the whole net.

        Args:
            inputs: a tensor or array for each input, float32 unless the layer that reads it says otherwise.

        Returns:
            The outputs by blob name.

        Raises:
            UsageError: an input is missing, or no input has that name.
            ShapeError: a layer refuses its bottoms.
        """
        env = self._feed(inputs)
        kept = self._kept()
        self.run(env, keep=kept)
        exporting = torch.compiler.is_compiling()
        outputs = {key.name: env[key] for key in self.graph.outputs}
        if exporting:
            return outputs
        if self.keep or self.blobs:
            self.blobs = {key.name: env[key] for name, key in self.graph.last.items() if self._asked(name)}
        if not self._losses:
            return outputs
        result = Outputs(outputs)
        result.losses = tuple((weight, env[key]) for weight, key in self._losses)
        return result

    def run(
        self,
        env: Env,
        start: int = 0,
        end: int | None = None,
        hooks: Hooks | None = None,
        keep: Collection[BlobKey] | None = None,
    ) -> None:
        """Run layers `start` up to `end` over `env`; see `Executor.run`."""
        self._executor.run(env, start, end, hooks, keep)

    def loss(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The loss of a pass: each loss blob summed, times its loss_weight, those that are not outputs included.

        Args:
            outputs: what the call of the net returned.

        Returns:
            A scalar with the gradient graph of the pass.

        Raises:
            UsageError: the net has no loss, or `outputs` is not of a call of this net.
        """
        if not self._losses:
            raise UsageError("the net has no loss", hint="load the train prototxt, with phase='TRAIN'")
        if not isinstance(outputs, Outputs):
            raise UsageError(f"expected what the call of the net returned, got {type(outputs).__name__}")
        return torch.stack([weight * blob.sum() for weight, blob in outputs.losses]).sum()

    @cached_property
    def loss_weights(self) -> dict[str, float]:
        """The blobs that the loss is made of, with their weights."""
        return {key.name: weight for weight, key in self._losses}

    def _asked(self, name: str) -> bool:
        return self.keep == "all" or name in self.keep

    def _kept(self) -> frozenset[BlobKey]:
        if not self.keep:
            return self._always_kept
        unknown = [] if self.keep == "all" else [name for name in self.keep if name not in self.graph.last]
        if unknown:
            raise UsageError(
                f"keep names {quoted(unknown[0])}, which is no blob of the net",
                hint=did_you_mean(unknown[0], self.graph.last),
            )
        return self._always_kept.union(key for name, key in self.graph.last.items() if self._asked(name))

    def _feed(self, inputs: Mapping[str, Tensor | np.ndarray[Any, Any]]) -> Env:
        self._check_names(inputs)
        env: Env = {}
        for name, value in inputs.items():
            env[self._input_keys[name]] = value if isinstance(value, Tensor) else torch.as_tensor(value)
        for key in self._needed:
            if key not in env:
                raise UsageError(f"input {quoted(key.name)} is missing", hint=f"inputs: {', '.join(self.inputs)}")
        return env

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._input_keys:
                raise UsageError(
                    f"the net has no input {quoted(name)}; its inputs are {', '.join(self.inputs) or 'none'}",
                    hint=did_you_mean(name, self._input_keys),
                )

    def __getstate__(self) -> dict[str, Any]:
        # Blobs of a pass may hang in a graph of gradients, which can be neither copied nor pickled.
        return {**self.__dict__, "blobs": {}}

    # --- parameters

    @property
    def learnable(self) -> list[Learnable]:
        """The parameters in the order of Caffe's snapshots: owners only, BatchNorm's statistics included."""
        return learnable(self.layers)

    def layer(self, name: str) -> Layer:
        """The (first) layer of this name, as the prototxt spells it.

        Raises:
            UsageError: there is none.
        """
        for layer in self.layers:
            if layer.spec.name == name:
                return layer
        names = [layer.spec.name for layer in self.layers]
        raise UsageError(f"the net has no layer {quoted(name)}", hint=did_you_mean(name, names))

    def copy_from(self, weights: Weights | str | os.PathLike[str]) -> Assigned:
        """Take the weights of a file, layer by layer of the same name; layers the net lacks are passed over.

        Parameters that have no memory yet become views of the file; others are copied into.

        Raises:
            WeightsError: a layer of the same name has another number of blobs, or blobs of another shape.
        """
        if not isinstance(weights, Weights):
            from caffecompat.formats import read_weights

            weights = read_weights(weights)
        return assign(self.layers, weights)

    def share_with(self, other: Net) -> None:
        """Use another net's parameters, layer by layer of the same name: one memory for both (train and test nets).

        Raises:
            WeightsError: a layer of the same name has another number of blobs, or blobs of another shape.
        """
        share_between(self.layers, other.layers)

    def fill(self) -> None:
        """Give the parameters that no weight file assigned the values of their fillers.

        Raises:
            WeightsError: they are more than 2**30 values, of all layers together.
            SchemaError: a filler is not known or cannot fill its parameter.
        """
        values = 0
        for layer in self.layers:
            values += sum(getattr(layer, name).numel() for name in layer.unfilled)
            if values > MAX_FILLED:
                raise layer.error(
                    f"up to here {values} values have no weights; fillers make at most {MAX_FILLED}",
                    hint="give the weights, or lower num_output",
                    kind=WeightsError,
                )
        self.filled = (*self.filled, *(layer.spec.name for layer in self.layers if layer.fill()))

    @property
    def readers(self) -> list[Prefetcher]:
        """What reads the batches of its data layers, in the order of the layers."""
        return [layer.reader for layer in self.layers if isinstance(layer, DataLayer) and layer.reader is not None]

    def close(self) -> None:
        """Stop reading: threads end, files and databases are let go of; finish what layers write.

        Raises:
            CaffeCompatError: a file of results cannot be written.
        """
        for reader in self.readers:
            reader.close()
        for layer in self.layers:
            if isinstance(layer, DetectionOutput):
                layer.close()

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What turns a picture into this net's input, as far as the prototxt says."""
        from caffecompat.data.preprocessing import Preprocessing

        base = Path(self.graph.file).parent if self.graph.file else None
        built = {key.name: self.blob_shapes[key] for key in self.graph.inputs}
        return Preprocessing.from_graph(self.graph, base_dir=base, input_shapes=built)
