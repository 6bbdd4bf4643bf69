"""Scripts in the manner of those that were written for Caffe, as texts: most are Python 2's."""

from __future__ import annotations

# Draws a devkit: bright squares, class 1, and dark bars, class 2, on noise.
DRAW = """\
import os
import numpy as np
from PIL import Image

random = np.random.RandomState(5)
for name in 'JPEGImages', 'Annotations', 'data', 'lists':
    os.makedirs(name)
for subset, count in (('trainval', 8), ('test', 4)):
    lines = []
    for i in xrange(count):
        stem = '%s_%02d' % (subset, i)
        image = random.randint(80, 120, (64, 72, 3)).astype('uint8')
        boxes = []
        for name, (w, h), shade in (('square', (20, 20), 250), ('bar', (30, 12), 5)):
            x, y = random.randint(0, 72 - w), random.randint(0, 64 - h)
            image[y:y + h, x:x + w] = shade
            boxes.append('<object><name>%s</name><difficult>0</difficult><bndbox><xmin>%d</xmin><ymin>%d</ymin>'
                         '<xmax>%d</xmax><ymax>%d</ymax></bndbox></object>' % (name, x, y, x + w, y + h))
        Image.fromarray(image).save('JPEGImages/%s.jpg' % stem)
        with open('Annotations/%s.xml' % stem, 'w') as f:
            print >> f, '<annotation><size><width>72</width><height>64</height></size>%s</annotation>' % ''.join(boxes)
        lines.append('JPEGImages/%s.jpg Annotations/%s.xml' % (stem, stem))
    open('lists/%s.txt' % subset, 'w').write('\\n'.join(lines) + '\\n')
items = [('none_of_the_above', 'background'), ('square', 'square'), ('bar', 'bar')]
with open('data/labelmap.prototxt', 'w') as f:
    for label, (name, shown) in enumerate(items):
        print >> f, 'item { name: "%s" label: %d display_name: "%s" }' % (name, label, shown)
"""

# Calls Caffe's tools as scripts/create_annoset.py and create_list.sh do.
CREATE = """\
root=$PWD
for subset in test trainval
do
  python - $subset << 'EOF' || exit 1
import subprocess, sys
from caffe.proto import caffe_pb2
from google.protobuf import text_format
text_format.Merge(open('data/labelmap.prototxt').read(), caffe_pb2.LabelMap())
command = './build/tools/convert_annoset --anno_type={} --label_map_file={} --check_label={} --min_dim={}' \\
    ' --encode_type={} --encoded={} --gray={} {} {} {}'.format('detection', 'data/labelmap.prototxt', True, 0, 'png',
    True, False, './', 'lists/%s.txt' % sys.argv[1], '%s_lmdb' % sys.argv[1])
assert not subprocess.Popen(command.split(), stdout=subprocess.PIPE).wait()
EOF
done
build/tools/get_image_size.bin $root/ lists/test.txt data/test_name_size.txt
"""

