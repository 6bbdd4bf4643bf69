"""Records what the original caffe.io, Classifier and Detector compute, under the scikit-image and SciPy of their time.

    python make_pycaffe_io.py CAFFE OUT

CAFFE is a checkout of the original (SSD branch or BVLC master); its io.py, classifier.py and detector.py run as they
are, with a net that is one matrix in place of caffe.Net. Writes OUT/answers.npz and the pictures OUT/pictures/*.
Run under Python 2.7 with numpy 1.11.3, scipy 0.18.1, scikit-image 0.12.3 and Pillow 4.3.0, built with
libjpeg-turbo (its wheel has another decoder, which gives other colours).
"""
import collections
import imp
import os
import struct
import sys
import types
import zlib

import numpy as np
from PIL import Image

SOURCE, OUT = sys.argv[1:]
PICTURES = os.path.join(OUT, 'pictures')


class Net(object):
    """One picture in (channels, 8, 8), five numbers out: a matrix. As caffe.Net, as far as it is asked for."""
    CHANNELS = 3

    def __init__(self, model, *args, **kwargs):
        shape = (2, self.CHANNELS, 8, 8)
        self.inputs, self.outputs = ['data'], ['prob']
        blob = collections.namedtuple('Blob', 'data width')
        self.blobs = {'data': blob(np.zeros(shape, np.float32), 8)}
        self.matrix = np.random.RandomState(7).uniform(-1, 1, (5, self.CHANNELS * 64)).astype(np.float32)

    def forward_all(self, data):
        return {'prob': data.reshape(len(data), -1).dot(self.matrix.T)}


def load():
    caffe = types.ModuleType('caffe')
    caffe.__path__ = []
    proto = types.ModuleType('caffe.proto')
    proto.caffe_pb2 = types.ModuleType('caffe.proto.caffe_pb2')
    caffe.Net, caffe.TEST = Net, 1
    sys.modules.update({'caffe': caffe, 'caffe.proto': proto, 'caffe.proto.caffe_pb2': proto.caffe_pb2})
    for name in 'io', 'classifier', 'detector':
        path = os.path.join(SOURCE, 'python', 'caffe', name + '.py')
        setattr(caffe, name, imp.load_source('caffe.' + name, path))
    return caffe


def picture(height, width, channels, seed):
    """Smooth colours and some noise, uint8."""
    r = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    planes = [127 + 100 * np.sin(x / (3. + c) + y / (5. - c) + seed) + r.uniform(-20, 20, (height, width))
              for c in range(channels)]
    return np.dstack(planes).clip(0, 255).astype(np.uint8)


def pictures():
    rgb, grey = picture(21, 33, 3, 1), picture(21, 33, 1, 2)[:, :, 0]
    alpha = picture(21, 33, 1, 3)
    save = lambda name, image, **kw: image.save(os.path.join(PICTURES, name), **kw)
    save('rgb.png', Image.fromarray(rgb))
    save('grey.png', Image.fromarray(grey))
    save('rgba.png', Image.fromarray(np.dstack([rgb, alpha])))
    save('grey_alpha.png', Image.fromarray(rgb).convert('LA'))
    save('palette.png', Image.fromarray(rgb).convert('P', palette=Image.ADAPTIVE, colors=32))
    save('bits.png', Image.fromarray(grey).convert('1'))
    save('sixteen.png', Image.fromarray(grey.astype(np.int32) * 257 - 100 * (grey > 0), 'I'))
    save('rgb.jpg', Image.fromarray(rgb))
    save('grey.jpg', Image.fromarray(grey))
    exif = 'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    save('turned.jpg', Image.fromarray(rgb), exif=exif)
    save('rgb.bmp', Image.fromarray(rgb))
    with open(os.path.join(PICTURES, 'rgb_sixteen.png'), 'wb') as f:
        f.write(png(np.random.RandomState(9).randint(0, 65536, (5, 7, 3)).astype('>u2')))


