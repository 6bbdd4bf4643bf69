"""A split of a data set written as ImageLabelData reads it: new label maps, and the two lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from caffecompat.data.in_order import in_order
from caffecompat.data.segmentation.converting import Convert, Pair, converted
from caffecompat.errors import CaffeCompatError, FormatError, UsageError, quoted


class SplitImport:
    """Writes the label maps of a split, and then its lists.

    Args:
        name: what the split is called.
        folder: where it is written.
        final: where the folder will lie when all is complete, which is what the list of label maps says.
        relative: names are listed as they stand in this folder of pictures, and in the new one; None lists paths.

    Attributes:
        taken: the pairs that were sound, in order.

    Raises:
        UsageError: a list cannot hold these paths.
    """

    def __init__(self, name: str, folder: Path, final: Path, relative: Path | None) -> None:
        self.name = name
        self.taken: list[Pair] = []
        self._folder = folder
        self._final = final
        self._relative = relative
        self._labels = Path("labels") / name
        for path in (final, relative):
            if relative is None and path is not None and not _listable(str(path)):
                raise UsageError(
                    f"white space ends a name in the lists, and {quoted(str(path))} holds some",
                    hint="--relative lists names without the folders",
                )

    def write(self, pairs: Sequence[Pair], convert: Convert, workers: int) -> Iterator[FormatError | None]:
        """Write label maps: for each pair what is wrong with it, or None.

        Args:
            pairs: the split.
            convert: reads a label map.
            workers: how many threads work.

        Raises:
            CaffeCompatError: a file cannot be written.
        """
        if any(pair.label is not None for pair in pairs):
            try:
                (self._folder / self._labels).mkdir(parents=True)
            except OSError as error:
                raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=self._folder) from error

        def work(pair: Pair) -> FormatError | None:
            return self._written(pair, convert)

        for pair, fault in zip(pairs, in_order(work, pairs, workers), strict=True):
            if fault is None:
                self.taken.append(pair)
            yield fault

    def _written(self, pair: Pair, convert: Convert) -> FormatError | None:
        listed = str(self._listed(pair.image))
        if not _listable(listed) or not _listable(pair.name):
            return FormatError("white space ends a name in the lists, and this one holds some", file=pair.image)
        try:
            data = converted(pair, convert)
        except FormatError as error:
            return error
        if data is not None:
            path = self._folder / self._labels / f"{pair.name}.png"
            try:
                path.write_bytes(data)
            except OSError as error:
                raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=path) from error
        return None

    def _listed(self, image: Path) -> Path:
        return image.absolute() if self._relative is None else image.relative_to(self._relative)

    def lists(self) -> dict[str, str]:
        """The lists by their names: the pictures, and if there are any the label maps, line by line."""
        made = {f"{self.name}_images.txt": "".join(f"{self._listed(pair.image)}\n" for pair in self.taken)}
        folder = self._labels if self._relative is not None else self._final.absolute() / self._labels
        if any(pair.label is not None for pair in self.taken):
            made[f"{self.name}_labels.txt"] = "".join(f"{folder / pair.name}.png\n" for pair in self.taken)
        return made


def _listable(name: str) -> bool:
    """Whether a list of names keeps this one whole."""
    return len(name.split()) == 1 and name == name.strip()
