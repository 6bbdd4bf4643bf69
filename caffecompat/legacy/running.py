"""Running a script that was written for Caffe: `import caffe` gives the drop-in, Python 2 is translated."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from caffecompat.legacy import drop_in
from caffecompat.legacy.loading import Finder, Source, compile_text, decode, read_code, run, translated_files
from caffecompat.legacy.old_names import install_old_names
from caffecompat.legacy.opencv import offer_importer

HELPERS = str(Path(__file__).resolve().parent)
# Where a package is not called as its module is.
_PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "easydict": "easydict",
    "h5py": "h5py",
    "lmdb": "lmdb",
    "matplotlib": "matplotlib",
    "numba": "numba",
    "pandas": "pandas",
    "pydot": "pydot",
    "scipy": "scipy",
    "six": "six",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def run_script(
    script: str,
    arguments: Sequence[str],
    *,
    python2: bool = False,
    told: Callable[[Source], None] = lambda source: None,
) -> int:
    """Run a script as `python script arguments...` does, in this process.

    An exception of the script is shown as Python shows it. SystemExit passes through.

    Args:
        script: its file; "-" is standard input.
        arguments: its own.
        python2: whether it, and the modules of the user's that it imports, are Python 2's whatever they look like.
        told: called with each source that is translated.

    Returns:
        The exit status: 0, or 1 after an exception, or 130 if it was interrupted.

    Raises:
        FormatError: the script cannot be read, or is neither Python 3's nor Python 2's.
        CaffeCompatError: there is another `caffe`; see `drop_in.install`.
    """
    if script == "-":
        source = compile_text(decode(sys.stdin.buffer.read()), "<stdin>", python2=python2)
    else:
        source = read_code(script, python2=python2)
    if source.translation is not None:
        told(source)
    _set_path("" if script == "-" else str(Path(script).resolve().parent))
    sys.argv = [script, *arguments]
    drop_in.install()
    offer_importer()
    Finder(python2=python2, told=told).install()
    install_old_names()
    main = ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    try:
        run(source, main)
    except SystemExit:
        raise
    except KeyboardInterrupt as error:
        _show(error)
        return 130
    except BaseException as error:
        _show(error)
        return 1
    return 0


def _set_path(folder: str) -> None:
    """Let imports begin in the script's folder, and not where this program was started from."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[:1]
    sys.path.insert(0, folder)


def _show(error: BaseException) -> None:
    sys.stdout.flush()
    shown = traceback.TracebackException.from_exception(error, compact=True)
    _tidy(shown)
    print("".join(shown.format()), end="", file=sys.stderr)
    package = _PACKAGES.get((error.name or "").partition(".")[0]) if isinstance(error, ModuleNotFoundError) else None
    if package is not None:
        print(f"  The script needs a package that caffecompat does not: pip install {package}", file=sys.stderr)


def _tidy(shown: traceback.TracebackException) -> None:
    """Leave out our own frames around the script's, and columns, which are those of a translation."""
    frames = list(shown.stack)
    while frames and _is_ours(frames[0]):
        del frames[0]
    while frames and _is_ours(frames[-1]):
        del frames[-1]
    for frame in frames:
        for place in ("colno", "end_colno"):
            if frame.filename in translated_files and hasattr(frame, place):
                setattr(frame, place, None)
    shown.stack[:] = frames
    for inner in (shown.__cause__, shown.__context__):
        if inner is not None:
            _tidy(inner)


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(HELPERS)
