from __future__ import annotations

import math

import pytest

from caffecompat.errors import FormatError
from caffecompat.solver.log_reader import read_log

# Lines as BVLC's master writes them (its examples' logs look so).
BVLC = """\
Log file created at: 2017/02/10 13:38:12
Running on machine: host
Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg
I0210 13:38:12.000001 25210 caffe.cpp:218] Using GPUs 0
I0210 13:38:13.000001 25210 solver.cpp:279] Solving LeNet
I0210 13:38:13.000002 25210 solver.cpp:280] Learning Rate Policy: inv
I0210 13:38:13.000003 25210 solver.cpp:337] Iteration 0, Testing net (#0)
I0210 13:38:13.100000 25216 data_layer.cpp:73] Restarting data prefetching from start.
I0210 13:38:13.200000 25210 solver.cpp:404]     Test net output #0: accuracy = 0.0625
I0210 13:38:13.200001 25210 solver.cpp:404]     Test net output #1: loss = 2.5 (* 1 = 2.5 loss)
I0210 13:38:13.300000 25210 solver.cpp:228] Iteration 0 (-4.0e-31 iter/s, 0s/100 iters), loss = 2.4
I0210 13:38:13.300001 25210 solver.cpp:244]     Train net output #0: loss = 2.4 (* 1 = 2.4 loss)
I0210 13:38:13.300002 25210 sgd_solver.cpp:106] Iteration 0, lr = 0.01
I0210 13:38:14.300000 25210 solver.cpp:228] Iteration 100 (99.5 iter/s, 1.005s/100 iters), loss = 0.25
I0210 13:38:14.300001 25210 solver.cpp:244]     Train net output #0: loss = 0.2 (* 1 = 0.2 loss)
I0210 13:38:14.300002 25210 sgd_solver.cpp:106] Iteration 100, lr = 0.00992565
I0210 13:38:15.000003 25210 solver.cpp:337] Iteration 200, Testing net (#0)
I0210 13:38:15.200000 25210 solver.cpp:404]     Test net output #0: accuracy = 0.96875
I0210 13:38:15.200001 25210 solver.cpp:404]     Test net output #1: loss = 0.1 (* 1 = 0.1 loss)
I0210 13:38:15.300000 25210 solver.cpp:317] Iteration 200, loss = 0.125
I0210 13:38:15.300000 25210 solver.cpp:322] Optimization Done.
"""
# And as the SSD branch writes them.
SSD = """\
I1124 07:35:32.123456 12345 solver.cpp:243] Iteration 0, loss = 22.5
I1124 07:35:32.123456 12345 solver.cpp:259]     Train net output #0: mbox_loss = 20.25 (* 1 = 20.25 loss)
I1124 07:35:32.123456 12345 sgd_solver.cpp:138] Iteration 0, lr = 0.0005
I1124 07:35:33.123456 12345 solver.cpp:433] Iteration 10, Testing net (#0)
I1124 07:35:33.123456 12345 net.cpp:693] Ignoring source layer mbox_loss
I1124 07:35:33.123456 12345 solver.cpp:414] Test loss: 3.5
I1124 07:35:33.123456 12345 solver.cpp:546]     Test net output #0: detection_eval = 0.75
I1124 07:35:33.123456 12345 solver.cpp:433] Iteration 10, Testing net (#1)
I1124 07:35:33.123456 12345 solver.cpp:546]     Test net output #0: scores = 1
I1124 07:35:33.123456 12345 solver.cpp:546]     Test net output #1: scores = 2
I1124 07:35:34.123456 12345 solver.cpp:243] Iteration 10, loss = -nan
I1124 07:35:34.123456 12345 solver.cpp:259]     Train net output #0: mbox_loss = nan (* 1 = nan loss)
I1124 07:35:34.123456 12345 sgd_solver.cpp:138] Iteration 10, lr = 5e-05
"""