def png(image):
    """A PNG file of 16 bits a channel, which Pillow does not write."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data) & 0xffffffff)
    rows = b''.join(b'\0' + row.tobytes() for row in image)
    header = struct.pack('>IIBBBBB', image.shape[1], image.shape[0], 16, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


def images(io):
    for name in sorted(os.listdir(PICTURES)):
        path = os.path.join(PICTURES, name)
        yield 'load/colour/' + name, io.load_image(path)
        yield 'load/grey/' + name, io.load_image(path, color=False)


RESIZES = [((12, 11, 3), (8, 7)), ((4, 5, 3), (9, 13)), ((13, 11, 1), (7, 23)), ((5, 4, 3), (1, 1)), ((5, 4, 1), (3, 1)),
           ((12, 11, 2), (8, 7)), ((4, 5, 4), (9, 13)), ((6, 7, 5), (6, 7)), ((5, 4, 2), (1, 3)), ((1, 1, 3), (3, 4)),
           ((1, 4, 2), (3, 8))]


def resizes(io):
    for order in 1, 0:
        for number, (shape, size) in enumerate(RESIZES):
            if order == 0 and shape[-1] not in (1, 3):
                continue
            image = (np.random.RandomState(number).rand(*shape) * 300 - 40).astype(np.float32)
            yield 'resize/%d/%d' % (order, number), io.resize_image(image, size, interp_order=order)
    yield 'resize/constant', io.resize_image(np.full((3, 4, 3), 2.5, np.float32), (5, 6))
    yield 'resize/doubles', io.resize_image(np.random.RandomState(3).rand(6, 5, 3) - 9, np.array([4, 9]))
    yield 'resize/bytes', io.resize_image(picture(9, 8, 4, 5), (5, 12))
    # Where (old - 1) / (new - 1) * (new - 1) exceeds old - 1 by a rounding, SciPy sees the last row outside.
    yield 'resize/edges', np.array([io.resize_image(np.ones((old, 2, 2), np.float32), (new, 2))[-1, 0, 0]
                                    for old in range(2, 12) for new in range(2, 40)])


def crops(io):
    batch = [np.random.RandomState(n).rand(13, 10, 2).astype(np.float32) for n in range(2)]
    yield 'oversample/odd', io.oversample(batch, (6, 7))
    yield 'oversample/same', io.oversample(batch, (13, 10))


def transformed(io):
    t = io.Transformer({'data': (2, 3, 8, 7)})
    t.set_transpose('data', (2, 0, 1))
    t.set_channel_swap('data', (2, 0, 1))
    t.set_raw_scale('data', 255)
    t.set_mean('data', np.random.RandomState(1).uniform(90, 130, (3, 8, 7)))
    t.set_input_scale('data', .5)
    x = t.preprocess('data', np.random.RandomState(2).rand(11, 13, 3))
    yield 'transformer/preprocess', x
    yield 'transformer/deprocess', t.deprocess('data', x[np.newaxis])
    try:
        t.set_mean('data', np.random.RandomState(1).uniform(90, 130, (3, 5, 12)))
        yield 'transformer/mean', t.mean['data']
    except ValueError:
        pass


def classifiers(caffe):
    inputs = [np.random.RandomState(n).rand(12 + n, 15, 3).astype(np.float32) for n in range(3)]
    options = dict(mean=np.array([104., 117., 123.]), raw_scale=255, channel_swap=(2, 1, 0), input_scale=.01)
    for name, dims in ('net', None), ('larger', (11, 14)):
        net = caffe.classifier.Classifier('', '', image_dims=dims, **options)
        yield 'classifier/%s/crops' % name, net.predict(inputs)
        yield 'classifier/%s/centre' % name, net.predict(inputs, oversample=False)


WINDOWS = [(2, 3, 15, 20), (0, 0, 9, 9), (10, 20, 21, 33), (5, 0, 8, 33), (18, 30, 20, 32)]


def detectors(caffe):
    windows = [np.array(w) for w in WINDOWS]
    means = dict(none=None, vector=np.array([104., 117., 123.]),
                 image=np.random.RandomState(4).uniform(90, 130, (3, 8, 8)))
    for name in sorted(means):
        for pad in None, 2:
            net = caffe.detector.Detector('', '', mean=means[name], raw_scale=255, channel_swap=(2, 1, 0),
                                          context_pad=pad)
            image = caffe.io.load_image(os.path.join(PICTURES, 'rgb.png'))
            key = 'detector/%s/%s/' % (name, pad)
            for number, window in enumerate(windows):
                yield key + 'crop%d' % number, net.crop(image, window)
            found = net.detect_windows([(os.path.join(PICTURES, 'rgb.png'), windows),
                                        (os.path.join(PICTURES, 'grey.jpg'), windows[:2])])
            yield key + 'predictions', np.array([f['prediction'] for f in found])


def main():
    if not os.path.isdir(PICTURES):
        os.makedirs(PICTURES)
    caffe = load()
    pictures()
    answers = {}
    for part in images, resizes, crops, transformed:
        answers.update(part(caffe.io))
    for part in classifiers, detectors:
        answers.update(part(caffe))
    answers['matrix'] = Net('').matrix
    np.savez_compressed(os.path.join(OUT, 'answers.npz'), **answers)
    print(len(answers))


if __name__ == '__main__':
    main()
