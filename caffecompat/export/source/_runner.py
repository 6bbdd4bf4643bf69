"""Runs a written module on arrays, as its user would: `verifying` starts it as `python -I`.

Arguments: the module's file; an `.npz` with its inputs in order; the `.npz` to write; and JSON, an object of
"threads", how many to use; "folders", where else to import from; "recorded", functions whose arguments are to be kept.
What is written is called outputs/PLACE and FUNCTION/CALL/PLACE.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any


def main(path: str, inputs: str, outputs: str, options: str) -> None:
    """Run it."""
    settings = json.loads(options)
    sys.dont_write_bytecode = True
    sys.path += settings["folders"]
    # What is to run without this package shall not find it.
    sys.modules["caffecompat"] = None  # type: ignore[assignment]
    import numpy
    import torch

    torch.set_num_threads(settings["threads"])
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    calls: dict[str, list[list[Any]]] = {name: [] for name in settings["recorded"]}
    for name in calls:
        owner = next((each for each in (module, torch.nn.functional) if hasattr(each, name)), None)
        if owner is not None:
            setattr(owner, name, _recording(getattr(owner, name), calls[name]))
    given = numpy.load(inputs)
    values = [torch.from_numpy(given[f"arr_{place}"]) for place in range(len(module.INPUTS))]
    with torch.inference_mode():
        results = module.load()(*values)
    each = results.values() if isinstance(results, dict) else [results]
    found = {f"outputs/{place}": value.float().numpy() for place, value in enumerate(each)}
    for name, kept in calls.items():
        for number, call in enumerate(kept):
            found.update({f"{name}/{number}/{place}": value for place, value in enumerate(call)})
    numpy.savez(outputs, **found)


def _recording(function: Callable[..., Any], calls: list[list[Any]]) -> Callable[..., Any]:
    """The function, which keeps the arrays that it is called with."""

    @functools.wraps(function)
    def recording(*args: Any, **options: Any) -> Any:
        calls.append([value.float().numpy().copy() for value in args if hasattr(value, "numpy")])
        return function(*args, **options)

    return recording


if __name__ == "__main__":
    main(*sys.argv[1:])
