"""For each rule about SSD what it finds, and what it does not."""

from __future__ import annotations

from pathlib import Path

from caffecompat.solver.multibox import VGG
from tests.solver.boxes import GOOD, LABEL_MAP
from tests.solver.lint.cases import weights
from tests.solver.lint.examples import Case
from tests.solver.lint.ssd_examples import database, names

TINY = [tuple((label, *(corner / 400 for corner in corners)) for label, *corners in GOOD)] * 12
PIXELS = [tuple((label, *(corner * 32 for corner in corners)) for label, *corners in GOOD)] * 12
OBJECTS = "".join(f'item {{ name: "c{label}" label: {label} }}\n' for label in range(1, 6))
LOSS = 'top: "mbox_loss" include { phase: TRAIN }'
PRIORS_A = "min_size: 8 max_size: 12 step: 8"
PRIORS_B = "min_size: 12 max_size: 20 step: 16"
SAMPLER = "batch_sampler { max_sample: 1 max_trials: 1 }"
PERM = 'layer { name: "a_loc_perm" type: "Permute"'
RESIZE = " resize_param { height: 32 width: 32 interp_mode: LINEAR }"


def train(*boxes):
    """Another database to train on, of these boxes a record each."""

    def write(folder: Path) -> None:
        (folder / "train" / "data.mdb").unlink()
        database(folder / "train", list(boxes))

    return write


def held_out(count: int, key: str):
    """Another database to test on, of so many records."""

    def write(folder: Path) -> None:
        (folder / "test" / "data.mdb").unlink()
        database(folder / "test", [GOOD] * count, key)

    return write


def file(name: str, text: str):
    """Another text file."""
    return lambda folder: (folder / name).write_text(text)


def vgg() -> tuple[str, str]:
    """Layers of VGG's names before the others."""
    made, bottom = "", "data"
    for name in sorted(VGG):
        made += (
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ '
            'num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }\n'
        )
        bottom = name
    first = 'layer { name: "conv" type: "Convolution" bottom: "data"'
    return first, made + first.replace("data", bottom)


def vgg_weights(*names: str):
    """Writes w.caffemodel, with these layers of VGG's names."""
    return weights(**{name: [(3, 3, 1, 1), (3,)] for name in names})


def tested_with(sizes: str) -> tuple[str, str]:
    """The PriorBox layer "a_prior" for TRAIN, and beside it one of other sizes for TEST."""
    start = 'layer { name: "a_prior" type: "PriorBox" bottom: "conv" bottom: "data"\n  top: "a_prior" '
    end = " variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }\n"
    both = (
        f"{start}include {{ phase: {phase} }} prior_box_param {{ {stated}{end}"
        for phase, stated in (("TRAIN", PRIORS_A), ("TEST", sizes))
    )
    return f"{start}prior_box_param {{ {PRIORS_A}{end}", "".join(both)


