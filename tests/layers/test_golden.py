"""Every recorded answer of the original Caffe for small nets, forward and backward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from caffecompat.layers import registered
from tests.layers.golden import FOLDERS, Case, cases, differences, run
from tests.support import REFERENCE, shared_file

CASES = cases()

# Layer types of the recorded cases that have no module: their cases do not run. Empty it as layers arrive.
NOT_YET: set[str] = set()

# Layer types that no recorded case has, and the test that has them.
_FILES = {
    "test_data.py": "AnnotatedData BinLabelData Data DummyData HDF5Data ImageData ImageLabelData MemoryData VideoData "
    "WindowData",
    "test_center_loss.py": "CenterLoss",
    "test_channels.py": "Axpy Padding ShuffleChannel",
    "test_convolution.py": "ConvolutionDepthwise DepthwiseConvolution",
    "test_flow.py": "Correlation FlowWarp",
    "test_fork_neurons.py": "HardSwish Mish ReLU6 Sign",
    "test_fork_normalization.py": "BN NormalizeBBox",
    "test_hdf5_output.py": "HDF5Output",
    "test_matching.py": "Matching MatchingLoss QueryContext SupportContext",
    "test_proposal.py": "Proposal Python",
    "test_resampling.py": "Resample Resize",
    "test_roi.py": "PSROIPooling ROIPooling",
    "test_upsampling.py": "Interp MaxUnpool Upsample",
    "test_yolo.py": "Region Reorg",
}
ELSEWHERE = {type_: f"layers/{file}" for file, types in _FILES.items() for type_ in types.split()}
ELSEWHERE["EpisodeData"] = "data/sources/test_episodes.py"
ELSEWHERE["SentenceData"] = "data/sources/test_sentences.py"


def unsupported(case: Case) -> set[str]:
    return case.types - set(registered())


@pytest.fixture(autouse=True)
def _from_the_folder_of_the_case(request, monkeypatch):
    """Paths in prototxts are relative to the folder of the record."""
    monkeypatch.chdir(request.getfixturevalue("case").path.parent if "case" in request.fixturenames else REFERENCE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_recorded(case):
    if unsupported(case):
        pytest.skip(f"not implemented yet: {', '.join(sorted(unsupported(case)))}")
    assert not differences(case, run(case))


@pytest.mark.parametrize("case", [case for case in CASES if case.images], ids=str)
def test_channels_last_gives_the_same(case):
    if unsupported(case):
        pytest.skip(f"not implemented yet: {', '.join(sorted(unsupported(case)))}")
    assert not differences(case, run(case, torch.channels_last))


def test_what_is_not_supported_is_named():
    assert set().union(*(unsupported(case) for case in CASES)) == NOT_YET


def test_every_case_is_here():
    assert {folder: sum(case.path.parent.name == folder for case in CASES) for folder in FOLDERS} == {
        "layers": 205,
        "layers_bvlc": 155,
        "dilation_identity": 27,
    }


def test_the_records_are_those_of_the_shared_folder():
    golden = shared_file("golden")
    for folder, source in (
        ("layers", "layers"),
        ("layers_bvlc", "layers_bvlc"),
        ("dilation_identity", "dilation/identity"),
    ):
        ours = {path.name: path.read_bytes() for path in (REFERENCE / folder).glob("*.npz")}
        assert ours == {path.name: path.read_bytes() for path in (golden / source).glob("*.npz")}


def test_every_layer_type_is_tested():
    recorded = set().union(*(case.types for case in CASES))
    untested = set(registered()) - recorded - set(ELSEWHERE)
    assert not untested
    for type_, file in ELSEWHERE.items():
        assert type_ in (Path(__file__).parents[1] / file).read_text(), f"{file} does not test {type_}"
