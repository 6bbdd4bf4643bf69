"""The classes of published data sets, in the order of the nets that were trained on them.

Sources: VOC's devkit; CamVid's label_colors.txt, its 32 classes put into 11 as Sturgess et al. and SegNet do; the order
of those 11, and KITTI's, by the palettes of fyu/dilation (datasets/camvid.json and kitti.json); Cityscapes' labels.py.
"""

from __future__ import annotations

from caffecompat.data.annoset.class_map import VOC_CLASSES
from caffecompat.data.png import Colour
from caffecompat.data.segmentation.label_maps import IGNORED

VOC = ("background", *VOC_CLASSES)

# Each of the 11 classes with CamVid's own that become it, each with its colour.
_STREET: dict[str, dict[str, Colour]] = {
    "building": {
        "Building": (128, 0, 0),
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sky": {"Sky": (128, 128, 128)},
    "car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "sign": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "fence": {"Fence": (64, 64, 128)},
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "sidewalk": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
STREET = tuple(_STREET)
# Void is black.
STREET_COLOURS: dict[Colour, int] = {(0, 0, 0): IGNORED} | {
    colour: label for label, parts in enumerate(_STREET.values()) for colour in parts.values()
}
# The order of SegNet's CamVid, whose label maps hold numbers; the one after them is void.
_SEGNET = "sky building pole road sidewalk tree sign fence car pedestrian bicyclist"
SEGNET_NUMBERS: dict[int, int] = {number: STREET.index(name) for number, name in enumerate(_SEGNET.split())} | {
    11: IGNORED
}

_CITYSCAPES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CITYSCAPES = tuple(_CITYSCAPES)
# labelIds are 0 to 33, and that of a licence plate -1, which is 255 in a byte; those without a trainId do not count.
CITYSCAPES_NUMBERS: dict[int, int] = dict.fromkeys((*range(34), IGNORED), IGNORED) | {
    number: label for label, number in enumerate(_CITYSCAPES.values())
}
