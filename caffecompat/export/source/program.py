"""The functions behind the classes: `load`, what reads a picture, and `main`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.export.source.building import Draft
from caffecompat.export.source.text import fitted, literal

# Longer lists of labels, and mean images, stay in the metadata of the parameters.
MAX_LABELS = 25
_BEST = 5


def load_source(main: str) -> str:
    """`load`, of a class of this name."""
    return f'''def load(device: str = "cpu") -> {main}:
    """The net with the parameters that lie beside this file, in evaluation mode."""
    model = {main}()
    model.load_state_dict(load_file(Path(__file__).with_suffix(".safetensors")))
    return model.to(device).eval()'''


def main_sources(draft: Draft, record: Preprocessing) -> list[str]:
    """`main`, and the functions that it needs."""
    takes_pictures = record.channels != "none" and len(draft.inputs.get(record.input, ((), ()))[1]) == 4
    show = _show(draft, record)
    functions = []
    if record.mean_image is not None or len(record.labels) > MAX_LABELS:
        functions.append(_METADATA)
    if takes_pictures:
        functions.append(_read_source(record))
        what, read = "pictures or arrays", "read(path)"
    else:
        what, read = "arrays (.npy)", "torch.from_numpy(numpy.load(path)).float()"
    main = f'''def main() -> None:
    """Run {what}, one for each input, or else random numbers."""
    parameters = Path(__file__).with_suffix(".safetensors")
    for path in (parameters, *sys.argv[1:]):
        if not Path(path).is_file():
            raise SystemExit(f"there is no such file: {{path}}")
    inputs = [torch.randn(shape) for shape in INPUTS.values()]
    for place, path in enumerate(sys.argv[1:]):
        inputs[place] = {read}
    with torch.inference_mode():
        outputs = load()(*inputs)
'''
    return [*functions, main + "\n".join(show)]


_METADATA = '''def preprocessing() -> dict:
    """All of PREPROCESSING, as it lies in the metadata of the parameters."""
    with safe_open(Path(__file__).with_suffix(".safetensors"), "pt") as file:
        return json.loads(file.metadata()["preprocessing"])'''


def _read_source(record: Preprocessing) -> str:
    """`read`: a picture as `Preprocessing.apply` makes it an input."""
    lines = [
        '    """A picture, made an input as PREPROCESSING says, or an array (.npy)."""',
        '    if path.endswith(".npy"):',
        "        return torch.from_numpy(numpy.load(path)).float()",
        "    import cv2",
        "",
        "    image = cv2.imread(path)",
        "    if image is None:",
        '        raise SystemExit(f"no picture: {path}")',
    ]
    if record.channels == "gray":
        lines.append("    image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)")
    elif record.channels == "rgb":
        lines.append("    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)")
    lines += _resizing(record)
    whole = record.mean_image is not None and record.mean_image.shape[1:] != (record.net_size or ())
    values = _values(record)
    lines += values if whole else []
    if record.crop is not None:
        name = "values" if whole else "image"
        lines += [
            '    rows, columns = PREPROCESSING["crop"]',
            f"    top, left = ({name}.shape[0] - rows) // 2, ({name}.shape[1] - columns) // 2",
            f"    {name} = {name}[top : top + rows, left : left + columns]",
        ]
    lines += [] if whole else values
    axes = "[None, None]" if record.channels == "gray" and record.mean_image is None else ".transpose(2, 0, 1)[None]"
    lines.append(f"    return torch.from_numpy(values{axes}).float()")
    return "\n".join(["def read(path: str) -> Tensor:", *lines])


def _resizing(record: Preprocessing) -> list[str]:
    if record.size is None:
        return []
    method = "" if record.interpolation == "linear" else f", interpolation=cv2.INTER_{record.interpolation.upper()}"
    if record.resize == "warp":
        return [f'    image = cv2.resize(image, PREPROCESSING["size"][::-1]{method})']
    than = "<" if record.resize == "fit_small" else ">"
    lines = [
        '    height, width = PREPROCESSING["size"]',
        "    aspect = numpy.float32(image.shape[1]) / numpy.float32(image.shape[0])",
        f"    if aspect {than} numpy.float32(width) / numpy.float32(height):",
        "        height = int(numpy.float32(width) / aspect)",
        "    else:",
        "        width = int(aspect * numpy.float32(height))",
        f"    image = cv2.resize(image, (width, height){method})",
    ]
    if record.resize == "fit_large_pad":
        modes = {"constant": "CONSTANT", "mirrored": "REFLECT_101", "repeat_nearest": "REPLICATE"}
        values = record.pad_values or (0.0,)
        lines += [
            '    rows, columns = PREPROCESSING["size"]',
            "    top, left = (rows - height) // 2, (columns - width) // 2",
            "    sides = (top, rows - height - top, left, columns - width - left)",
            f"    fill = {literal(values * 3 if len(values) == 1 else values)}",
            f"    image = cv2.copyMakeBorder(image, *sides, cv2.BORDER_{modes[record.pad]}, value=fill)",
        ]
    return lines


def _values(record: Preprocessing) -> list[str]:
    """`values` from `image`: the mean subtracted, and scaled."""
    scaled = ' * PREPROCESSING["scale"]' if record.scale != 1 else ""
    if record.mean_image is not None:
        image = "image[:, :, None]" if record.channels == "gray" else "image"
        values = f"({image} - mean){scaled}" if scaled else f"{image} - mean"
        return [
            '    mean_image = preprocessing()["mean_image"]',
            '    mean = numpy.frombuffer(base64.b64decode(mean_image["float32"]), "<f4")',
            '    mean = mean.reshape(mean_image["shape"]).transpose(1, 2, 0)',
            f"    values = {values}",
        ]
    if record.mean:
        image = "image" if not scaled else "(image"
        end = "" if not scaled else ")"
        return [fitted(f'{image} - numpy.float32(PREPROCESSING["mean"]){end}{scaled}', 1, "values = ")]
    return [f"    values = image{scaled}" if scaled else "    values = image"]


def _show(draft: Draft, record: Preprocessing) -> Sequence[str]:
    """The lines that print the outputs: detections, the best classes, or shapes."""
    if len(draft.outputs) > 1:
        return ["    for name, output in outputs.items():", "        print(name, tuple(output.shape))"]
    ((name, value),) = draft.outputs.items()
    kind = next((item.kind for item in draft.items if value in item.outputs), "")
    shape = draft.shapes[name]
    names, called = [], ""
    if len(record.labels) > MAX_LABELS:
        names, called = ['    names = dict(enumerate(preprocessing()["labels"]))'], "names.get({0}, {0})"
    elif record.labels:
        names, called = ['    names = dict(enumerate(PREPROCESSING["labels"]))'], "names.get({0}, {0})"
    if kind == "detect":
        label = called.format("label") or "int(label)"
        return [
            *names,
            '    print("image label score left top right bottom")',
            "    for image, label, score, *box in outputs[0, 0].tolist():",
            "        # The box is left, top, right, bottom, in parts of the picture.",
            '        corners = " ".join(f"{corner:.4f}" for corner in box)',
            f'        print(int(image), {label}, f"{{score:.4f}}", corners)',
        ]
    if len(shape) > 1 and shape[1] >= _BEST and prod(shape[2:]) == 1:
        label = called.format("index") or "index"
        return [
            *names,
            "    for scores in outputs.flatten(1):",
            f"        for index in scores.topk({_BEST}).indices.tolist():",
            f'            print(f"{{scores[index]:.4f}}", {label})',
        ]
    return [fitted(f"print({literal(name)}, tuple(outputs.shape))", 1)]
