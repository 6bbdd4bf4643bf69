from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from caffecompat.detection.ground_truth import aligned, restricted
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
