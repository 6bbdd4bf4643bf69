"""Snapshots: the weights and the solver's state, written so that a state that exists has the rest whole; and read.

Source of the rules: Solver::Snapshot, SGDSolver::SnapshotSolverState and RestoreSolverState, and BVLC's
UpgradeSnapshotPrefixProperty.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, FormatError, UsageError, context, located, quoted
from caffecompat.formats import read_solverstate, read_weights, write_caffemodel, write_hdf5, write_solverstate
from caffecompat.formats.atomic import remove_leftovers
from caffecompat.formats.hdf5 import import_h5py
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.formats.solverstate import SolverState
from caffecompat.formats.weights import RealArray, WeightBlob
from caffecompat.graph.dialects import DIALECTS
from caffecompat.net.saving import net_blobs, net_diffs, trained_message
from caffecompat.schema import caffe_pb2
from caffecompat.solver.options import Options
from caffecompat.solver.sidecar import apply_sidecar, read_sidecar, sidecar_path, write_sidecar

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

_NEEDED = 'state one, such as snapshot_prefix: "snapshots/mynet"'


class Snapshots:
    """Writes and reads the snapshots of one solver.

    They are called after `snapshot_prefix`, which starts in the working directory, or in `options.root`. Where the
    solver states none, it is the path of the solver's file without its extension, as in BVLC's Caffe: snapshots then
    lie beside that file, whatever the root. In the dialect "bvlc" a prefix that is a folder gets the name of the
    solver's file behind it; in the dialect "ssd" it is taken as it is, and `snapshot` needs one.

    Args:
        parsed: the solver.
        options: how it is run.
        writes: whether this process writes the snapshots, and must be able to.

    Attributes:
        prefix: how the names of the files begin, as the solver states it; None if there is none.

    Raises:
        UsageError: `snapshot` without `snapshot_prefix`.
        UnsupportedError: snapshots in HDF5, and h5py is not installed.
        CaffeCompatError: the prefix's folder does not exist, or nothing can be written there.
    """

    def __init__(self, parsed: ParsedSolver, options: Options, writes: bool = True) -> None:
        self._parsed = parsed
        self._root = Path(options.root or ".")
        self._exact = options.exact_resume
        self._hdf5 = parsed.message.snapshot_format == caffe_pb2.SolverParameter.HDF5
        # States that this run wrote or went on from; any other of the same name is of another run.
        self._own: set[Path] = set()
        self._swept = False
        self.prefix = self._named(DIALECTS[options.dialect].solver_names_snapshots)
        if parsed.message.snapshot > 0 and writes:
            self.check()

    def _named(self, by_solver: bool) -> str | None:
        message, file = self._parsed.message, self._parsed.file
        if message.HasField("snapshot_prefix"):
            prefix: str = message.snapshot_prefix
            if "\0" in prefix:
                error = UsageError(f"expected the beginning of a path as snapshot_prefix, got {quoted(prefix)}")
                raise located(error, self._parsed.position("snapshot_prefix", 0))
            if by_solver and file is not None and (self._root / prefix).is_dir():
                return os.path.join(prefix, Path(file).stem)
            return prefix
        if message.snapshot > 0 and not (by_solver and file is not None):
            error = UsageError("snapshot is given and snapshot_prefix is not", hint=_NEEDED)
            raise located(error, self._parsed.position("snapshot", 0))
        if file is None:
            return None
        # The file's path starts in the working directory, not in the root.
        return os.path.splitext(file if self._root == Path(".") else os.path.abspath(file))[0]

    def check(self) -> None:
        """Check that snapshots can be written.

        Raises:
            UsageError: the solver states no `snapshot_prefix`.
            UnsupportedError: they are HDF5, and h5py is not installed.
            CaffeCompatError: the prefix's folder does not exist, or nothing can be written there.
        """
        if self.prefix is None:
            raise UsageError("the solver states no snapshot_prefix", hint=_NEEDED)
        if self._hdf5:
            import_h5py()
        folder = (self._root / f"{self.prefix}_").parent
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise located(
                CaffeCompatError(
                    f"snapshots cannot be written to snapshot_prefix {quoted(self.prefix)}: {error.strerror}",
                    hint=f"the folder {folder.resolve()} must exist, and you must be able to write there",
                ),
                self._parsed.position("snapshot_prefix", 0),
            ) from error

    # --- writing

    def path(self, iteration: int) -> Path | None:
        """Where the state of an iteration is written; None without `snapshot_prefix`."""
        return None if self.prefix is None else self._state(f"{self.prefix}_iter_{iteration}")

    def _state(self, name: str) -> Path:
        return self._root / f"{name}.solverstate{'.h5' if self._hdf5 else ''}"

    def write(self, solver: Solver) -> Path:
        """Write a snapshot: the weights, the sidecar where it is asked for, and at last the state.

        With an exact resume, each of several processes calls it and writes a sidecar of its own.

        Args:
            solver: whose it is.

        Returns:
            The path of the `.solverstate`.

        Raises:
            UsageError: the solver states no `snapshot_prefix`.
            CaffeCompatError: a file cannot be written.
        """
        if self.prefix is None:
            raise UsageError("the solver states no snapshot_prefix", hint=_NEEDED)
        name = f"{self.prefix}_iter_{solver.iteration}"
        suffix, kind = (".h5", "HDF5") if self._hdf5 else ("", "binary proto")
        state = self._state(name)
        first = solver.group.rank == 0
        if first:
            solver.say(f"Snapshotting to {kind} file {name}.caffemodel{suffix}", f"solver.cpp:{606 if suffix else 596}")
            if not self._swept:
                _sweep(state.parent, Path(f"{self.prefix}_").name)
                self._swept = True
            if state not in self._own:
                _remove(state)
            self._write_weights(solver, self._root / f"{name}.caffemodel{suffix}")
        if self._exact:
            write_sidecar(sidecar_path(state, solver.group), solver)
            # Nobody has the mean before all have come here: the sidecars of all are written.
            solver.group.mean(0.0)
        if first:
            place = f"sgd_solver.cpp:{317 if suffix else 308}"
            solver.say(f"Snapshotting solver state to {kind} file {name}.solverstate{suffix}", place)
            write_solverstate(state, _state_of(solver, f"{name}.caffemodel{suffix}"), self._hdf5)
            self._own.add(state)
        return state

    def _write_weights(self, solver: Solver, path: Path) -> None:
        message, indices = trained_message(solver.net)

        def by_layer(arrays: Sequence[Sequence[RealArray]]) -> list[Sequence[RealArray]]:
            return [[] if index is None else arrays[index] for index in indices]

        diffs = by_layer(net_diffs(solver.net)) if self._parsed.message.snapshot_diff else None
        write = write_hdf5 if self._hdf5 else write_caffemodel
        write(path, message, by_layer(net_blobs(solver.net)), diffs)

    # --- reading

    def restore(self, solver: Solver, path: Path) -> bool:
        """Go on from a snapshot.

        Args:
            solver: which is to go on.
            path: the `.solverstate` or `.solverstate.h5`.

        Returns:
            Whether random state and the readers' positions were taken up.

        Raises:
            FormatError: a file is not there, cannot be read or is broken.
            WeightsError: the snapshot is of another net or another type of solver.
        """
        state = read_solverstate(path)
        weights = read_weights(find_weights(state, path, self._root))
        beside = sidecar_path(path, solver.group)
        content = read_sidecar(beside, solver, state.iteration) if self._exact else None
        solver.say("SGDSolver: restoring history", "sgd_solver.cpp:356")
        with context(file=path):
            solver.update.load_history([blob.array for blob in state.history])
        with context(file=weights.file):
            matched = solver.net.copy_from(weights).matched
        solver.net.filled = tuple(name for name in solver.net.filled if name not in matched)
        solver.iteration = state.iteration
        solver.rate.current_step = state.current_step
        solver.rate.minimum_loss = state.minimum_loss
        solver.rate.iter_last_event = state.iter_last_event
        if content is not None:
            apply_sidecar(beside, solver, content)
        self._own.add(path)
        return content is not None


def _state_of(solver: Solver, learned_net: str) -> SolverState:
    history = tuple(WeightBlob(tensor.detach().cpu().float().numpy()) for tensor in solver.update.history())
    rate = solver.rate
    return SolverState(
        solver.iteration, learned_net, history, rate.current_step, rate.minimum_loss, rate.iter_last_event
    )


def _remove(path: Path) -> None:
    """Take away the state of another run, which must not stand beside our weights."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CaffeCompatError(f"cannot be replaced: {error.strerror}", file=path) from error


