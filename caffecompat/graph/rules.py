"""Which layers belong to a net in a phase, at a level and with stages: Caffe's `include` and `exclude` rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from caffecompat.errors import GraphError, quoted
from caffecompat.graph.spec import Phase
from caffecompat.schema import caffe_pb2


@dataclass(frozen=True)
class State:
    """What rules are held against: the phase, the level, and the stages of a net."""

    phase: Phase
    level: int = 0
    stages: frozenset[str] = frozenset()

    @classmethod
    def of(cls, message: caffe_pb2.NetParameter, phase: Phase, level: int, stages: Iterable[str]) -> State:
        """The state in which Caffe reads a net from a file.

        Phase and level are the caller's, whatever the net's own `state` says; the caller's stages come on top of
        its own.
        """
        return cls(phase, level, frozenset((*message.state.stage, *stages)))


def included(layer: caffe_pb2.LayerParameter, state: State) -> bool:
    """Whether the layer belongs to the net.

    With `include` rules it does if any of them is met, else unless an `exclude` rule is met.

    Raises:
        GraphError: it has rules of both kinds.
    """
    include, exclude = layer.include, layer.exclude
    if include:
        if exclude:
            raise GraphError("the layer has both include and exclude rules", hint="give rules of one kind only")
        return any(meets(rule, state) for rule in include)
    return not any(meets(rule, state) for rule in exclude)


def meets(rule: caffe_pb2.NetStateRule, state: State) -> bool:
    """Whether the state meets every condition of the rule; a rule without conditions is always met."""
    if rule.HasField("phase") and rule.phase != getattr(caffe_pb2, state.phase):
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    return state.stages.issuperset(rule.stage) and state.stages.isdisjoint(rule.not_stage)


def conditions(layer: caffe_pb2.LayerParameter) -> str:
    """Where a layer belongs, in words: `only to phase TRAIN`, `not to stage deploy`."""
    words = " or ".join(_rule_words(rule) for rule in [*(layer.include or layer.exclude)][:3])
    return f"{'only' if layer.include else 'not'} to {words}"


def _rule_words(rule: caffe_pb2.NetStateRule) -> str:
    words = []
    if rule.HasField("phase"):
        words.append(f"phase {caffe_pb2.Phase.Name(rule.phase)}")
    if rule.HasField("min_level"):
        words.append(f"level {rule.min_level} and above")
    if rule.HasField("max_level"):
        words.append(f"level {rule.max_level} and below")
    words += [f"stage {quoted(name)}" for name in rule.stage[:3]]
    words += [f"no stage {quoted(name)}" for name in rule.not_stage[:3]]
    return ", ".join(words) or "every net"