def read(tmp_path, text):
    path = tmp_path / "run.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_log(path)


def pairs(curve):
    return list(zip(curve.iterations, curve.values, strict=True))


def test_a_log_of_bvlc(tmp_path):
    log = read(tmp_path, BVLC)
    assert pairs(log.smoothed) == [(0, 2.4), (100, 0.25), (200, 0.125)]
    assert pairs(log.loss) == [(0, 2.4), (100, 0.2)]
    assert pairs(log.rate) == [(0, 0.01), (100, 0.00992565)]
    found = {output.name: (output.net, output.is_loss, pairs(output.curve)) for output in log.tests}
    assert found == {
        "accuracy": (0, False, [(0, 0.0625), (200, 0.96875)]),
        "loss": (0, True, [(0, 2.5), (200, 0.1)]),
    }


def test_a_log_of_the_ssd_branch(tmp_path):
    log = read(tmp_path, SSD)
    assert pairs(log.rate) == [(0, 0.0005), (10, 5e-5)]
    assert log.smoothed.values[0] == 22.5
    assert math.isnan(log.smoothed.values[1])
    assert math.isnan(log.loss.values[1])
    assert pairs(log.test_loss[0]) == [(10, 3.5)]
    found = [(output.net, output.name, pairs(output.curve)) for output in log.tests]
    assert found == [(0, "detection_eval", [(10, 0.75)]), (1, "scores[0]", [(10, 1.0)]), (1, "scores[1]", [(10, 2.0)])]


def test_several_losses_are_summed_with_their_weights(tmp_path):
    text = (
        "Iteration 5, loss = 1\n"
        "    Train net output #0: accuracy = 0.5\n"
        "    Train net output #1: loss1 = 2 (* 0.25 = 0.5 loss)\n"
        "    Train net output #2: loss2 = 3 (* 1 = 3 loss)\n"
    )
    assert pairs(read(tmp_path, text).loss) == [(5, 3.5)]


def test_what_a_resumed_run_did_again_counts(tmp_path):
    text = "".join(f"I Iteration {i}, loss = {loss}\n" for i, loss in [(0, 5), (20, 4), (40, 3), (20, 2), (40, 1)])
    assert pairs(read(tmp_path, text).smoothed) == [(0, 5.0), (20, 2.0), (40, 1.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty"),
        (b"# Readme\n\nsome text\n", "without iterations"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50, "without iterations"),
        (b"\0" * 3_000_000, "without iterations"),
        (b"Iteration 5, lr = 0.1\n", "neither a loss nor a test"),
        (b"Iteration 99999999999999999999, loss = 1\n", "without iterations"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, text, message):
    with pytest.raises(FormatError, match=message) as error:
        read(tmp_path, text)
    assert error.value.file.endswith("run.log")


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "run.log").write_text("")
    with pytest.raises(FormatError, match=r'no such file\s+did you mean "run.log"'):
        read_log(tmp_path / "rum.log")
    with pytest.raises(FormatError, match="no such file"):
        read_log(tmp_path / "none" / "run.log")
    with pytest.raises(FormatError, match="something else"):
        read_log(tmp_path)


def test_broken_lines_are_passed_over(tmp_path):
    text = (
        "Iteration 0, loss = 1.2.3.4\nIteration 1, loss = \nIteration 2, loss = e5\nTest loss: x\n"
        "Test net output #0: = 5\n" + "x" * 100_000 + " Iteration 3, loss = 7\nIteration 4, loss = 5e999\n"
    )
    log = read(tmp_path, text)
    assert pairs(log.smoothed) == [(0, 1.2), (4, math.inf)]


def test_too_many_outputs_are_refused(tmp_path):
    text = "Iteration 0, Testing net (#0)\n" + "".join(f"Test net output #0: a{i} = 5\n" for i in range(10_001))
    with pytest.raises(FormatError, match="more than 10000 outputs"):
        read(tmp_path, text)
