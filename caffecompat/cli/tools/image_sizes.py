"""`get_image_size`: the heights and widths of the images of a list, as `name_size_file` wants them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from caffecompat.cli.errors import tell
from caffecompat.errors import FormatError, UsageError, quoted
from caffecompat.formats import atomic_write
from caffecompat.formats.text_file import read_bytes

MAX_BYTES = 1 << 28


def write_sizes(root: str, list_file: str, out: str, ids: str = "") -> None:
    """Write `name height width` for each image of a list.

    Args:
        root: the folder that the names start from.
        list_file: pairs of an image and its label or annotation; the second of each is not looked at.
        out: the file to write.
        ids: a file of pairs of an image's name, without suffix, and the number to write for it; "" writes the names.

    Raises:
        FormatError: a file cannot be read, an image is none, or the two lists do not belong together.
        CaffeCompatError: the file cannot be written.
    """
    from caffecompat.data.images import read_image

    images = [image for image, _ in _pairs(list_file)]
    tell(f"A total of {len(images)} images.")
    numbers = _numbers(ids, len(images)) if ids else None
    lines = []
    for count, image in enumerate(images, 1):
        name = PurePosixPath(image).stem
        if numbers is not None and name not in numbers:
            raise FormatError(f"expected a number for each image, got none for {quoted(name)}", file=ids)
        height, width = read_image(Path(root) / image).shape[:2]
        lines.append(f"{name if numbers is None else numbers[name]} {height} {width}\n")
        if count % 1000 == 0:
            tell(f"Processed {count} files.")
    with atomic_write(out) as file:
        file.write("".join(lines).encode("utf-8", "surrogateescape"))
    if len(images) % 1000:
        tell(f"Processed {len(images)} files.")


def _pairs(path: str) -> Sequence[tuple[str, str]]:
    """The words of a file, two by two."""
    data = read_bytes(Path(path), MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected at most {MAX_BYTES} bytes, got more", file=path)
    words = data.decode("utf-8", "surrogateescape").split()
    if len(words) % 2:
        raise FormatError(f"expected pairs of words, got {len(words)} words", file=path)
    return list(zip(words[::2], words[1::2], strict=True))


def _numbers(path: str, images: int) -> dict[str, int]:
    pairs = _pairs(path)
    numbers = {name: int(number) for name, number in pairs if number.isdecimal() and len(number) < 20}
    if len(numbers) != len(pairs):
        raise FormatError("expected names that are not repeated, each with a number", file=path)
    if len(numbers) != images:
        raise UsageError(f"{path} has {len(numbers)} names; the list has {images} images")
    return numbers
