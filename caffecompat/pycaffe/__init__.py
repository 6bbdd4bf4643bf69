"""The drop-in `caffe`: `import caffecompat.pycaffe as caffe`, or `caffecompat.pycaffe.install()` and `import caffe`.

It has the public surface of the original's pycaffe, that of the SSD branch and of BVLC master together, and
`set_dialect`, which says whose rules count where the two differ.
"""

from caffecompat.layers import registered as _registered
from caffecompat.netspec import NetSpec as NetSpec
from caffecompat.netspec import layers as layers
from caffecompat.netspec import params as params
from caffecompat.netspec import to_proto as to_proto
from caffecompat.pycaffe import io as io
from caffecompat.pycaffe import proto as proto
from caffecompat.pycaffe._arguments import TEST as TEST
from caffecompat.pycaffe._arguments import TRAIN as TRAIN
from caffecompat.pycaffe._installing import install as install
from caffecompat.pycaffe._log import init_log as init_log
from caffecompat.pycaffe._log import log as log
from caffecompat.pycaffe._net import Net as Net
from caffecompat.pycaffe._python_layer import Layer as Layer
from caffecompat.pycaffe._solver import NCCL as NCCL
from caffecompat.pycaffe._solver import AdaDeltaSolver as AdaDeltaSolver
from caffecompat.pycaffe._solver import AdaGradSolver as AdaGradSolver
from caffecompat.pycaffe._solver import AdamSolver as AdamSolver
from caffecompat.pycaffe._solver import NesterovSolver as NesterovSolver
from caffecompat.pycaffe._solver import RMSPropSolver as RMSPropSolver
from caffecompat.pycaffe._solver import SGDSolver as SGDSolver
from caffecompat.pycaffe._solver import get_solver as get_solver
from caffecompat.pycaffe._solver import has_nccl as has_nccl
from caffecompat.pycaffe._state import set_device as set_device
from caffecompat.pycaffe._state import set_dialect as set_dialect
from caffecompat.pycaffe._state import set_mode_cpu as set_mode_cpu
from caffecompat.pycaffe._state import set_mode_gpu as set_mode_gpu
from caffecompat.pycaffe._state import set_multiprocess as set_multiprocess
from caffecompat.pycaffe._state import set_random_seed as set_random_seed
from caffecompat.pycaffe._state import set_solver_count as set_solver_count
from caffecompat.pycaffe._state import set_solver_rank as set_solver_rank
from caffecompat.pycaffe._state import solver_count as solver_count
from caffecompat.pycaffe._state import solver_rank as solver_rank
from caffecompat.pycaffe._timer import Timer as Timer
from caffecompat.pycaffe.classifier import Classifier as Classifier
from caffecompat.pycaffe.detector import Detector as Detector

TimerI = Timer
# That of the Caffe whose place it takes: scripts ask for it.
__version__ = "1.0.0"


def layer_type_list() -> list[str]:
    """Names of the layer types that a prototxt may use."""
    return sorted(_registered())
