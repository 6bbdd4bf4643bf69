"""Record the graphs that the original makes of net.prototxt: BVLC master's python/caffe/draw.py.

    python make_draw.py CAFFE        (CAFFE: a checkout of BVLC's; needs grpcio-tools and pydot 4.0.1)
It writes graphs.json: nodes with their attributes and edges with their labels, by direction, phase and rates.
"""
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import text_format


def main(checkout):
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, 'caffe')
        (package / 'proto').mkdir(parents=True)
        (package / '__init__.py').touch()
        (package / 'proto' / '__init__.py').touch()
        proto = Path(checkout, 'src/caffe/proto')
        subprocess.check_call([sys.executable, '-m', 'grpc_tools.protoc', '-I%s' % proto, '--python_out=%s' % (package / 'proto'), 'caffe.proto'])
        sys.path.insert(0, folder)
        from caffe.proto import caffe_pb2
        spec = importlib.util.spec_from_file_location('caffe.draw', Path(checkout, 'python/caffe/draw.py'))
        draw = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(draw)
        net = caffe_pb2.NetParameter()
        here = Path(__file__).parent
        text_format.Merge((here / 'net.prototxt').read_text(), net)
        graphs = {}
        for rankdir, phase, rates, labels in itertools.product(('LR', 'TB'), (None, 0, 1), (False, True), (False, True)):
            graph = draw.get_pydot_graph(net, rankdir, labels, phase, rates)
            nodes = [[node.get_name().strip('"'), node.get_attributes()] for node in graph.get_nodes()]
            edges = [[edge.get_source().strip('"'), edge.get_destination().strip('"'), edge.get_attributes()['label']] for edge in graph.get_edges()]
            graphs['%s %s %s %s' % (rankdir, phase, rates, labels)] = [nodes, edges]
        (here / 'graphs.json').write_text(json.dumps(graphs).replace('], "', '],\n"') + '\n')


if __name__ == '__main__':
    main(sys.argv[1])