def _sweep(folder: Path, start: str) -> None:
    """Take away what a run of this prefix that was killed while it wrote has left: a net's size each time."""
    pattern = re.compile(rf"{re.escape(start)}iter_[0-9]+\.(caffemodel|solverstate)\b.*")
    remove_leftovers(folder, pattern.fullmatch)


def find_weights(state: SolverState, path: Path, root: Path | None = None) -> Path:
    """The weights of a solver state: at their path, then beside the state, then under the state's own name.

    Args:
        state: the state.
        path: where it lies.
        root: the folder that the path of the weights starts in, in the place of the working directory.

    Raises:
        FormatError: they are at none of these places.
    """
    places = []
    if state.learned_net:
        places = [Path(root or ".") / state.learned_net, path.parent / re.split(r"[/\\]", state.learned_net)[-1]]
    name = path.name.removesuffix(".h5")
    own = path.with_name(name.removesuffix(".solverstate") + ".caffemodel")
    forms = [own, own.with_name(own.name + ".h5")]
    places += forms if name == path.name else forms[::-1]
    for place in places:
        if os.path.isfile(place):
            return place
    tried = ", ".join(dict.fromkeys(str(place) for place in places))
    raise FormatError(
        f"the weights {quoted(state.learned_net)} of this state are not there",
        file=path,
        hint=f"looked for {tried}; put them beside the state",
    )


def latest(prefix: str | os.PathLike[str], root: Path | None = None) -> Path | None:
    """The newest whole snapshot of a prefix: that of the highest iteration whose state and weights can be read.

    Args:
        prefix: how the names of the files begin.
        root: the folder that paths start in, in the place of the working directory.

    Returns:
        The path of its `.solverstate` or `.solverstate.h5`, or None if there is none.
    """
    for path in _states(Path(root or ".") / f"{os.fspath(prefix)}_"):
        try:
            read_weights(find_weights(read_solverstate(path), path, root))
        except CaffeCompatError:
            continue
        return path
    return None


def _states(start: Path) -> Iterator[Path]:
    """The states whose names begin like a path (which ends with an underscore), the highest iteration first."""
    pattern = re.compile(re.escape(start.name) + r"iter_([0-9]{1,18})\.solverstate(\.h5)?")
    try:
        names = os.listdir(start.parent)
    except OSError:
        return
    found = [(int(match[1]), name) for name in names if (match := pattern.fullmatch(name))]
    for _, name in sorted(found, reverse=True):
        yield start.with_name(name)
