from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from caffecompat.detection.ground_truth import aligned, by_file, file_keys, restricted
from caffecompat.errors import FormatError
from tests.detection.whole_sets import random_found, random_truth


@pytest.fixture
def truth():
    return random_truth(np.random.default_rng(0))


@pytest.fixture
def found(truth):
    return random_found(np.random.default_rng(1), truth)


def renamed(found, **names):
    return replace(
        found, **{what: tuple(names[what].get(name, name) for name in getattr(found, what)) for what in names}
    )


def test_names_are_found_in_any_order(truth, found):
    turned = replace(found, images=found.images[::-1], image=len(found.images) - 1 - found.image)
    back, notes = aligned(turned, truth)
    assert not notes
    np.testing.assert_array_equal(back.image, found.image)
    np.testing.assert_array_equal(back.boxes, found.boxes)


def test_what_is_not_annotated_is_left_out_and_told(truth, found):
    strange = renamed(found, images={"image3": "other"}, classes={"class1": "7"})
    kept, notes = aligned(strange, truth)
    wanted = (found.image != 3) & (found.label != 1)
    np.testing.assert_array_equal(kept.scores, found.scores[wanted])
    assert [note.split(",")[0] for note in notes] == ["1 images of the results", "1 classes of the results"]
    all_of_them, notes = aligned(renamed(found, classes={"class1": "7"}), truth, {"7": ("n07", "class1")})
    assert not notes
    np.testing.assert_array_equal(all_of_them.label, found.label)


def test_nothing_in_common(truth, found):
    with pytest.raises(FormatError, match="none of the images of the results is one of the annotations: 'x"):
        aligned(replace(found, images=tuple("x" + name for name in found.images)), truth)
    with pytest.raises(FormatError, match=r"none of the classes[^\n]*\n.*--label-map"):
        aligned(replace(found, classes=("1", "2", "3")), truth)


def test_some_images_only(truth):
    part = restricted(truth, [5, 2])
    assert part.images == ("image5", "image2")
    assert part.image_names == {"image5": 0, "image2": 1}
    for new, old in ((0, 5), (1, 2)):
        np.testing.assert_array_equal(part.boxes[part.image == new], truth.boxes[truth.image == old])
        np.testing.assert_array_equal(part.areas[part.image == new], truth.areas[truth.image == old])
    assert len(part.image) == ((truth.image == 5) | (truth.image == 2)).sum()


@pytest.mark.parametrize(
    ("names", "file", "wanted"),
    [
        (["1.jpg"], "1.jpg", 0),
        (["a.jpg", "1.jpg"], "/data/val/1.png", 1),
        (["a.xml", "1.v2.xml"], "C:\\data\\1.v2.jpg", 1),
        (["train/1.jpg", "val/1.jpg"], "/data/val/1.jpg", 1),
        (["train/1.jpg", "val/1.jpg"], "/data/1.jpg", None),
        (["1.jpg", "val/1.jpg"], "1.jpg", 0),
        (["1.jpg", "1.png"], "x/1.png", 1),
        (["1.jpg", "1.jpg"], "1.jpg", None),
        (["1.jpg"], "11.jpg", None),
        ([".jpg"], "x.jpg", None),
    ],
)
def test_files_are_known_by_their_names(names, file, wanted):
    known = by_file(names)
    assert next((known[key] for key in file_keys(file) if key in known), None) == wanted


def test_many_folders_make_few_keys():
    assert len(list(file_keys("a/" * 100_000 + "b.jpg"))) == 7


def with_files(found, truth, **changes):
    """The detections of images called by numbers that are the ids of other images in the truth, with their files."""
    count = len(truth.images)
    numbers = tuple(str(count - 1 - index) for index in range(count))
    truth = replace(
        truth,
        image_names={**truth.image_names, **{str(index): index for index in range(count)}},
        file_names=by_file([f"{name}.jpg" for name in truth.images]),
    )
    files = {number: f"photos/{name}.png" for number, name in zip(numbers, truth.images, strict=True)}
    return replace(found, images=numbers, files=files, **changes), truth


def test_the_names_of_files_count_before_ids(truth, found):
    back, notes = aligned(*with_files(found, truth))
    assert not notes
    np.testing.assert_array_equal(back.image, found.image)


def test_a_file_that_is_unknown_is_not_taken_by_its_id(truth, found):
    made, known = with_files(found, truth)
    made = replace(made, files={**made.files, "8": "other.jpg"})
    kept, notes = aligned(made, known)
    np.testing.assert_array_equal(kept.scores, found.scores[found.image != 3])
    assert notes == ["1 images of the results, such as 'other.jpg', are not annotated: left out"]


def test_an_image_twice(truth, found):
    made, known = with_files(found, truth)
    made = replace(made, files={**made.files, "8": "again/image0.jpg"})
    with pytest.raises(
        FormatError, match=r"'photos/image0\.png' and 'again/image0\.jpg' of the results are both the image 'image0'"
    ):
        aligned(made, known)


def test_images_of_which_there_are_no_results(truth, found):
    chosen = found.image < 4
    parts = {name: getattr(found, name)[chosen] for name in ("image", "label", "scores", "boxes")}
    some = replace(found, images=found.images[:4], **parts)
    assert aligned(some, truth)[1] == []
    _, notes = aligned(replace(some, listed=True), truth)
    assert notes == [
        "8 of 12 images of the annotations, such as 'image4', are not among those of the results: their boxes count as "
        "not found"
    ]
    none = replace(some, **{name: values[:0] for name, values in parts.items()})
    assert aligned(none, truth)[1] == ["the results have no detections"]


def test_labels_of_a_net_are_not_ids_of_the_annotations(truth, found):
    """Of COCO the labels are 1 to 80, and the ids 1 to 90."""
    known = replace(truth, class_names={**truth.class_names, "1": 2, "2": 1, "3": 0})
    made = replace(found, classes=("1", "2", "3"))
    np.testing.assert_array_equal(aligned(made, known)[0].label, 2 - found.label)
    titled = replace(made, titles={"1": "class0", "2": "class1", "3": "class2"})
    np.testing.assert_array_equal(aligned(titled, known)[0].label, found.label)
    labels = {str(index + 1): (f"n{index}", f"class{index}") for index in range(3)}
    untitled = replace(made, titles={"1": "", "2": "", "3": ""})
    back, notes = aligned(untitled, known, labels)
    np.testing.assert_array_equal(back.label, found.label)
    assert not notes


def test_a_label_map_that_contradicts_ids_is_told(truth, found):
    known = replace(truth, class_names={**truth.class_names, "1": 2, "2": 1, "3": 0})
    _, notes = aligned(replace(found, classes=("1", "2", "3")), known, {"1": ("n0", "class0"), "2": ("n1", "class1")})
    assert notes == [
        "the class '1' of the results is taken for 'class2', whose id it is in the annotations; in the label map it is "
        "'class0'"
    ]
