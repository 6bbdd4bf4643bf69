"""HDF5Output: a pass's data and labels as a file."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from caffecompat.errors import SchemaError, UnsupportedError
from caffecompat.formats.hdf5 import write_arrays
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer

AXES = 4


@layer("HDF5Output")
class HDF5Output(Layer):
    """Writes the first bottom as the dataset "data" and the second as "label" of the HDF5 file `file_name`.

    bottoms: both with N items and at most four axes; the datasets have four, float32. The file is replaced, whole,
    by the first pass. Caffe: a second pass is refused, for the datasets are there. Needs h5py.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.file_name = spec.message.hdf5_output_param.file_name
        if not self.file_name:
            raise self.error("hdf5_output_param.file_name is missing", kind=SchemaError)
        self._written = False

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        for key, bottom in zip(self.spec.bottoms, bottoms, strict=True):
            if len(bottom) > AXES:
                raise self.error(f'"{key.name}" must have at most {AXES} axes, got shape {bottom}')
        first, second = ((*bottom, *[1] * AXES)[:AXES] for bottom in bottoms)
        if first[0] != second[0]:
            raise self.error(f"data and labels must be of as many items, got shapes {bottoms[0]} and {bottoms[1]}")
        return ()

    def forward(self, data: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        self.shapes(tuple(data.shape), tuple(label.shape))
        if self._written:
            raise self.error(
                f"{self.file_name} has the data of a pass already, and HDF5Output writes one",
                hint='to collect more, set net.keep = "all" and take net.blobs after each pass',
                kind=UnsupportedError,
            )
        named = {"data": data, "label": label}
        write_arrays(self.file_name, {name: _four_axes(blob).numpy() for name, blob in named.items()})
        self._written = True
        return ()


def _four_axes(blob: Tensor) -> Tensor:
    """The values on the CPU in the four axes that Caffe's data sets have: missing ones are 1."""
    return blob.detach().cpu().float().reshape([*blob.shape, *[1] * (AXES - blob.ndim)])
