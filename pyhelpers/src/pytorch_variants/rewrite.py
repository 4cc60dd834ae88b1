"""Write files as plans say, each at once or not at all."""

import fcntl
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.layout import Plan

# Small enough for a processor's cache between the reading and the writing: for pieces that are not
# aligned to pages this is a quarter faster than copying within the kernel (ext4, Linux 6.x).
BLOCK = 1 << 20


@contextmanager
def replacing(target: Path, mode: int) -> Iterator[int]:
    """A new file that takes the target's place when the block ends; the target is the old or the new file.

    Until then it is `.NAME.part` beside it: a run that was killed leaves that one file, which the next
    run takes over, and a run that fails removes it. Not synchronised to the disk, as with `cp`. Raises
    UserError where another process is at work on the same target.
    """
    part = target.with_name(f".{target.name}.part")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(descriptor), part.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise UserError(f"{target}: another process is writing it: wait until that is done")
        try:
            if os.fstat(descriptor).st_size:
                # Not always: ext4 starts writing to the disk when a file that was truncated is closed.
                os.truncate(descriptor, 0)
            yield descriptor
            os.fchmod(descriptor, stat.S_IMODE(mode))
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)


def _read(source: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(source, [into], offset)
        if not count:
            raise UserError("it was cut short while it was read")
        into, offset = into[count:], offset + count


def render(source: int, plan: Plan, start: int, into: memoryview) -> None:
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


def write(source: Path, target: Path, plan: Plan) -> None:
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