SETTING_CASES = [
    Case("eval-type", "eval_type 'detections' is not known", solver=[('"detection"', '"detections"')]),
    Case("eval-type", "ap_version '12point' is not known", solver=[('"11point"', '"12point"')]),
    Case(
        "eval-type",
        "'eval' is rows of detections, of which there is no mean",
        solver=[('eval_type: "detection"', "")],
    ),
    Case(
        "eval-type",
        "'conv3' is an output, and eval_type \"detection\" takes those of DetectionEvaluate only",
        net=[
            (
                'layer { name: "reshape"',
                'layer { name: "conv3" type: "ReLU" bottom: "conv2" top: "conv3" }\nlayer { name: "reshape"',
            )
        ],
    ),
    Case(
        "ssd-classes",
        "num_classes is 4, and 3 in layer 'out'",
        net=[("detection_evaluate_param { num_classes: 3", "detection_evaluate_param { num_classes: 4")],
    ),
    Case(
        "ssd-classes",
        "background_label_id is 2, and 0 in layer 'mbox_loss'",
        net=[
            (
                "detection_output_param { num_classes: 3",
                "detection_output_param { num_classes: 3 background_label_id: 2",
            )
        ],
        good_net=[
            (
                "detection_output_param { num_classes: 3",
                "detection_output_param { num_classes: 3 background_label_id: -1",
            )
        ],
    ),
    Case(
        "ssd-coding",
        "code_type is CORNER, and code_type of layer 'mbox_loss' CENTER_SIZE",
        net=[
            (
                "detection_output_param { num_classes: 3 code_type: CENTER_SIZE",
                "detection_output_param { num_classes: 3",
            )
        ],
    ),
    Case(
        "ssd-coding",
        "variance_encoded_in_target is true, and encode_variance_in_target of layer 'mbox_loss' false",
        net=[("keep_top_k: 200", "keep_top_k: 200 variance_encoded_in_target: true")],
        good_net=[
            ("keep_top_k: 200", "keep_top_k: 200 variance_encoded_in_target: true"),
            ("overlap_threshold: 0.5", "overlap_threshold: 0.5 encode_variance_in_target: true"),
        ],
    ),
    Case(
        "ssd-scores",
        "its confidences have passed no Softmax and no Sigmoid",
        net=[('bottom: "flatten" bottom: "mbox_prior"', 'bottom: "mbox_conf" bottom: "mbox_prior"')],
    ),
    Case("ssd-scores", "rows of 4, and num_classes of layer 'out' is 3", net=[("dim: -1 dim: 3", "dim: -1 dim: 4")]),
    Case(
        "ssd-scores",
        "confidences pass a Softmax, and conf_loss_type LOGISTIC trains them",
        net=[("overlap_threshold: 0.5", "overlap_threshold: 0.5 conf_loss_type: LOGISTIC")],
        good_net=[
            ("overlap_threshold: 0.5", "overlap_threshold: 0.5 conf_loss_type: LOGISTIC"),
            ('name: "softmax" type: "Softmax"', 'name: "softmax" type: "Sigmoid"'),
        ],
    ),
    Case(
        "squashed-twice",
        "its confidences have passed the Softmax of layer 'early', and it does one itself",
        net=[
            (
                'bottom: "mbox_conf" bottom: "mbox_prior"\n  bottom: "label"',
                'bottom: "e" bottom: "mbox_prior" bottom: "label"',
            ),
            (
                'layer { name: "mbox_loss"',
                'layer { name: "early" type: "Softmax" bottom: "mbox_conf" top: "e" include { phase: TRAIN } }\n'
                'layer { name: "mbox_loss"',
            ),
        ],
    ),
    Case(
        "ssd-loss",
        "propagate_down is false for locations",
        net=[(f"{LOSS} propagate_down: true", f"{LOSS} propagate_down: false")],
    ),
    Case("ssd-loss", "loc_weight is 0", net=[("overlap_threshold: 0.5", "loc_weight: 0")]),
    Case(
        "ssd-loss",
        "neg_pos_ratio is 0: nothing is trained to be background",
        net=[("overlap_threshold: 0.5", "neg_pos_ratio: 0")],
        good_net=[("overlap_threshold: 0.5", "neg_pos_ratio: 0 mining_type: NONE")],
    ),
    Case(
        "ssd-loss", "overlap_threshold is 1.5; 0.5 is usual", net=[("overlap_threshold: 0.5", "overlap_threshold: 1.5")]
    ),
    Case("ssd-output", "keep_top_k is 0: no detection is kept", net=[("keep_top_k: 200", "keep_top_k: 0")]),
    Case("ssd-output", "top_k is 0: no detection is kept", net=[("top_k: 400", "top_k: 0")]),
    Case(
        "ssd-output",
        "confidence_threshold is 0, and no top_k is stated",
        net=[("top_k: 400", ""), ("confidence_threshold: 0.01", "")],
        good_net=[("top_k: 400", "")],
    ),
    Case("ssd-output", "nms_threshold is 0.95; 0.45 is usual", net=[("0.45", "0.95")]),
    Case(
        "ssd-output",
        "confidence_threshold is 0.5: average precision is that of surer detections only",
        net=[("confidence_threshold: 0.01", "confidence_threshold: 0.5")],
    ),
    Case(
        "ssd-batch",
        "base_lr 0.001 for batch_size 4 x iter_size 2 x processes 1 = 8 pictures an iteration; SSD's authors take "
        "0.001 for 32 [ssd-batch]\n"
        "  base_lr: 0.00025 is in proportion; iter_size: 8, or more processes, take 32 pictures",
        solver=[("base_lr: 0.0001", "base_lr: 0.001 iter_size: 2")],
        good_solver=[("base_lr: 0.0001", "base_lr: 0.001 iter_size: 2")],
        good_asked={"processes": 4},
    ),
    Case(
        "ssd-batch",
        "SSD's authors take 0.001 for 32",
        solver=[("base_lr: 0.0001", "base_lr: 0.001")],
        good_solver=[("base_lr: 0.0001", "base_lr: 0.001"), ('"SGD"', '"Adam"')],
    ),
]
PRIOR_CASES = [
    Case(
        "prior-heads",
        "num_output is 6, and layer 'b_prior' has 4 priors at each place: 4 x 3 classes = 12 [prior-heads]\n"
        "  num_output: 12",
        net=[(PRIORS_B, PRIORS_B + " aspect_ratio: 2")],
        good_net=[
            (PRIORS_B, PRIORS_B + " aspect_ratio: 2"),
            ('top: "b_loc"\n  convolution_param { num_output: 8', 'top: "b_loc"\n  convolution_param { num_output: 16'),
            (
                'top: "b_conf"\n  convolution_param { num_output: 6',
                'top: "b_conf"\n  convolution_param { num_output: 12',
            ),
        ],
    ),
    Case(
        "prior-heads",
        "num_output is 8, and layer 'a_prior' has 2 priors at each place: 2 x 4 x 3 classes = 24",
        net=[("overlap_threshold: 0.5", "share_location: false mining_type: NONE")],
    ),
    Case(
        "prior-heads",
        "2 PriorBox layers, and location predictions from 1 layers",
        net=[('bottom: "a_loc_flat" bottom: "b_loc_flat"', 'bottom: "a_loc_flat"')],
    ),
    Case(
        "prior-heads",
        "it predicts from 'conv2', and the priors that stand in its place are those of 'conv'",
        net=[('bottom: "a_conf_flat" bottom: "b_conf_flat"', 'bottom: "b_conf_flat" bottom: "a_conf_flat"')],
    ),
    Case(
        "prior-heads", "order 0, 1, 2, 3: values of a prior", net=[("order: 0 order: 2 order: 3 order: 1", "order: 0")]
    ),
    Case(
        "prior-heads",
        "no Permute follows: values of a prior do not stand together",
        net=[('"Flatten" bottom: "a_conf_perm"', '"Flatten" bottom: "a_conf"')],
    ),
    Case(
        "prior-pixels",
        "min_size 0.25 is cut to 0 pixels: such priors match nothing",
        net=[("min_size: 8", "min_size: 0.25")],
        good_net=[("min_size: 8", "min_size: 8.25")],
    ),
    Case("prior-pixels", "step 0.25 is less than a pixel", net=[("step: 8", "step: 0.25")], good_net=[("step: 8", "")]),
    Case(
        "prior-sizes",
        "min_size 50 is more than the input's 32 pixels",
        net=[("min_size: 12 max_size: 20", "min_size: 50 max_size: 60")],
        good_net=[("min_size: 12 max_size: 20", "min_size: 30 max_size: 36")],
    ),
    Case(
        "prior-sizes",
        "min_size neither ascends nor descends from layer to layer: 8, 12, 10",
        net=[
            ('bottom: "a_prior" bottom: "b_prior"', 'bottom: "a_prior" bottom: "b_prior" bottom: "c_prior"'),
            (
                'layer { name: "mbox_prior"',
                'layer { name: "c_prior" type: "PriorBox" bottom: "conv2" bottom: "data" top: "c_prior" '
                'prior_box_param { min_size: 10 } }\nlayer { name: "mbox_prior"',
            ),
        ],
        good_net=[(PRIORS_A, "min_size: 13 max_size: 17 step: 8")],
    ),
    Case(
        "prior-step",
        "step 16 x 4 rows of 'conv' = 64, and the input has 32 pixels there [prior-step]\n"
        "  step: 8 spreads them over it",
        net=[("step: 8", "step: 16")],
        good_net=[("step: 8", "step_h: 8 step_w: 7")],
    ),
    Case("prior-step", "step 16 x 4 columns of 'conv' = 64", net=[("step: 8", "step_h: 8 step_w: 16")]),
    Case("prior-step", "img_size says 300x300, and 'data' is 32x32", net=[("step: 8", "step: 8 img_size: 300")]),
    Case(
        "prior-variance",
        "variance is 0.1, 0.1, 0.1, 0.1, and 0.1, 0.1, 0.2, 0.2 in layer 'a_prior'",
        net=[(f"{PRIORS_B} variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2", f"{PRIORS_B} variance: 0.1")],
    ),
    Case(
        "prior-differ",
        "min_size is 6, and 8 in TRAIN",
        net=[tested_with("min_size: 6 max_size: 12 step: 8")],
        good_net=[tested_with(PRIORS_A)],
    ),
    Case("prior-differ", "flip is false, and true in TRAIN", net=[tested_with(PRIORS_A + " flip: false")]),
]
BOX_CASES = [
    Case(
        "box-labels",
        "record '00000002_pictures/p2.jpg' of layer 'data' has a box of label 3; classes are 0..2 [box-labels]\n"
        "  num_classes must be 8 or more",
        prepare=train(GOOD, GOOD, [(3, 0.1, 0.1, 0.5, 0.5)], [(7, 0.1, 0.1, 0.5, 0.5)]),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-labels",
        "has a box of label 0; which is the background's",
        prepare=train(GOOD, [(0, 0.1, 0.1, 0.5, 0.5)]),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-labels",
        "has a box of label 5; classes are 0..2",
        net=[("overlap_threshold: 0.5", "use_difficult_gt: true")],
        prepare=train(GOOD, [(5, 0.1, 0.1, 0.5, 0.5, 1)]),
        good_net=[("overlap_threshold: 0.5", "use_difficult_gt: false")],
    ),
    Case(
        "box-labels",
        "layer \"eval\": record '00000000_pictures/p0.jpg' of layer 'data' has a box of label 2; classes are 0..1",
        net=[("detection_evaluate_param { num_classes: 3", "detection_evaluate_param { num_classes: 2")],
    ),
    Case(
        "label-gap",
        "1 of 2 classes of objects have no box in layer 'data'",
        prepare=train([(1, 0.1, 0.1, 0.5, 0.5)]),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "label-map",
        "has labels 3..5, and layer 'data' boxes of label 1, 2: made with another map?",
        prepare=file("map.prototxt", OBJECTS[OBJECTS.index('item { name: "c3"') :]),
        good_net=[("label_map_file", "anno_type: BBOX # label_map_file"), ("label_map_file", "anno_type: BBOX # x")],
    ),
    Case(
        "label-map",
        "has labels 1..5, and num_classes of layer 'mbox_loss' is 3",
        net=[('label_map_file: "map.prototxt"', 'label_map_file: "m"')],
        prepare=file("m", OBJECTS),
    ),
    Case(
        "label-map",
        "has label 1, and no name for classes 2 of layer 'mbox_loss'",
        net=[('label_map_file: "map.prototxt"', 'label_map_file: "m"')],
        prepare=file("m", OBJECTS.split("\n", 1)[0]),
    ),
    Case(
        "label-map",
        "label 0 is 'cat', and background_label_id of layer 'mbox_loss'",
        net=[('label_map_file: "map.prototxt"', 'label_map_file: "m"')],
        prepare=file("m", LABEL_MAP.replace("none_of_the_above", "cat").replace('"cat" label: 1', '"cow" label: 1')),
    ),
    Case(
        "label-map",
        "label 1 is 'cat' already",
        net=[('label_map_file: "map.prototxt"', 'label_map_file: "m"')],
        prepare=file("m", LABEL_MAP + 'item { name: "cow" label: 1 }'),
    ),
    Case(
        "label-map",
        "label_map_file 'm' is not there; no run reads it",
        net=[('label_map_file: "map.prototxt"', 'label_map_file: "m"')],
    ),
    Case(
        "label-map",
        "has no item",
        net=[('label_map_file: "map', 'label_map_file: "no')],
        prepare=file("no.prototxt", ""),
    ),
    Case(
        "no-boxes",
        "none of the first 4 records has a box",
        prepare=train([], [], [], []),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-pixels",
        "24 of 24 boxes are no fractions of the picture, as (3.2, 6.4, 12.8, 16) in record '00000000_pictures/p0.jpg'",
        prepare=train(*PIXELS),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-pixels",
        "the largest of 24 boxes has a side of 0.001 of the picture's",
        prepare=train(*TINY),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-place",
        "2 of 24 boxes have no area, as (0.6, 0.2, 0.1, 0.4)",
        prepare=train(*[GOOD] * 11, [(1, 0.6, 0.2, 0.1, 0.4), (1, 0.2, 0.2, 0.2, 0.4)]),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-place",
        "1 of 23 boxes are outside of the picture, as (1.1, 0.2, 1.3, 0.4)",
        prepare=train(*[GOOD] * 11, [(1, 1.1, 0.2, 1.3, 0.4)]),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "box-place",
        "1 of 23 boxes reach outside of the picture, and are cut off, as (-0.1, 0.2, 0.3, 0.4)",
        prepare=train(*[GOOD] * 11, [(1, -0.1, 0.2, 0.3, 0.4)]),
        good_net=[('source: "train"', 'source: "test"')],
    ),
    Case(
        "prior-fit",
        "0 of 12 boxes overlap a prior by 0.5 or more",
        prepare=train(*[[(1, 0.1, 0.1, 0.2, 0.9)]] * 12),
        good_net=[('source: "train"', 'source: "test"')],
    ),
]
DATA_CASES = [
    Case(
        "bad-sampler",
        "batch_sampler 1: expected 0 < min_scale <= max_scale <= 1, got (2.0, 1.0)",
        net=[("min_scale: 0.5", "min_scale: 2")],
    ),
    Case(
        "bad-sampler",
        "expected 0 <= contrast_lower <= contrast_upper",
        net=[
            ("mirror: true", "distort_param { contrast_prob: 1 contrast_lower: 2 contrast_upper: 1 }"),
            ("train", "none"),
        ],
        good_net=[("mirror: true", "distort_param { contrast_prob: 1 contrast_lower: 0.5 contrast_upper: 1.5 }")],
    ),
    Case(
        "sampler",
        "batch_sampler 1 finds nothing: max_sample is 0",
        net=[("max_sample: 1 max_trials: 50", "max_sample: 0")],
    ),
    Case("sampler", "batch_sampler 0 finds nothing: max_trials is 0", net=[("max_trials: 1 ", "max_trials: 0 ")]),
    Case(
        "sampler",
        "batch_sampler 0 finds nothing: use_original_image is false",
        net=[(SAMPLER, SAMPLER.replace("{ ", "{ use_original_image: false "))],
    ),
    Case(
        "sampler",
        "batch_sampler 1 finds nothing: jaccard_overlap from 1.5 to 1 is not possible",
        net=[("min_jaccard_overlap: 0.3", "min_jaccard_overlap: 1.5")],
        good_net=[("min_jaccard_overlap: 0.3", "min_jaccard_overlap: 0.3 max_jaccard_overlap: 0.9")],
    ),
    Case(
        "sampler",
        "batch_sampler 1 states jaccard_overlap and object_coverage: of several constraints Caffe keeps the first only",
        net=[("min_jaccard_overlap: 0.3", "min_jaccard_overlap: 0.3 min_object_coverage: 0.5")],
    ),
    Case(
        "no-resize",
        "batch_sampler 1 cuts pictures at random, and no resize_param is stated",
        net=[(RESIZE, "")],
        good_net=[(RESIZE, " crop_size: 16")],
    ),
    Case(
        "no-resize",
        "expand_param enlarges pictures at random, and resize_param.prob is below 1",
        net=[
            ("min_scale: 0.5", "min_scale: 1"),
            (RESIZE, " expand_param { prob: 0.5 max_expand_ratio: 2 } resize_param { prob: 0.5 height: 32 width: 32 }"),
        ],
    ),
    Case(
        "input-size",
        "pictures are 40x32, and 32x32 in TRAIN",
        net=[("mean_value: 104 resize_param { height: 32", "mean_value: 104 resize_param { height: 40")],
    ),
    Case(
        "name-size",
        "name_size_file 'names.txt' has 5 pictures, the database 6 records",
        prepare=file("names.txt", names(0, 1, 2, 3, 4)),
        good_net=[
            ("save_output_param {", "# "),
            ('name_size_file: "names.txt"', "}"),
            ('name_size_file: "names.txt"', ""),
        ],
    ),
    Case(
        "name-order",
        "picture 3 of 'names.txt' is 'p3', and record 3 '00000002_pictures/p2.jpg'",
        prepare=file("names.txt", names(0, 1, 3, 2, 4, 5)),
        good_net=[('source: "test"', 'source: "x"')],
    ),
    Case(
        "name-order",
        "picture 1 of 'names.txt' is 'p1', and record 1 '00000000_val/COCO_val_000000000000.jpg'",
        prepare=lambda folder: (
            held_out(6, "{0:08d}_val/COCO_val_{0:012d}.jpg")(folder),
            file("names.txt", names(1, 0, 2, 3, 4, 5))(folder),
            file("good.txt", "".join(f"{number} 32 32\n" for number in range(6)))(folder),
        ),
        good_net=[("names.txt", "good.txt"), ("names.txt", "good.txt")],
    ),
    Case(
        "test-images",
        "files of results are written after 6 pictures (num_test_image), and a test takes 4",
        solver=[("test_iter: 3", "test_iter: 2")],
    ),
    Case(
        "test-images",
        "files of results are written after 4 pictures (num_test_image), and the database has 6",
        net=[("num_test_image: 6", "num_test_image: 4")],
        good_net=[("num_test_image: 6", "num_test_image: 60")],
    ),
    Case(
        "result-classes",
        "label_map_file 'm' has no name for classes 2",
        net=[('"VOC" label_map_file: "map.prototxt"', '"VOC" label_map_file: "m"')],
        prepare=file("m", OBJECTS.split("\n", 1)[0]),
    ),
    Case(
        "results",
        "expected a name, a height and a width, got 'p0 32'",
        net=[
            (
                'label_map_file: "map.prototxt"\n      name_size_file: "names',
                'label_map_file: "map.prototxt" name_size_file: "n',
            )
        ],
        prepare=file("n.txt", "p0 32\n"),
    ),
    Case(
        "missing-file",
        "name_size_file 'n.txt' is not there",
        net=[
            (
                'label_map_file: "map.prototxt"\n      name_size_file: "names',
                'label_map_file: "map.prototxt" name_size_file: "n',
            )
        ],
        good_net=[("output_directory", "output_name_prefix")],
    ),
    Case(
        "told",
        "output_format 'VOD' is not known: no results are written",
        net=[('"VOC"', '"VOD"')],
    ),
]
WEIGHT_CASES = [
    Case(
        "ssd-weights",
        "no weights are named for the layers of VGG",
        net=[vgg()],
        prepare=vgg_weights(*VGG),
        good_net=[vgg()],
        good_asked={"weights": ["w.caffemodel"]},
    ),
    Case(
        "left-to-filler",
        'layer "conv1_2": ',
        net=[vgg()],
        prepare=lambda folder: (
            vgg_weights(*VGG)(folder),
            (folder / "w.caffemodel").rename(folder / "good.caffemodel"),
            vgg_weights(*VGG - {"conv1_2"})(folder),
        ),
        asked={"weights": ["w.caffemodel"]},
        good_net=[vgg()],
        good_asked={"weights": ["good.caffemodel"]},
    ),
]
SSD_CASES = [*SETTING_CASES, *PRIOR_CASES, *BOX_CASES, *DATA_CASES, *WEIGHT_CASES]
