"""How a solver is run, beyond what its prototxt says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from caffecompat.graph.spec import Dialect

OnNan = Literal["stop", "skip"]
OnZeroLoss = Literal["stop", "continue"]
Precision = Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True)
class Options:
    """How a solver is run, beyond what its prototxt says.

    Attributes:
        dialect: whose rules count where two Caffes differ.
        device: "cpu", "cuda" or "cuda:1"; None takes what `solver_mode` and `device_id` say.
        root: the folder that relative paths start from; None is the working directory, as in Caffe.
        level: the level that rules of the train net are given.
        stages: the stages that rules of the train net are given, beside those of `train_state`.
        ignore_fields: names of fields that the schema does not know and that may be passed over.
        workers: how many threads each data layer loads batches ahead with.
        skip_bad_records: records that cannot be read are passed over and counted.
        exact_resume: keep random state and the readers' positions beside each snapshot, and take them up again.
        precision: "float32"; "tf32": NVIDIA GPUs round what they multiply to TF32; or "bf16": what bfloat16 does faster
            is done in it while the net trains (autocast), the parameters stay float32, and tests are in float32.
        visible: every blob is there to be seen (pycaffe): the nets have Caffe's Split layers, values lie in Caffe's
            order, nothing is computed in the place of another blob, and test nets take the parameters when they test.
        on_nan: what to do about a loss that is not finite: "stop", or "skip" the update.
        on_zero_loss: what to do about a MultiBoxLoss that is 0 in 20 iterations in a row: "stop" or "continue".
    """

    dialect: Dialect = "ssd"
    device: str | None = None
    root: Path | None = None
    level: int = 0
    stages: tuple[str, ...] = ()
    ignore_fields: tuple[str, ...] = ()
    workers: int = 2
    skip_bad_records: bool = False
    exact_resume: bool = False
    precision: Precision = "float32"
    visible: bool = False
    on_nan: OnNan = "stop"
    on_zero_loss: OnZeroLoss = "stop"