# Writes the nets of a small SSD, its solver and a job, and runs the job, as examples/ssd/ssd_pascal.py does.
TRAIN = """\
from __future__ import print_function
import caffe
from caffe.model_libs import *
from google.protobuf import text_format
import math, os, stat, subprocess, sys

name, save, classes, size = 'SMALL', 'models/small', 3, 64
score = 'score' in sys.argv
gpus = '0,1'
resize = dict(prob=1, resize_mode=P.Resize.WARP, height=size, width=size, interp_mode=[P.Resize.LINEAR])
transform = dict(mirror=False, mean_value=[104, 117, 123], resize_param=resize)
sampler = [dict(max_trials=1, max_sample=1),
           dict(sampler=dict(min_scale=0.5, max_scale=1.0), sample_constraint=dict(min_jaccard_overlap=0.5),
                max_trials=50, max_sample=1)]
train_transform = dict(transform, mirror=True, emit_constraint=dict(emit_type=caffe_pb2.EmitConstraint.CENTER))
multibox = dict(loc_loss_type=P.MultiBoxLoss.SMOOTH_L1, conf_loss_type=P.MultiBoxLoss.SOFTMAX, loc_weight=1.0,
    num_classes=classes, share_location=True, match_type=P.MultiBoxLoss.PER_PREDICTION, overlap_threshold=0.5,
    background_label_id=0, mining_type=P.MultiBoxLoss.MAX_NEGATIVE, neg_pos_ratio=3., neg_overlap=0.5,
    code_type=P.PriorBox.CENTER_SIZE)

def body(net):
    ConvBNLayer(net, 'data', 'conv1', False, True, 8, 3, 1, 2)
    ConvBNLayer(net, 'conv1', 'conv2', True, True, 16, 3, 1, 2)
    ConvBNLayer(net, net.keys()[-1], 'conv3', False, True, 16, 3, 1, 2)
    from_layers = [net.keys()[-1]]
    ConvBNLayer(net, 'conv3', 'conv4', False, True, 16, 3, 1, 2)
    from_layers.append('conv4')
    return CreateMultiBoxHead(net, data_layer='data', from_layers=from_layers, use_batchnorm=False,
        min_sizes=[12, 24], max_sizes=[24, 40], aspect_ratios=[[2], [2, 3]], steps=[8, 16], normalizations=[20, -1],
        num_classes=classes, flip=True, clip=False, prior_variance=[0.1, 0.1, 0.2, 0.2], kernel_size=3, pad=1)

def check_if_exist(path):
    return os.path.exists(path)

def make_if_not_exist(path):
    if not os.path.exists(path):
        os.makedirs(path)

assert check_if_exist('trainval_lmdb')
snapshot_dir = save
if score:
    save = save + '_score'
make_if_not_exist(save)
newest = 0
for file in os.listdir(snapshot_dir):
    if file.endswith('.caffemodel'):
        newest = max(newest, int(os.path.splitext(file)[0].split('{}_iter_'.format(name))[1]))

net = caffe.NetSpec()
net.data, net.label = CreateAnnotatedDataLayer('trainval_lmdb', batch_size=4, train=True, output_label=True,
    label_map_file='data/labelmap.prototxt', transform_param=train_transform, batch_sampler=sampler)
boxes = body(net)
boxes.append(net.label)
net['mbox_loss'] = L.MultiBoxLoss(*boxes, multibox_loss_param=multibox,
    loss_param=dict(normalization=P.Loss.VALID), include=dict(phase=caffe_pb2.Phase.Value('TRAIN')),
    propagate_down=[True, True, False, False])
with open(save + '/train.prototxt', 'w') as f:
    print('name: "{}_train"'.format(name), file=f)
    print(net.to_proto(), file=f)

net = caffe.NetSpec()
net.data, net.label = CreateAnnotatedDataLayer('test_lmdb', batch_size=2, train=False, output_label=True,
    label_map_file='data/labelmap.prototxt', transform_param=transform)
boxes = body(net)
net.mbox_conf_reshape = L.Reshape(net.mbox_conf, shape=dict(dim=[0, -1, classes]))
net['mbox_conf_softmax'] = L.Softmax(net.mbox_conf_reshape, axis=2)
boxes[1] = net.mbox_conf_flatten = L.Flatten(net['mbox_conf_softmax'], axis=1)
net.detection_out = L.DetectionOutput(*boxes, include=dict(phase=caffe_pb2.Phase.Value('TEST')),
    detection_output_param=dict(num_classes=classes, share_location=True, background_label_id=0,
        nms_param=dict(nms_threshold=0.45, top_k=100), keep_top_k=50, confidence_threshold=0.01,
        code_type=P.PriorBox.CENTER_SIZE, save_output_param=dict(output_directory=os.getcwd() + '/found',
            output_name_prefix='comp4_det_test_', output_format='VOC', label_map_file='data/labelmap.prototxt',
            name_size_file='data/test_name_size.txt', num_test_image=4)))
net.detection_eval = L.DetectionEvaluate(net.detection_out, net.label,
    detection_evaluate_param=dict(num_classes=classes, background_label_id=0, overlap_threshold=0.5,
        evaluate_difficult_gt=False, name_size_file='data/test_name_size.txt'),
    include=dict(phase=caffe_pb2.Phase.Value('TEST')))
with open(save + '/test.prototxt', 'w') as f:
    print('name: "{}_test"'.format(name), file=f)
    print(net.to_proto(), file=f)

with open(save + '/deploy.prototxt', 'w') as f:
    proto = net.to_proto()
    del proto.layer[0]
    del proto.layer[-1]
    proto.name = '{}_deploy'.format(name)
    proto.input.extend(['data'])
    proto.input_shape.extend([caffe_pb2.BlobShape(dim=[1, 3, size, size])])
    print(proto, file=f)

solver = caffe_pb2.SolverParameter(train_net=save + '/train.prototxt', test_net=[save + '/test.prototxt'],
    snapshot_prefix=snapshot_dir + '/' + name, base_lr=0.001, weight_decay=0.0005, lr_policy='multistep',
    stepvalue=[2, 100], gamma=0.1, momentum=0.9, iter_size=1, max_iter=0 if score else 3,
    snapshot=0 if score else 100, display=1, average_loss=10, type='SGD', solver_mode=P.Solver.GPU, device_id=0,
    snapshot_after_train=not score, test_iter=[2], test_interval=100, eval_type='detection', ap_version='11point',
    test_initialization=score, random_seed=1)
with open(save + '/solver.prototxt', 'w') as f:
    print(solver, file=f)

job = save + '/job.sh'
with open(job, 'w') as f:
    f.write('cd {}\\n'.format(os.getcwd()))
    f.write('./build/tools/caffe train \\\\\\n--solver="{}/solver.prototxt" \\\\\\n'.format(save))
    if newest:
        f.write('--weights="{}/{}_iter_{}.caffemodel" \\\\\\n'.format(snapshot_dir, name, newest))
    f.write('--gpu {} 2>&1 | tee {}/{}.log\\n'.format(gpus, save, name))
os.chmod(job, stat.S_IRWXU)
subprocess.call(job, shell=True)
"""

