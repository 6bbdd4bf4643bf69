"""`caffe.pycaffe`: nets and solvers by the name of the module that they came from in the original."""

from caffecompat.pycaffe import io as io
from caffecompat.pycaffe._net import Net as Net
from caffecompat.pycaffe._solver import NCCL as NCCL
from caffecompat.pycaffe._solver import AdaDeltaSolver as AdaDeltaSolver
from caffecompat.pycaffe._solver import AdaGradSolver as AdaGradSolver
from caffecompat.pycaffe._solver import AdamSolver as AdamSolver
from caffecompat.pycaffe._solver import NesterovSolver as NesterovSolver
from caffecompat.pycaffe._solver import RMSPropSolver as RMSPropSolver
from caffecompat.pycaffe._solver import SGDSolver as SGDSolver
from caffecompat.pycaffe._timer import Timer as Timer
