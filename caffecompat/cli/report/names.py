"""What classes are called on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from caffecompat.cli.errors import tell
from caffecompat.data.labels import read_labels
from caffecompat.errors import CaffeCompatError, shown
from caffecompat.graph.spec import Graph


class Names:
    """The names of classes.

    Args:
        names: by class; those without one are called by their number.
        background: the class that means nothing is there, or None.
    """

    def __init__(self, names: Mapping[int, str] | Sequence[str] = (), background: int | None = None) -> None:
        given = names.items() if isinstance(names, Mapping) else enumerate(names)
        self._names = {label: name for label, name in given if name}
        self._background = background

    def __call__(self, label: int) -> str:
        """The name of a class, or its number."""
        if label == self._background:
            return "background"
        return shown(self._names[label]) if label in self._names else str(label)

    def of_boxes(self, background: int) -> Names:
        """The same, for boxes: `background` is no class."""
        return Names(self._names, background)


def read_names(graph: Graph, given: Path | None) -> Names:
    """The names of a net's classes.

    Args:
        graph: the net; else the first label_map_file that a layer states is taken, if it can be read.
        given: a label map, or a text with a name in each line.

    Raises:
        FormatError: `given` cannot be read.
    """
    labels = read_labels(given) if given is not None else stated_labels(graph)
    return Names(labels) if labels else Names()


def stated_labels(graph: Graph) -> tuple[str, ...]:
    """The names in the first label_map_file that a layer states; none if there is none, or if it cannot be read."""
    for spec in graph.layers:
        param = spec.message
        for file in (
            param.annotated_data_param.label_map_file,
            param.detection_output_param.save_output_param.label_map_file,
        ):
            if not file:
                continue
            try:
                return read_labels(spec.find(file, "label_map_file"))
            except CaffeCompatError as error:
                tell(f"classes are shown as numbers, for the label map cannot be read: {error}")
                return ()
    return ()