# Finds things in a picture, as examples/ssd/ssd_detect.py does.
DETECT = """\
#encoding=utf8
import os, sys
import numpy as np
from PIL import Image, ImageDraw
sys.path.insert(0, os.path.join('./', 'python'))
import caffe
from google.protobuf import text_format
from caffe.proto import caffe_pb2

caffe.set_device(0)
caffe.set_mode_gpu()
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
feed = caffe.io.Transformer({'data': net.blobs['data'].data.shape})
feed.set_transpose('data', (2, 0, 1))
feed.set_mean('data', np.array([104, 117, 123]))
feed.set_raw_scale('data', 255)
feed.set_channel_swap('data', (2, 1, 0))
labels = caffe_pb2.LabelMap()
text_format.Merge(str(open('data/labelmap.prototxt', 'r').read()), labels)
names = dict((item.label, item.display_name) for item in labels.item)

net.blobs['data'].reshape(1, 3, 64, 64)
net.blobs['data'].data[...] = feed.preprocess('data', caffe.io.load_image(sys.argv[3]))
found = net.forward()['detection_out']
best = [i for i, score in enumerate(found[0, 0, :, 2]) if score >= 0.02][:5]
image = Image.open(sys.argv[3])
width, height = image.size
draw = ImageDraw.Draw(image)
print width, height, found.shape[-1], len(best) > 0
for i in xrange(len(best)):
    _, label, score, xmin, ymin, xmax, ymax = found[0, 0, best[i]].tolist()
    corners = [int(round(xmin * width)), int(round(ymin * height))]
    draw.text(corners, names[int(label)] + str(score), (0, 0, 255))
    print names[int(label)], 0 <= score <= 1
image.save('detect_result.jpg')
"""

# Trains on pictures and label maps, as train.py of dilation does: Python 2 and 3.
SEGMENT = """\
from __future__ import print_function, division
import argparse, subprocess
import caffe
from caffe import layers as L, params as P
from caffe.proto import caffe_pb2

parser = argparse.ArgumentParser()
parser.add_argument('--caffe', default='caffe')
parser.add_argument('--gpu', type=str, default='0')
parser.add_argument('--crop_size', type=int, default=20)
options = parser.parse_args()
margin, stride = 2, 4
size = (options.crop_size - 2 * margin) // stride
net = caffe.NetSpec()
net.data, net.label = L.ImageLabelData(
    transform_param=dict(mirror=True, mean_value=[102.93, 111.36, 116.52], crop_size=options.crop_size),
    image_label_data_param=dict(image_list_path='images.txt', label_list_path='labels.txt', shuffle=True,
        batch_size=2, padding=P.ImageLabelData.REFLECT,
        label_slice=dict(dim=[size, size], stride=[stride, stride], offset=[margin, margin])), ntop=2)
setattr(net, 'conv1', L.Convolution(net.data, param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)],
    convolution_param=dict(num_output=6, kernel_size=5, stride=4, weight_filler=dict(type='xavier'))))
net.relu1 = L.ReLU(net.conv1, in_place=True)
net.ctx = L.Convolution(getattr(net, 'relu1'), convolution_param=dict(num_output=3, kernel_size=3, pad=2, dilation=2,
    weight_filler=dict(type='identity', num_groups=3, std=0.01)))
net.loss = L.SoftmaxWithLoss(net.ctx, net.label, loss_param=dict(ignore_label=255, normalization=P.Loss.VALID))
solver = caffe_pb2.SolverParameter()
solver.train_net = 'train_net.txt'
solver.base_lr, solver.lr_policy, solver.gamma, solver.stepsize = 0.01, 'step', 0.1, 100
solver.display, solver.max_iter, solver.momentum, solver.weight_decay = 1, 3, 0.9, 0.0005
solver.regularization_type, solver.snapshot, solver.solver_mode = 'L2', 3, solver.GPU
solver.snapshot_format, solver.type, solver.snapshot_prefix = solver.BINARYPROTO, 'SGD', 'joint'
for path, message in (('train_net.txt', net.to_proto()), ('solver.txt', solver)):
    print('Writing', path)
    with open(path, 'w') as fp:
        fp.write(str(message))
subprocess.call([options.caffe, 'train', '-solver', 'solver.txt', '-gpu', options.gpu])
"""
