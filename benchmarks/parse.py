"""Parsing prototxts: median and least time in ms.

    python benchmarks/parse.py [--runs 50] [--prototxts FOLDER]

* read: `caffecompat.formats.read_text`, the file as a message with the position of every field;
* upgraded: `read_net`, the same and upgraded to V2;
* protobuf: `google.protobuf.text_format.Parse` into the same message class, without positions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from timing import milliseconds

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FILES = (
    "ssd/SSD300_VOC0712/deploy.prototxt",
    "ssd/SSD512_VOC0712/train.prototxt",
    "bvlc/bvlc_googlenet__deploy.prototxt",
    "vgg/VGG_ILSVRC_16_layers_deploy.prototxt",
)


def main() -> None:
    """Measure and print one table."""
    import google.protobuf
    from google.protobuf import text_format
    from google.protobuf.internal import api_implementation

    from caffecompat.formats import read_net, read_text
    from caffecompat.schema import caffe_pb2
    from tests.support import SHARED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototxts", type=Path, default=SHARED / "prototxt", help="the folder of published nets")
    parser.add_argument("--runs", type=int, default=50)
    args = parser.parse_args()
    print(f"protobuf {google.protobuf.__version__} ({api_implementation.Type()})")
    print(f"{'file':42} {'lines':>6} {'read':>13} {'upgraded':>13} {'protobuf':>13}")
    for name in FILES:
        path = args.prototxts / name
        text = path.read_text()
        read = milliseconds(lambda: read_text(path, caffe_pb2.NetParameter), args.runs)  # noqa: B023
        upgraded = milliseconds(lambda: read_net(path), args.runs)  # noqa: B023
        peer = milliseconds(lambda: text_format.Parse(text, caffe_pb2.NetParameter()), args.runs)  # noqa: B023
        cells = " ".join(f"{middle:6.1f} {least:6.1f}" for middle, least in (read, upgraded, peer))
        print(f"{name:42} {text.count(chr(10)):6} {cells}")


if __name__ == "__main__":
    main()
