from __future__ import annotations

import datetime
import re
import threading

import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.solver import Score
from caffecompat.solver.listeners import score_lines
from caffecompat.solver.log import CaffeLog, new_log

# What users' scripts look for, as Caffe's tools/extra/parse_log.py and extract_seconds.py do.
ITERATION = re.compile(r"Iteration (\d+)")
OUTPUT = re.compile(r"(Train|Test) net output #(\d+): (\S+) = ([\.\deE+-]+)")
RATE = re.compile(r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)")


def time_of(line, year):
    """As extract_seconds.py finds it: `I0210 13:39:22.381027 25210 solver.cpp:204] ...`."""
    day, time = line.split()[:2]
    seconds, _, micro = time.rpartition(".")
    hour, minute, second = map(int, seconds.split(":"))
    return datetime.datetime(year, int(day[1:3]), int(day[3:]), hour, minute, second, int(micro))


def parsed(path):
    """Rows of iteration, rate, outputs; and the time of the line that has "Solving"."""
    year = datetime.datetime.now().year
    lines = path.read_text().splitlines()
    start = next(time_of(line, year) for line in lines if "Solving" in line)
    iteration, rate, rows = None, None, []
    for line in lines:
        if match := ITERATION.search(line):
            iteration = int(match[1])
        if iteration is None:
            continue
        assert time_of(line, year) >= start
        if match := RATE.search(line):
            rate = float(match[1])
        if match := OUTPUT.search(line):
            rows.append((match[1], iteration, rate, match[3], float(match[4])))
    return start, rows


def test_scripts_that_read_caffes_logs_read_these(tmp_path):
    log = CaffeLog(tmp_path / "run.log")
    before = datetime.datetime.now().replace(microsecond=0)
    log.line("Solving LeNet", "solver.cpp:308")
    log.line("Iteration 0, Testing net (#0)", "solver.cpp:433")
    for line in score_lines("Test", [Score("accuracy", 0.125)]):
        log.line(line, "solver.cpp:546")
    log.line("Iteration 20, loss = 1.5e-07", "solver.cpp:243")
    for line in score_lines("Train", [Score("loss", 1.5e-7, 1.0), Score("loss2", 2.0, 0.5)]):
        log.line(line, "solver.cpp:259")
    log.line("Iteration 20, lr = 1e-05", "sgd_solver.cpp:138")
    start, rows = parsed(log.path)
    assert before <= start <= datetime.datetime.now()
    assert rows == [
        ("Test", 0, None, "accuracy", 0.125),
        ("Train", 20, None, "loss", 1.5e-7),
        ("Train", 20, None, "loss2", 2.0),
    ]
    log.close()


def test_form_of_the_lines(tmp_path):
    log = CaffeLog(tmp_path / "run.log")
    log.line("Iteration 20, loss = 0.123", "solver.cpp:243")
    # Read before it is closed: every line is written as it comes.
    first, second, third, line = log.path.read_text().splitlines()
    assert re.fullmatch(r"Log file created at: \d{4}/\d\d/\d\d \d\d:\d\d:\d\d", first)
    assert second.startswith("Running on machine: ")
    assert third == "Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg"
    form = r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +(\d+) solver\.cpp:243\] Iteration 20, loss = 0\.123"
    assert int(re.fullmatch(form, line)[1]) == threading.get_native_id()
    log.close()
    log.line("too late", "solver.cpp:1")
    assert "too late" not in log.path.read_text()


def test_a_log_is_continued(tmp_path):
    for name in ("one", "two"):
        log = CaffeLog(tmp_path / "run.log")
        log.line(name, "solver.cpp:1")
        log.close()
    lines = log.path.read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines if "solver.cpp" in line] == ["one", "two"]
    assert sum(line.startswith("Log file created at") for line in lines) == 2


def test_a_name_cannot_make_lines_of_its_own(tmp_path):
    log = CaffeLog(tmp_path / "run.log")
    log.line("Solving a\nI0101 00:00:00.000000 1 solver.cpp:1] Iteration 5\x1b[2J \udcff", "solver.cpp:308")
    log.close()
    assert len(log.path.read_text().splitlines()) == 4
    assert "\x1b" not in log.path.read_text()


@pytest.mark.parametrize("place", ["none/run.log", ".", "a\0b"])
def test_a_log_that_cannot_be_written_is_an_error(tmp_path, place):
    with pytest.raises(CaffeCompatError, match=r"log cannot be written[\s\S]*--log none"):
        CaffeLog(f"{tmp_path}/{place}")


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path):
    log = CaffeLog(tmp_path / "run.log")

    class Full:
        closed = False

        def write(self, text):
            raise OSError(28, "No space left on device")

        def close(self):
            self.closed = True

    log._file.close()
    log._file = Full()
    with pytest.warns(CaffeCompatWarning, match="No space left"):
        log.line("one", "solver.cpp:1")
    log.line("two", "solver.cpp:1")


def test_new_logs_have_names_of_their_own(tmp_path):
    prefix = tmp_path / "lenet"
    names = []
    for _ in range(3):
        path = new_log(prefix)
        assert not path.exists()
        path.write_text("")
        names.append(path.name)
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"lenet_train_\d{8}-\d{6}(-\d+)?\.log", name) for name in names)
