"""The one place where faults become messages on stderr and exit statuses; a user sees no traceback.

0: done. 1: a fault of the input. 2: wrong usage. 130: interrupted. A closed pipe ends quietly.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UsageError, presentable

FAULT = 1
USAGE = 2
INTERRUPTED = 130


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Print every `CaffeCompatWarning` as one line on stderr, each text once."""
    show = warnings.showwarning
    seen: set[str] = set()

    def note(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, CaffeCompatWarning):
            show(message, category, filename, lineno, file, line)
        elif str(message) not in seen:
            seen.add(str(message))
            tell(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", CaffeCompatWarning)
        warnings.showwarning = note
        yield


def tell(text: str) -> None:
    """Print a note on stderr; the names in it come from files and may hold anything."""
    click.echo(presentable(text), err=True)


def run_guarded(call: Callable[[], Any]) -> NoReturn:
    """Call, and exit with the status that fits what came of it."""
    try:
        with notes_on_stderr():
            result = call()
            sys.stdout.flush()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CaffeCompatError as error:
        status = USAGE if isinstance(error, UsageError) else FAULT
        if error.told:
            sys.exit(status)
        fail(f"Error: {error}", status)
    except (click.Abort, KeyboardInterrupt):
        fail("Interrupted.", INTERRUPTED)
    except BrokenPipeError:
        _close_pipe()
        sys.exit(FAULT)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        fail(f"Error: {place}{error.strerror or error}", FAULT)
    except Exception as error:
        if os.environ.get("CAFFECOMPAT_TRACEBACK"):
            raise
        fail(_unexpected(error), FAULT)
    sys.exit(result if isinstance(result, int) else 0)


def fail(message: str, status: int) -> NoReturn:
    """Print a message on stderr and exit."""
    click.echo(message, err=True)
    sys.exit(status)


def _unexpected(error: Exception) -> str:
    """What to say of an exception that no input should be able to cause, lack of memory excepted."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
        return "Error: not enough memory; a smaller --batch or --input-shape needs less"
    name = type(error).__name__
    return (
        f"Internal error: {name}: {error}\n  A fault of caffecompat; CAFFECOMPAT_TRACEBACK=1 shows where it happened."
    )


def _close_pipe() -> None:
    """Keep the interpreter from writing to the closed pipe once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
