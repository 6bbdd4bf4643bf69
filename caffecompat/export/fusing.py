"""`caffecompat.fuse`: a net with fewer layers that computes the same at test time, proved on random input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UsageError, quoted
from caffecompat.export.comparing import compare
from caffecompat.export.rebuild import Blobs, blobs_by_name, rebuild
from caffecompat.export.sampling import draw_parameters
from caffecompat.export.settling import settled
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import Graph, build_graph
from caffecompat.graph.passes import data_to_inputs, drop_train_only, fused
from caffecompat.graph.passes.sketch import listed
from caffecompat.layers.convolution import DepthwiseConvolution
from caffecompat.net import Net
from caffecompat.net.saving import net_message

# The largest difference of a blob, as a part of its largest magnitude.
TOLERANCE = 1e-5


def fuse(net: Net, *, verify: bool = True, tell: Callable[[str], None] | None = None) -> Net:
    """Fold, merge and take out layers that a net does not need at test time.

    BatchNorm, Scale and Bias go into the convolutions before and after them, sums of parallel linear branches become
    one convolution, Normalize's scale goes into the next convolutions, Dropout, losses and evaluation go, and
    activations work in place. Outputs keep their names; losses leave what they read, as in `caffecompat convert`.
    What changes more than rounding is left alone. `docs/fuse.md` has the rules.

    Args:
        net: the net, in evaluation (`net.eval()`); it does not change. Parameters that nothing is folded into are
            shared with it.
        verify: compare the new net with the old one on random input of the shapes that it was built for; and once more,
            both with random parameters, for those of the net may hide a fault, as weights of 0 do.
        tell: is called with a sentence for each thing that was done.

    Returns:
        The new net, in evaluation, in float32 on the CPU.

    Raises:
        UsageError: the net is in training.
        UnsupportedError: two layers with parameters have one name.
        CaffeCompatError: by `verify`, a blob differs by more than 1e-5 of its largest magnitude, or cannot be compared.
    """
    if net.training:
        raise UsageError("only a net in evaluation can be fused", hint="call net.eval() first")
    net = settled(net)
    graph, blobs, notes = _ready(net)
    new, folded, done = fused(graph, blobs)
    made = _built(net, new, folded)
    with suppress(CaffeCompatError):  # a mean file that is not there: the net can do without
        made.preprocessing = net.preprocessing
    notes += (done or ["nothing to fuse was found"]) + _left(new)
    if verify and done:
        notes.append(_verified(net, graph, blobs, made))
    for note in notes:
        if tell is not None:
            tell(note)
    return made


def for_inference(net: Net) -> Net:
    """The net without data layers, losses and evaluation, as `fuse` takes it, and nothing else changed.

    Raises:
        UnsupportedError: two layers with parameters have one name.
    """
    graph, blobs, _ = _ready(net)
    return _built(net, graph, blobs)


def _ready(net: Net) -> tuple[Graph, Blobs, list[str]]:
    """The net as it computes in evaluation, whatever its phase, without data layers, losses and evaluation."""
    message = net_message(net)
    for layer, module in zip(message.layer, net.layers, strict=True):
        layer.ClearField("phase")
        if isinstance(module, DepthwiseConvolution):
            layer.convolution_param.group = module.group  # which passes cannot know
    old = net.graph
    graph = build_graph(Parsed(message, file=old.file), "TEST", dialect=old.dialect, root=old.root)
    graph, notes = drop_train_only(graph)
    shapes = {key.name: net.blob_shapes[key] for key in old.inputs}
    read = [spec for spec in graph.layers if spec.row.data and spec.type not in ("Input", "DummyData")]
    fed = {key.name for spec in read for key in spec.tops}
    graph = data_to_inputs(graph, {name: shape for name, shape in shapes.items() if name in fed})
    names = {spec.name for spec in graph.layers}
    return graph, {name: blobs for name, blobs in blobs_by_name(net).items() if name in names}, notes


def _left(graph: Graph) -> list[str]:
    """A sentence on the BatchNorm layers that remain."""
    names = [spec.name for spec in graph.layers if spec.type in ("BatchNorm", "BN")]
    return [f"{len(names)} BatchNorm remain: {listed(names)}"] if names else []


def _built(net: Net, graph: Graph, blobs: Blobs) -> Net:
    """The net of a graph; what there is to warn of was said when `net` was made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaffeCompatWarning)
        return rebuild(net, graph.message, blobs, phase="TEST")


def _verified(net: Net, graph: Graph, blobs: Blobs, made: Net) -> str:
    """What was found by comparing, as a sentence; the passes are tried on random parameters too."""
    own = _checked(compare(_built(net, graph, blobs), made), "differs")
    found = f"verified on random input: outputs differ by at most {own:.1e} of their magnitude"
    drawn = _built(net, graph, blobs)
    draw_parameters(drawn)
    new, folded, _ = fused(graph, blobs_by_name(drawn))
    try:
        differences = compare(drawn, _built(net, new, folded))
    except CaffeCompatError as error:  # layers such as Exp, for which not every parameter will do
        return f"{found}; with random parameters {error.message}"
    return f"{found}, with random parameters by {_checked(differences, 'with random parameters differs'):.1e}"


def _checked(differences: dict[str, float], differs: str) -> float:
    """The largest difference of a blob, as a part of its largest magnitude.

    Raises:
        CaffeCompatError: it is not allowed.
    """
    for name, apart in differences.items():
        if not apart <= TOLERANCE:
            raise CaffeCompatError(
                f"the fused net is not the net: blob {quoted(name)} {differs} by {apart:.1e} of its largest magnitude; "
                f"{TOLERANCE:.0e} is allowed",
                hint="--no-verify, or verify=False, takes it nevertheless",
            )
    return max(differences.values())
