"""Parameters shared by name: the first layer that names one owns it.

Source of the rules: `Net::AppendParam` of Caffe. Shapes are compared later, where they are known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from caffecompat.errors import GraphError, quoted
from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.spec import Dialect, ParamRef
from caffecompat.schema import caffe_pb2


@dataclass
class _Shared:
    """What is known of a named parameter; a multiplier is None as long as nobody states it."""

    owner: tuple[int, int]
    lr_mult: float | None = None
    decay_mult: float | None = None

    def agree(self, name: str, spec: caffe_pb2.ParamSpec) -> None:
        """Take the multipliers that `spec` states.

        Raises:
            GraphError: another layer states another value.
        """
        for field in ("lr_mult", "decay_mult"):
            if spec.HasField(field):
                known, stated = getattr(self, field), getattr(spec, field)
                if known is not None and known != stated:
                    raise GraphError(
                        f"shared param {quoted(name)} has {field} {stated:g} here and {known:g} before",
                        hint=f"state {field} in one of the layers that share it, or the same in all",
                    )
                setattr(self, field, stated)


class Sharing:
    """Collects the `param { ... }` of layers in order, then gives each layer its refs."""

    def __init__(self, dialect: Dialect) -> None:
        self._rules = DIALECTS[dialect]
        self._shared: dict[str, _Shared] = {}

    def add(self, index: int, layer: caffe_pb2.LayerParameter) -> tuple[ParamRef, ...]:
        """The refs of a layer, owners resolved; `settle` completes the multipliers when all layers are added.

        Raises:
            GraphError: lr_mult or decay_mult of a shared parameter differ.
        """
        specs = layer.param
        # The SSD branch drops the three entries of an old BatchNorm layer, names included; BVLC keeps the names.
        if not specs or (self._rules.batch_norm_drops_params and len(specs) == 3 and layer.type == "BatchNorm"):
            return ()
        return tuple([self._ref(index, position, spec) for position, spec in enumerate(specs)])

    def _ref(self, index: int, position: int, spec: caffe_pb2.ParamSpec) -> ParamRef:
        name = spec.name
        owner = None
        if name:
            shared = self._shared.get(name)
            if shared is None:
                shared = self._shared[name] = _Shared((index, position))
            else:
                owner = shared.owner
            shared.agree(name, spec)
        permissive = spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
        return ParamRef(name, spec.lr_mult, spec.decay_mult, permissive, owner)

    @property
    def any(self) -> bool:
        """Whether any parameter has a name."""
        return bool(self._shared)

    def settle(self, params: tuple[ParamRef, ...]) -> tuple[ParamRef, ...]:
        """The refs with the multipliers that owner and sharers agree on."""
        return tuple(self._settled(ref) if ref.name else ref for ref in params)

    def _settled(self, ref: ParamRef) -> ParamRef:
        shared = self._shared[ref.name]
        return replace(
            ref,
            lr_mult=1.0 if shared.lr_mult is None else shared.lr_mult,
            decay_mult=1.0 if shared.decay_mult is None else shared.decay_mult,
        )
