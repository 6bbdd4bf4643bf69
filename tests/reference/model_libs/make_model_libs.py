"""Record the nets that the original's builders make: the SSD branch's python/caffe/net_spec.py and model_libs.py.

    python make_model_libs.py CAFFE nets.json.xz        (CAFFE: a checkout of the SSD branch; needs grpcio-tools)
The two files run in a scratch folder, on the original's caffe.proto; only what Python 3 asks for is changed in them.
nets.json.xz has the prototxt of each case of cases.py by its name.
"""
import json
import lzma
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import texts

TRANSLATION = {
    'net_spec.py': [('import six', 'class six:\n    iteritems = staticmethod(lambda d: iter(d.items()))')],
    'model_libs.py': [('xrange', 'range'), (r'assert len > 0', 'assert num > 0'), (r'(- 1\)) / 2$', r'\1 // 2')],
}


def main(checkout, out):
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, 'caffe')
        (package / 'proto').mkdir(parents=True)
        (package / 'proto' / '__init__.py').touch()
        (package / '__init__.py').write_text('from .net_spec import layers, params, NetSpec, to_proto\n')
        proto = Path(checkout, 'src/caffe/proto')
        subprocess.check_call([sys.executable, '-m', 'grpc_tools.protoc', '-I%s' % proto, '--python_out=%s' % (package / 'proto'), 'caffe.proto'])
        for name, changes in TRANSLATION.items():
            text = Path(checkout, 'python/caffe', name).read_text()
            for old, new in changes:
                text = re.sub(old, new, text, flags=re.M)
            (package / name).write_text(text)
        sys.path.insert(0, folder)
        import caffe
        import caffe.model_libs
        Path(out).write_bytes(lzma.compress(json.dumps(dict(texts(caffe, caffe.model_libs))).encode(), preset=9))


if __name__ == '__main__':
    main(*sys.argv[1:])
