"""Pooling of regions of interest, for all regions at once.

A region is a row (image, x1, y1, x2, y2) in pixels of the net's input, both ends included. Its bins are
rectangles of the feature map, which may be empty. Sources of the rules: roi_pooling_layer of Fast R-CNN (with
`pad_ratio`, of Cascade R-CNN), psroi_pooling_layer of R-FCN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Coordinates beyond this are cut, so that they can be whole numbers.
_FAR = 2.0**30


class Bins(NamedTuple):
    """The bins of R regions, `rows` x `columns` each; int64.

    Attributes:
        image: (R,) the image of each region.
        top: (R, rows) first row of the feature map in each row of bins.
        bottom: (R, rows) the row after the last.
        left: (R, columns) first column.
        right: (R, columns) the column after the last.
    """

    image: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


def round_half_away(values: Tensor) -> Tensor:
    """Rounded to whole numbers as C's `round` does it: halves away from 0."""
    whole = values.trunc()
    return whole + (values - whole).abs().ge(0.5) * values.sign()


def _within_reach(corners: Tensor) -> Tensor:
    """Coordinates that can be whole numbers, whatever they were."""
    return corners.nan_to_num(0.0).clamp(-_FAR, _FAR)


def _edges(start: Tensor, size: Tensor, offset: Tensor, count: int, limit: int) -> tuple[Tensor, Tensor]:
    """Where `count` bins of `size` begin and end behind `start`, moved by `offset`, within 0..limit."""
    places = torch.arange(count + 1, dtype=size.dtype, device=size.device)
    steps = places * size[:, None] + start[:, None]
    begin, end = steps[:, :-1].floor() + offset[:, None], steps[:, 1:].ceil() + offset[:, None]
    return begin.clamp(0, limit).long(), end.clamp(0, limit).long()


def max_bins(
    rois: Tensor, scale: float, pooled: tuple[int, int], size: tuple[int, int], pad_ratio: float = 0.0
) -> Bins:
    """The bins of ROIPooling: the region's corners are rounded to the feature map, the bins overlap by up to a row.

    Args:
        rois: (R, 5).
        scale: size of the feature map by that of the input.
        pooled: rows and columns of bins.
        size: height and width of the feature map.
        pad_ratio: by how much of its size a region grows on each side.
    """
    low, high = rois[:, 1:3], rois[:, 3:5]
    pad = (high - low + 1) * pad_ratio
    low, high = (_within_reach(round_half_away(corner * scale)) for corner in (low - pad, high + pad))
    sides = (high - low + 1).clamp(min=1)
    zero = torch.zeros_like(sides[:, 0])
    left, right = _edges(zero, sides[:, 0] / pooled[1], low[:, 0], pooled[1], size[1])
    top, bottom = _edges(zero, sides[:, 1] / pooled[0], low[:, 1], pooled[0], size[0])
    return Bins(rois[:, 0].long(), top, bottom, left, right)


def average_bins(rois: Tensor, scale: float, group: int, size: tuple[int, int]) -> Bins:
    """The bins of PSROIPooling, `group` by `group`: corners are rounded in the input, a side is at least 0.1.

    Args:
        rois: (R, 5).
        scale: size of the feature map by that of the input.
        group: rows, and columns, of bins.
        size: height and width of the feature map.
    """
    low = _within_reach(round_half_away(rois[:, 1:3]) * scale)
    high = _within_reach((round_half_away(rois[:, 3:5]) + 1) * scale)
    steps = (high - low).clamp(min=0.1) / group
    zero = torch.zeros_like(steps[:, 0])
    left, right = _edges(low[:, 0], steps[:, 0], zero, group, size[1])
    top, bottom = _edges(low[:, 1], steps[:, 1], zero, group, size[0])
    return Bins(rois[:, 0].long(), top, bottom, left, right)


def max_over_bins(x: Tensor, bins: Bins) -> Tensor:
    """The greatest value of each bin, whose gradient goes to the first such value by rows; 0 for an empty bin.

    As in the original, nan is never the greatest, and nothing below float32's least value is.

    Args:
        x: (N, C, H, W).
        bins: for R regions, P by Q.

    Returns:
        (R, C, P, Q), the dtype of `x`.
    """
    channels = x.shape[1]
    lowest = max(torch.finfo(x.dtype).min, torch.finfo(torch.float32).min)
    with torch.no_grad():
        place = _first_greatest(x, bins, lowest).permute(0, 3, 1, 2)
        empty = ((bins.bottom <= bins.top)[:, :, None] | (bins.right <= bins.left)[:, None])[:, None]
        plane = bins.image[:, None] * channels + torch.arange(channels, device=x.device)
        index = plane[:, :, None, None] * (x.shape[2] * x.shape[3]) + place.clamp(min=0)
        nothing = torch.where(empty, 0.0, lowest).to(x.dtype)
    values = x.reshape(-1).index_select(0, index.reshape(-1)).view(index.shape)
    return torch.where(place >= 0, values, nothing)


