"""Published nets, written as prototxt by short builders: `caffecompat new` writes their files."""

from caffecompat.zoo.data_there import data_notes
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.registry import MODELS, find_model
from caffecompat.zoo.writing import ask, make, write

__all__ = ["MODELS", "Asked", "Model", "Nets", "ask", "data_notes", "find_model", "make", "write"]
