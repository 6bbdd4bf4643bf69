"""Flags as Caffe's own tools take them."""

from __future__ import annotations

import re

import click

_FLAG = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]+)(=.*)?", re.DOTALL)


class CaffeCommand(click.Command):
    """A command whose long options may be spelled as Caffe's: `-solver x`, `--sigint_effect=stop`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, after the flags got the spelling that click knows."""
        known = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [_spelled(arg, known) for arg in args[:end]] + args[end:])


def _spelled(argument: str, known: set[str]) -> str:
    match = _FLAG.fullmatch(argument)
    name = "--" + match[1].replace("_", "-") if match else ""
    return name + (match[2] or "") if match and name in known else argument
