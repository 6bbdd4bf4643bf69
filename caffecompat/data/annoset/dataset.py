"""A folder of databases, one for each split, with the texts that belong to them: lists, sizes and the label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat.data.annoset.boxes import Marked
from caffecompat.data.annoset.record import Entry, Outcome
from caffecompat.data.draws import Draws
from caffecompat.errors import FormatError

TAB = "\t"


@dataclass(frozen=True)
class Split:
    """A part of a data set, which becomes one database.

    Attributes:
        name: such as "trainval".
        entries: its images, in the order of their records.
        sizes_name: what the list of sizes is called, without its suffix; "" takes the name.
    """

    name: str
    entries: Sequence[Entry]
    sizes_name: str = ""

    def shuffled(self, seed: int) -> Split:
        """The same in random order, the same for the same seed."""
        order = Draws(seed).shuffled(len(self.entries))
        return Split(self.name, [self.entries[item] for item in order], self.sizes_name)

    def listed(self) -> str:
        """The list of its images, one in a line, with their annotations; a tab between them where names hold spaces."""
        lines = []
        for entry in self.entries:
            spaced = len(f"{entry.name} {entry.listed}".split()) > 2
            lines.append(f"{entry.name}{TAB if spaced else ' '}{entry.listed}".rstrip() + "\n")
        return "".join(lines)

    def sizes(self, outcomes: Sequence[Outcome]) -> str:
        """The list of sizes: name, height and width of each image that has a record, in the order of the records."""
        lines = []
        for entry, outcome in zip(self.entries, outcomes, strict=True):
            if outcome.sizes is not None and outcome.file_size is not None:
                height, width = outcome.file_size
                # White space ends the name there.
                name = "_".join((entry.size_name or entry.name).split())
                lines.append(f"{name} {height} {width}\n")
        return "".join(lines)


@dataclass(frozen=True)
class Layout:
    """Where things lie in the folder.

    Attributes:
        name: of the data set; "" puts no name before those of the databases.
        caffe: as the prototxts of SSD's authors name them, from a folder that is as Caffe's: `examples/NAME` holds the
            databases and `data/NAME` the texts.
        label_map: what the label map is called.
    """

    name: str
    caffe: bool = False
    label_map: str = "labelmap.prototxt"

    def database(self, split: str) -> str:
        """The path of a split's database."""
        file = f"{self.name}_{split}_lmdb" if self.name else f"{split}_lmdb"
        return f"examples/{self.name}/{file}" if self.caffe else file

    def text(self, file: str) -> str:
        """The path of a text."""
        return f"data/{self.name}/{file}" if self.caffe else file


def names_of(entries: Sequence[Entry]) -> list[str]:
    """The names of all classes that boxes have, in alphabetical order.

    Raises:
        FormatError: there are none.
    """
    found = {box.name for entry in entries if isinstance(entry.marks, Marked) for box in entry.marks.boxes}
    names = sorted(str(name) for name in found)
    if not names:
        fault = next((entry.marks for entry in entries if isinstance(entry.marks, FormatError)), None)
        raise fault or FormatError("expected boxes, got none at all")
    return names
