"""RECORD, the list of an installed package's or a wheel's files with their hashes and sizes.

The format is that of the Python Packaging User Guide, "Recording installed projects".
"""

import base64
import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_variants.files import replace_text

Row = tuple[str, str]  # sha256=…, size in bytes


def row(sha256: bytes, size: int) -> Row:
    """The hash and size of a file, as RECORD writes them."""
    return f"sha256={base64.urlsafe_b64encode(sha256).rstrip(b'=').decode()}", str(size)


def rewritten(record: str, changed: Mapping[str, Row], renamed: Mapping[str, str] | None = None) -> str:
    """A RECORD with new hashes for some files, by their old paths, and new paths for some."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for path, *old in csv.reader(io.StringIO(record)):
        writer.writerow(((renamed or {}).get(path, path), *changed.get(path, old)))
    return out.getvalue()


def _row_of(path: Path) -> Row:
    with path.open("rb") as file:
        return row(hashlib.file_digest(file, "sha256").digest(), path.stat().st_size)


def update_records(site: Path, paths: Sequence[Path]) -> None:
    """Enter changed files below site-packages in the RECORDs that list them, where there are any."""
    for record in sorted(site.glob("*.dist-info/RECORD")):
        old = record.read_text(encoding="utf-8")
        listed = {name for name, *_ in csv.reader(io.StringIO(old))}
        names = {path.relative_to(site).as_posix(): path for path in paths if path.is_relative_to(site)}
        changed = {name: _row_of(path) for name, path in names.items() if name in listed}
        new = rewritten(old, changed)
        if changed and new != old:
            replace_text(record, new)
