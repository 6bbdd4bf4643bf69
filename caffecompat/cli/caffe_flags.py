"""Flags as Caffe's own tools take them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

_FLAG = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]+)(=.*)?", re.DOTALL)
# What gflags takes as the value of a flag that is on or off.
_ON, _OFF = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")


class CaffeCommand(click.Command):
    """A command whose options may be spelled as Caffe's: `-solver x`, `--sigint_effect=stop`, `--shuffle=false`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, after the flags got the spelling that click knows."""
        known: dict[str, bool] = {}
        for param in self.params:
            switch = isinstance(param, click.Option) and param.is_flag
            known |= dict.fromkeys((*param.opts, *param.secondary_opts), switch)
        end = args.index("--") if "--" in args else len(args)
        spelled = [new for arg in args[:end] for new in _spelled(arg, known)]
        return super().parse_args(ctx, spelled + args[end:])


def _spelled(argument: str, known: Mapping[str, bool]) -> list[str]:
    """An argument as click knows it; none for a flag that is off.

    Args:
        argument: what was given.
        known: the names of the options, and whether each is on or off.
    """
    match = _FLAG.fullmatch(argument)
    if match is None:
        return [argument]
    name, value = "--" + match[1].replace("_", "-"), (match[2] or "").lower()
    # gflags' way to say that a switch is off.
    off = "--" + name.removeprefix("--no")
    if name not in known and known.get(off) and not value:
        name, value = off, "=no"
    if not known.get(name):
        return [name + (match[2] or "") if name in known else argument]
    if value[1:] in _OFF:
        return [no for no in ("--no-" + name[2:],) if no in known]
    return [name if value[1:] in _ON else name + (match[2] or "")]
