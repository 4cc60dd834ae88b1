"""RECORD, the list of an installed package's or a wheel's files with their hashes and sizes.

The format is that of the Python Packaging User Guide, "Recording installed projects".
"""

import base64
import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.files import replace_text
from pytorch_variants.retarget.nvidia import MOST_RECORD

Row = tuple[str, str]  # sha256=…, size in bytes


def row(sha256: bytes, size: int) -> Row:
    """The hash and size of a file, as RECORD writes them."""
    return f"sha256={base64.urlsafe_b64encode(sha256).rstrip(b'=').decode()}", str(size)


def _rows(record: str) -> Iterator[list[str]]:
    try:
        yield from (row for row in csv.reader(io.StringIO(record)) if row)
    except csv.Error as error:
        raise UserError(f"RECORD cannot be read ({error}): the package is damaged") from error


def read_rows(record: str) -> dict[str, Row]:
    """The hash and size of each file that a RECORD lists. Raises UserError on what is no RECORD."""
    return {path: (old[0], old[1]) for path, *old in _rows(record) if len(old) > 1}


def rewritten(record: str, changed: Mapping[str, Row], renamed: Mapping[str, str] | None = None) -> str:
    """A RECORD with new hashes for some files, by their old paths, and new paths for some.

    Files that it does not list are added. Raises UserError on what is no RECORD.
    """
    out, new = io.StringIO(), dict(changed)
    writer = csv.writer(out, lineterminator="\n")
    for path, *old in _rows(record):
        writer.writerow(((renamed or {}).get(path, path), *(new.pop(path, None) or old)))
    # RECORD's own row, which has no hash, comes last in official wheels; where makes no difference.
    for path in sorted(new):
        writer.writerow((path, *new[path]))
    return out.getvalue()


def _row_of(path: Path) -> Row:
    with path.open("rb") as file:
        return row(hashlib.file_digest(file, "sha256").digest(), path.stat().st_size)


def _read_record(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_RECORD + 1)
        if len(data) > MOST_RECORD:
            raise UserError(f"{path}: more than {MOST_RECORD} bytes: the package is damaged")
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: the package is damaged") from error


def update_records(site: Path, paths: Sequence[Path], added: Mapping[Path, Path] | None = None) -> None:
    """Enter changed files below site-packages in the RECORDs that list them, where there are any.

    `added` are new files, each with one that the same RECORD lists. Raises UserError.
    """
    for record in sorted(site.glob("*.dist-info/RECORD")):
        old = _read_record(record)
        try:
            listed = {name for name, *_ in _rows(old)}
        except UserError as error:
            raise UserError(f"{record}: {error}") from error
        names = {path.relative_to(site).as_posix(): path for path in paths if path.is_relative_to(site)}
        changed = {name: _row_of(path) for name, path in names.items() if name in listed}
        for path, beside in (added or {}).items():
            if beside.relative_to(site).as_posix() in listed:
                changed[path.relative_to(site).as_posix()] = _row_of(path)
        new = rewritten(old, changed)
        if changed and new != old:
            replace_text(record, new)