def _first_greatest(x: Tensor, bins: Bins, lowest: float) -> Tensor:
    """(R, P, Q, C) the place row * W + column of each bin's first greatest value, -1 if there is none.

    A table holds the greatest value of every window of 2^i x 2^j; a bin is covered by four such windows, which
    may overlap. Bins are looked up table by table.
    """
    levels_h, levels_w = _level(bins.bottom - bins.top), _level(bins.right - bins.left)
    height = levels_h[:, :, None].expand(-1, -1, levels_w.shape[1])
    width = levels_w[:, None].expand_as(height)
    found = torch.full((*height.shape, x.shape[1]), -1, dtype=torch.int64, device=x.device)
    wanted = _tables(height, width, (x.shape[2], x.shape[3]))
    wide = _table(x)
    at_width = 0
    for level_w in sorted({level for level, _ in wanted}):
        while at_width < level_w:
            wide = _double(wide, 2, at_width)
            at_width += 1
        table, at_height = wide, 0
        for level_h in sorted(level for level_x, level in wanted if level_x == level_w):
            while at_height < level_h:
                table = _double(table, 1, at_height)
                at_height += 1
            region, row, column = ((height == level_h) & (width == level_w)).nonzero().unbind(1)
            best = _covered(table, bins, (region, row, column), (2**level_h, 2**level_w))
            found[region, row, column] = best[1].masked_fill(~(best[0] > lowest), -1).long()
    return found


def _tables(height: Tensor, width: Tensor, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The tables that any bin is looked up in: exponents of width and height. All there are in a program to export."""
    most = size[1].bit_length()
    if torch.compiler.is_compiling():
        return [(level_w, level_h) for level_w in range(most) for level_h in range(size[0].bit_length())]
    code = torch.unique((height * most + width)[(height >= 0) & (width >= 0)]).tolist()
    return [(level % most, level // most) for level in code]


def _level(sizes: Tensor) -> Tensor:
    """The greatest power of 2 that is at most each size, as its exponent; below 0 for an empty bin."""
    exponent = torch.frexp(sizes.clamp(min=0).to(torch.float64)).exponent - 1
    return exponent.masked_fill(sizes <= 0, -1)


Table = tuple[Tensor, Tensor]


def _table(x: Tensor) -> Table:
    """The values (N, H, W, C), nan as the least, and the place of each in its plane."""
    values = x.detach().permute(0, 2, 3, 1).contiguous()
    values = values.masked_fill(values.isnan(), -torch.inf)
    places = torch.arange(x.shape[2] * x.shape[3], dtype=torch.int32, device=x.device)
    return values, places.view(1, x.shape[2], x.shape[3], 1).expand_as(values)


def _better(a: Table, b: Table) -> Table:
    second = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return torch.where(second, b[0], a[0]), torch.where(second, b[1], a[1])


def _double(table: Table, axis: int, level: int) -> Table:
    """The table of windows twice as long on an axis, where they are 2^level long now."""
    step, length = 2**level, table[0].shape[axis]
    first, second = ([part.narrow(axis, begin, length - step) for part in table] for begin in (0, step))
    return _better((first[0], first[1]), (second[0], second[1]))


def _covered(table: Table, bins: Bins, chosen: tuple[Tensor, Tensor, Tensor], window: tuple[int, int]) -> Table:
    """The best of the four windows that cover each chosen bin, (K, C) each."""
    region, row, column = chosen
    _, height, width, channels = table[0].shape
    flat = tuple(part.reshape(-1, channels) for part in table)
    top, left = bins.top[region, row], bins.left[region, column]
    bottom, right = bins.bottom[region, row] - window[0], bins.right[region, column] - window[1]
    best: Table | None = None
    for y, x in ((top, left), (top, right), (bottom, left), (bottom, right)):
        place = (bins.image[region] * height + y) * width + x
        corner = (flat[0][place], flat[1][place])
        best = corner if best is None else _better(best, corner)
    assert best is not None
    return best


def average_over_bins(x: Tensor, bins: Bins, outputs: int) -> Tensor:
    """The mean of each bin in the bin's own channel (position-sensitive pooling); 0 for an empty bin.

    Args:
        x: (N, outputs * G * G, H, W); bin (p, q) of output d reads channel (d * G + p) * G + q.
        bins: for R regions, G by G.
        outputs: how many channels come out.

    Returns:
        (R, outputs, G, G), the dtype of `x`.
    """
    group = bins.top.shape[1]
    channels, height, width = x.shape[1:]
    # Sums of all that lies above and left; in float64, as they are subtracted from each other.
    sums = torch.nn.functional.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0)).reshape(-1)
    channel = torch.arange(channels, device=x.device).view(1, outputs, group, group)
    plane = bins.image[:, None, None, None] * channels + channel
    area = (bins.bottom - bins.top).clamp(min=0)[:, :, None] * (bins.right - bins.left).clamp(min=0)[:, None]

    def corner(y: Tensor, x: Tensor) -> Tensor:
        index = (plane * (height + 1) + y[:, None, :, None]) * (width + 1) + x[:, None, None]
        return sums.index_select(0, index.reshape(-1)).view(index.shape)

    total = corner(bins.bottom, bins.right) - corner(bins.top, bins.right)
    total = total - corner(bins.bottom, bins.left) + corner(bins.top, bins.left)
    mean = torch.where(area[:, None] > 0, total / area[:, None].clamp(min=1), 0.0)
    return mean.to(x.dtype)
