"""Training as Caffe's solvers do it: the loop, update rules, learning-rate policies, snapshots, several processes."""

from caffecompat.solver.listeners import Listener, Score, Step, Test
from caffecompat.solver.options import Options
from caffecompat.solver.solver import Solver

__all__ = ["Listener", "Options", "Score", "Solver", "Step", "Test"]
