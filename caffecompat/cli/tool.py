"""`caffecompat tool`: Caffe's other programs by their names."""

from __future__ import annotations

import click


@click.command(
    "tool", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run one of Caffe's tools by its name, with its flags: convert_imageset, convert_annoset and so on."""
    from caffecompat.cli.tools.calls import command_of
    from caffecompat.cli.tools.gflags import parse, switches_of
    from caffecompat.cli.tools.table import TOOLS, usage
    from caffecompat.errors import UsageError, quoted

    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, TOOLS))
        lines = [f"  {name:<{width}}  {tool.help}" for name, tool in TOOLS.items()]
        head = ["Usage: caffecompat tool NAME [FLAGS] ARGUMENTS...", "", "Tools (NAME --help tells more):"]
        click.echo("\n".join(head + lines))
        return
    name = arguments[0]
    tool = TOOLS.get(name)
    if tool is None:
        raise UsageError(f"expected the name of a tool, got {quoted(name)}", hint=f"they are: {', '.join(TOOLS)}")
    more = switches_of(command_of(tool.command)) if tool.command else {}
    given = parse(arguments[1:], {**more, **tool.flags})
    if given.help:
        click.echo(usage(name))
        return
    if not tool.least <= len(given.names) <= tool.most:
        raise UsageError(f"expected {tool.arguments}; got {quoted(' '.join(given.names) or 'nothing')}")

    from caffecompat.cli.tools.glog import as_glog

    with as_glog(f"{name}.cpp:1"):
        tool.run(given)
