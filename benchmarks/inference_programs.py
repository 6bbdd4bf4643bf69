"""The programs of inference.py, and their processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.engines import available
from caffecompat.engines.registry import Precision

WORKER = Path(__file__).resolve().parent / "inference_worker.py"
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True)
class Program:
    """One that is measured.

    Attributes:
        title: its name in the table.
        python: the Python that has it.
        precision: what it computes in.
        ours: it is an engine of ours, not a peer.
        job: what the worker is told besides the net.
    """

    title: str
    python: Path
    precision: str
    ours: bool
    job: dict[str, str] = field(default_factory=dict)


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return any(flag in flags for flag in BFLOAT16)


def programs(peers: Path, only: Sequence[str] | None) -> list[Program]:
    """All that can be measured here, or those of them whose titles begin as asked."""
    here = Path(sys.executable)
    if not peers.exists():
        print(f"no peers of {peers}: make bench-peers")
    found = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
    for precision in precisions:
        found += [
            Program(f"ours: {engine}", here, precision, True, {"program": "ours", "engine": engine})
            for engine in available(precision)
        ]
        if peers.exists() and precision == "float32":
            found += [Program(name, peers, precision, False, {"program": name}) for name in ("opencv", "onnxruntime")]
        if peers.exists():
            found.append(Program("openvino", peers, precision, False, {"program": "openvino"}))
        for title, layout in (("torch", "contiguous_format"), ("torch channels_last", "channels_last")):
            found.append(Program(title, here, precision, False, {"program": "torch", "layout": layout}))
    return [program for program in found if only is None or program.title.startswith(tuple(only))]


class Worker:
    """A process that has loaded a net and waits to be told to run.

    Attributes:
        fault: why it could not load or run the net, or "".
        expected: seconds of a pass after a few.
    """

    def __init__(self, program: Program, job: Mapping[str, Any]) -> None:
        told = {**job, **program.job, "precision": program.precision}
        environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [program.python, str(WORKER), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=environment,
        )
        answer = self._answer()
        self.fault: str = answer.get("fault", "")
        self.expected: float = answer.get("seconds", 0.0)

    def outputs(self, path: Path) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs by blob name; they come by way of a file."""
        self._ask({"save": str(path)})
        with np.load(path) as found:
            return dict(found)

    def run(self, count: int) -> list[float]:
        """Seconds of each of so many passes."""
        seconds: list[float] = self._ask({"runs": count})["seconds"]
        return seconds

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            return {"fault": f"ended: {' '.join(self._said.read().splitlines()[-1:])}"}
        answer: dict[str, Any] = json.loads(line)
        return answer
