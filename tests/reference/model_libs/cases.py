"""Calls of the builders, as (name, function of a module of builders); run under the original and under ours."""

import itertools


def cases():
    def body(name, *args, **kwargs):
        def build(caffe, m):
            n = caffe.NetSpec()
            n.data = caffe.layers.Input(shape=dict(dim=[1, 3, 300, 300]))
            getattr(m, name)(n, *args, **kwargs)
            return n
        return build

    flags = lambda *names: [dict(zip(names, values)) for values in itertools.product((False, True), repeat=len(names))]
    word = lambda options: ",".join(k for k, v in options.items() if v)
    for o in flags("need_fc", "fully_conv", "reduced", "dilated", "dropout", "need_fc8"):
        yield "zf " + word(o), body("ZFNetBody", "data", freeze_layers=["conv1", "conv3", "none"] if o["dropout"] else [], **o)
    for o in flags("need_fc", "fully_conv", "reduced", "dilated", "dropout", "dilate_pool4"):
        yield "vgg " + word(o), body("VGGNetBody", "data", freeze_layers=["conv1_1", "conv5_3"] if o["dropout"] else [], **o)
    for name in "ResNet101Body", "ResNet152Body":
        for o in flags("use_pool5", "use_dilation_conv5", "use_global_stats"):
            yield f"{name} " + word(o), body(name, "data", **o)
    for o in flags("output_pred", "use_global_stats"):
        yield "InceptionV3Body " + word(o), body("InceptionV3Body", "data", eps=0.01, **o)
    for o in flags("use_bn", "use_relu", "use_scale", "use_global_stats"):
        for i, w in enumerate((dict(kernel_size=3, pad=1, stride=2, dilation=2), dict(kernel_size=[1, 7], pad=[0, 3], stride=[1, 2], lr_mult=3, conv_prefix='a', conv_postfix='b', bn_prefix='c', scale_prefix='d', scale_postfix='e', bias_prefix='f', bias_postfix='g', moving_average_fraction=.9), dict(kernel_size=[5], pad=2, stride=[1]))):
            yield f"conv {i} " + word(o), body("ConvBNLayer", "data", "out", num_output=7, **w, **o)

    def head(**kwargs):
        def build(caffe, m):
            n = caffe.NetSpec()
            n.data = caffe.layers.Input(shape=dict(dim=[1, 3, 300, 300]))
            n.a = caffe.layers.Convolution(n.data, num_output=4, kernel_size=3)
            n.b = caffe.layers.Convolution(n.a, num_output=5, kernel_size=3)
            tops = m.CreateMultiBoxHead(n, num_classes=3, from_layers=["a", "b"], **kwargs)
            for i, top in enumerate(tops):
                n["out%d" % i] = caffe.layers.Flatten(top)
            return n
        return build

    sizes = dict(min_sizes=[10, [20, 30]], max_sizes=[20, [30, 40]], aspect_ratios=[2, [2, 3]])
    yield "head plain", head(min_sizes=[10, 20])
    yield "head empty", head(min_sizes=[10, 20], max_sizes=[[], 30], aspect_ratios=[[], [2]])
    for o in flags("use_objectness", "use_batchnorm", "share_location", "flip", "clip", "use_scale"):
        yield "head " + word(o), head(**sizes, **o)
    yield "head all", head(**sizes, normalizations=[20, -1], steps=[8, 0], img_height=300, img_width=200, inter_layer_depth=[0, 6], kernel_size=3, pad=1, conf_postfix="_c", loc_postfix="_l", lr_mult=2, prior_variance=[.1, .1, .2, .2], offset=.4, use_global_stats=True, data_layer="data", use_batchnorm=True)
    yield "head square", head(**sizes, normalizations=[20, 10], img_height=300, img_width=300, inter_layer_depth=[7, 6], use_batchnorm=False)

    for o in flags("output_label", "train"):
        for i, w in enumerate((dict(), dict(batch_size=3, label_map_file="m", anno_type=0, transform_param=dict(mirror=True, mean_value=[1, 2]), batch_sampler=[dict(max_trials=1), dict(sampler={}, sample_constraint=dict(min_jaccard_overlap=.5))]))):
            def build(caffe, m, o=o, w=w):
                n = caffe.NetSpec()
                tops = m.CreateAnnotatedDataLayer("db", **o, **w)
                if o["output_label"]:
                    n.data, n.label = tops
                else:
                    n.data = tops
                return n
            yield f"data {i} " + word(o), build


def texts(caffe, m):
    for name, build in cases():
        yield name, str(build(caffe, m).to_proto())
