"""One program with one net loaded, which runs when it is told to: what inference.py starts, one for each program.

It is told what to load by an argument, and then by lines of JSON: {"save": PATH} writes the outputs, {"runs": N}
answers with the seconds of N passes; the first is passed over if there are more. It runs in the environment of the
program, which may have neither torch nor caffecompat.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Job = dict[str, Any]
Outputs = dict[str, np.ndarray[Any, Any]]
Call = Callable[[], Outputs]
THRESHOLD, OVERLAP, TOP_K, KEEP_TOP_K = 0.01, 0.45, 400, 200


def detections(boxes: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows of detection_out, (1, 1, N, 7), of one picture's boxes (1, P, 4) and scores (1, P, C), as one writes it."""
    import cv2

    boxes, scores = boxes[0], scores[0]
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(np.float64)
    found = []
    for label in range(1, scores.shape[1]):
        places = np.flatnonzero(scores[:, label] > THRESHOLD)
        if places.size:
            values = scores[places, label]
            kept = cv2.dnn.NMSBoxes(sides[places].tolist(), values.tolist(), THRESHOLD, OVERLAP, top_k=TOP_K)
            places = places[np.asarray(kept).ravel()]
            head = np.stack([np.zeros(len(places)), np.full(len(places), label), scores[places, label]], 1)
            found.append(np.concatenate([head, boxes[places]], 1))
    rows = np.concatenate(found).astype(np.float32)
    best = np.sort(np.argsort(-rows[:, 2], kind="stable")[:KEEP_TOP_K])
    return rows[best][None, None]


def finished(job: Job, results: Sequence[np.ndarray[Any, Any]]) -> Outputs:
    """The outputs of the whole by name, of those that a peer gives."""
    if job["detects"]:
        return {job["outputs"][0]: detections(results[0], results[1])}
    return dict(zip(job["outputs"], results, strict=True))


def ours(job: Job) -> Call:
    import torch

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import caffecompat
    from caffecompat.engines import optimize

    torch.set_num_threads(job["threads"])
    net = caffecompat.load(job["prototxt"], job["weights"])
    data = torch.from_numpy(np.load(job["example"]))
    engine = optimize(net, job["engine"], job["precision"], {"data": data}, threads=job["threads"])
    return lambda: {name: value.numpy() for name, value in engine(data=data).items()}


def opencv(job: Job) -> Call:
    """The Caffe files as they are."""
    import cv2

    cv2.setNumThreads(job["threads"])
    net = cv2.dnn.readNetFromCaffe(job["prototxt"], job["weights"])
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    data = np.load(job["example"])

    def call() -> Outputs:
        net.setInput(data)
        return dict(zip(job["outputs"], net.forward(job["outputs"]), strict=True))

    return call


def onnxruntime(job: Job) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(job["onnx"], options, providers=["CPUExecutionProvider"])
    data = np.load(job["example"])
    return lambda: finished(job, session.run(None, {"data": data}))


def openvino(job: Job) -> Call:
    # Without this package, which reports over the network, openvino goes without.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino as ov

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job["threads"],
        "INFERENCE_PRECISION_HINT": "bf16" if job["precision"] == "bfloat16" else "f32",
    }
    compiled = ov.Core().compile_model(job["onnx"], "CPU", settings)
    request = compiled.create_infer_request()
    data = np.load(job["example"])

    def call() -> Outputs:
        results = request.infer({0: data}, share_inputs=True, share_outputs=True)
        return finished(job, [results[output] for output in compiled.outputs])

    return call


def plain_torch(job: Job) -> Call:
    """The hand-written module, eager, in the memory layout that `job` names."""
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from inference_nets import CASES

    torch.set_num_threads(job["threads"])
    layout = getattr(torch, job["layout"])
    model = CASES[job["net"]].model()
    model.load_state_dict(load_file(job["state"]))
    model = model.eval().to(memory_format=layout)
    if job["precision"] == "bfloat16":
        model = model.bfloat16()
    kind = next(model.parameters()).dtype
    data = torch.from_numpy(np.load(job["example"])).contiguous(memory_format=layout)

    def call() -> Outputs:
        with torch.no_grad():
            results = model(data.to(kind))
        given = results if isinstance(results, tuple) else (results,)
        return finished(job, [result.float().numpy() for result in given])

    return call


PROGRAMS: dict[str, Callable[[Job], Call]] = {
    "ours": ours,
    "opencv": opencv,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "torch": plain_torch,
}


def seconds(call: Call, runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[1:] or times


def main() -> None:
    job = json.loads(sys.argv[1])
    # Answers go where nothing that a library prints goes.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        call = PROGRAMS[job["program"]](job)
        # Programs compile, and choose how to compute, in their first passes.
        warming = seconds(call, 3)
    except Exception as fault:
        answer(fault=f"{type(fault).__name__}: {fault}")
        return
    answer(seconds=warming[-1])
    for line in sys.stdin:
        asked = json.loads(line)
        if "save" in asked:
            np.savez(asked["save"], **call())
            answer(saved=True)
        else:
            answer(seconds=seconds(call, asked["runs"]))


if __name__ == "__main__":
    main()
