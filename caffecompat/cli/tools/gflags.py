"""Command lines as gflags read them: `-x v`, `--x=v`, `-flag`, `-noflag`; flags and other arguments in any order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from caffecompat.errors import UsageError, quoted
from caffecompat.formats.text_file import read_bytes

ON, OFF = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")
_FLAG = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)(?:=(.*))?", re.DOTALL)
# Those of glog and of gflags themselves, true where they are switches. Logs go to stderr in any case.
_IGNORED: Mapping[str, bool] = {
    "alsologtoemail": False,
    "alsologtostderr": True,
    "colorlogtostderr": True,
    "drop_log_memory": True,
    "fromenv": False,
    "log_backtrace_at": False,
    "log_link": False,
    "log_prefix": True,
    "logbuflevel": False,
    "logbufsecs": False,
    "logemaillevel": False,
    "logmailer": False,
    "logtostderr": True,
    "max_log_size": False,
    "minloglevel": False,
    "stderrthreshold": False,
    "stop_logging_if_full_disk": True,
    "symbolize_stacktrace": True,
    "tryfromenv": False,
    "undefok": False,
    "v": False,
    "vmodule": False,
}
_HELP = frozenset({"help", "helpfull", "helpshort", "h"})
MAX_BYTES = 1 << 20
MAX_DEPTH = 8


@dataclass(frozen=True)
class Given:
    """A command line.

    Attributes:
        flags: the values of the flags that were given, the last of each; "true" or "false" of switches.
        names: the other arguments.
        help: whether the usage is asked for.
        switches: which of the flags are on or off.
    """

    flags: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    help: bool = False
    switches: frozenset[str] = frozenset()

    def options(self, *left_out: str) -> list[str]:
        """The flags as options of our commands, but for those named; what is empty or off is not given."""
        return [
            f"--{name.replace('_', '-')}" + ("" if name in self.switches else f"={value}")
            for name, value in self.flags.items()
            if name not in left_out and value != ("false" if name in self.switches else "")
        ]


def parse(arguments: Sequence[str], known: Mapping[str, bool]) -> Given:
    """Read a command line.

    Args:
        arguments: what was given.
        known: the tool's own flags, and whether each is a switch.

    Raises:
        UsageError: a flag is not known, lacks its value, or is a switch with a value that is neither on nor off.
        FormatError: a file of flags cannot be read.
    """
    flags: dict[str, str] = {}
    names: list[str] = []
    asked = False
    for name, value in _pairs(list(arguments), known, 0):
        if not name:
            names.append(value)
        elif name in _HELP:
            asked = True
        elif name in known:
            flags[name] = value
    return Given(flags, names, asked, frozenset(name for name, switch in known.items() if switch))


def switches_of(command: click.Command) -> dict[str, bool]:
    """The options of one of our commands by gflags' names, and whether each is a switch."""
    found = {}
    for param in command.params:
        if isinstance(param, click.Option):
            for spelling in param.opts:
                if spelling.startswith("--"):
                    found[spelling[2:].replace("-", "_")] = bool(param.is_flag)
    return found


def _pairs(arguments: list[str], known: Mapping[str, bool], depth: int) -> Iterator[tuple[str, str]]:
    """Each flag with its value; an argument that is no flag comes with the name ""."""
    all_known = {**_IGNORED, **known}
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        match = _FLAG.fullmatch(argument)
        if argument == "--":
            yield from (("", rest) for rest in arguments[position:])
            return
        if match is None:
            yield "", argument
            continue
        name, value = match[1].replace("-", "_"), match[2]
        if name in _HELP and name not in known:
            yield name, "true"
        elif all_known.get(name) or (value is None and all_known.get(name.removeprefix("no"))):
            yield _switch(name, value, all_known)
        elif name not in all_known and name != "flagfile":
            raise UsageError(f"expected a flag of this tool, got {quoted(argument)}", hint=_hint(known))
        else:
            if value is None:
                if position == len(arguments):
                    raise UsageError(f"expected a value after {argument}, got the end of the command line")
                value = arguments[position]
                position += 1
            if name == "flagfile":
                yield from _pairs(_flag_file(value, depth), known, depth + 1)
            else:
                yield name, value


def _switch(name: str, value: str | None, known: Mapping[str, bool]) -> tuple[str, str]:
    if not known.get(name):
        return name.removeprefix("no"), "false"
    word = "true" if value is None else value.lower()
    if word not in ON and word not in OFF:
        raise UsageError(f"--{name}: expected true or false, got {quoted(value)}")
    return name, "true" if word in ON else "false"


def _flag_file(path: str, depth: int) -> list[str]:
    if depth >= MAX_DEPTH:
        raise UsageError(f"--flagfile: expected at most {MAX_DEPTH} files that name each other, got more")
    text = read_bytes(Path(path), MAX_BYTES).decode("utf-8", "replace")
    lines = (line.strip() for line in text.splitlines())
    return [part for line in lines if line.startswith("-") for part in shlex.split(line)[:1]]


def _hint(known: Mapping[str, bool]) -> str:
    return "its flags are: " + ", ".join(f"-{name}" for name in sorted(known)) if known else "it has none"
