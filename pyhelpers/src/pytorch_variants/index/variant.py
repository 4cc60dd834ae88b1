"""Variant wheels, as the draft of PEP 825 has them.

Such a wheel has a label as the last part of its name, and says in variant.json what that label stands for:
properties that NVIDIA's provider finds on a machine. https://peps.python.org/pep-0825/
"""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from packaging.requirements import InvalidRequirement, Requirement

from pytorch_variants.errors import UserError
from pytorch_variants.files import replacing
from pytorch_variants.retarget.archive import Writer, open_archive
from pytorch_variants.retarget.nvidia import MOST_METADATA, MOST_RECORD
from pytorch_variants.retarget.record import Row, read_rows, rewritten, row

VARIANTS = "variants"

# The one that uv 0.13 accepts. Each draft has its own: https://github.com/astral-sh/uv/pull/12203
_SCHEMA = "https://variants-schema.wheelnext.dev/peps/825/v0.1.1.json"
# How properties are found is not in the draft yet: uv knows NVIDIA's provider by this.
_PROVIDERS = {
    "nvidia": {
        "requires": ["nvidia-variant-provider"],
        "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
    }
}
_INFO = re.compile(r"([^/]+\.dist-info)/")


def label(gpu: int) -> str:
    """The label of a GPU's variant, and the name of its index: "sm90"."""
    return f"sm{gpu}"


def variants_json(variants: Mapping[int, str]) -> str:
    """What the labels stand for: the CUDA release that a variant needs a driver for, or none, by its GPU."""
    properties = {
        label(gpu): {
            "nvidia": {"sm_arch": [f"{gpu}_real"], **({"cuda_version_lower_bound": [cuda]} if cuda else {})}
        }
        for gpu, cuda in sorted(variants.items())
    }
    data = {
        "$schema": _SCHEMA,
        "default-priorities": {"namespace": ["nvidia"]},
        "providers": _PROVIDERS,
        "variants": properties,
    }
    return json.dumps(data, indent=1) + "\n"


def needed_cuda(metadata: Message) -> str:
    """The major CUDA release of the NVIDIA packages that a wheel requires, as "12"; empty if it names none.

    Any driver of a major release runs what was made for another minor one:
    https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    releases = set()
    for text in metadata.get_all("Requires-Dist", []):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        found = re.fullmatch(r"nvidia-.*-cu([0-9]{2})", requirement.name)
        if found and "extra" not in str(requirement.marker):
            releases.add(found[1])
    return releases.pop() if len(releases) == 1 else ""


def _info(archive: ZipFile) -> str:
    """The wheel's .dist-info directory."""
    found = {match[1] for match in map(_INFO.match, archive.namelist()) if match}
    if len(found) != 1:
        raise UserError(f"{archive.filename}: a wheel has one .dist-info directory; fetch it again")
    return found.pop()


def _text(archive: ZipFile, name: str, most: int) -> str:
    try:
        with archive.open(name) as file:
            return file.read(most).decode()
    except KeyError:
        raise UserError(f"{archive.filename}: no {name} in it; fetch it again") from None


def read_metadata(wheel: Path) -> str:
    """A wheel's METADATA. Raises UserError."""
    with open_archive(wheel) as archive:
        return _text(archive, f"{_info(archive)}/METADATA", MOST_METADATA)


def parse_metadata(text: str) -> Message:
    """Its headers."""
    return Parser().parsestr(text, headersonly=True)


def variant_name(wheel: str, gpu: int) -> str:
    """The name of a wheel's variant.

    >>> variant_name("torch-2.10.0-3-cp311-cp311-manylinux_2_28_x86_64.whl", 90)
    'torch-2.10.0-3-cp311-cp311-manylinux_2_28_x86_64-sm90.whl'
    """
    return f"{wheel.removesuffix('.whl')}-{label(gpu)}.whl"


def _renamed(name: str, old: str, new: str) -> str:
    """The name of an entry in a wheel of another version."""
    if name.startswith((f"{old}.dist-info/", f"{old}.data/")):
        return f"{new}{name.removeprefix(old)}"
    return name


def _add(writer: Writer, like: ZipInfo, name: str, text: str) -> Row:
    data = text.encode()
    return row(writer.add(like, name, lambda start, stop: data[start:stop], len(data)), len(data))


def write_variant(source: Path, retargeted: Path, target: Path, gpu: int, cuda: str) -> None:
    """Make a variant wheel of a retargeted one, which then has the version of the wheel that it was made of.

    What is compressed stays so. Raises UserError; nothing is written then.
    """
    with (
        open_archive(source) as old,
        open_archive(retargeted) as new,
        replacing(target, retargeted.stat().st_mode) as descriptor,
        open(descriptor, "w+b", closefd=False) as out,
        ThreadPoolExecutor(1) as pool,
        Writer(out, pool, 2, lambda _: None) as writer,
    ):
        info = _info(old)
        head, new_head = info.removesuffix(".dist-info"), _info(new).removesuffix(".dist-info")
        record = f"{info}/RECORD"
        rows = {
            _renamed(name, new_head, head): found
            for name, found in read_rows(_text(new, f"{new_head}.dist-info/RECORD", MOST_RECORD)).items()
        }
        kept = set(old.namelist())
        assert old.fp and new.fp
        for entry in new.infolist():
            name = _renamed(entry.filename, new_head, head)
            if name == record:
                continue
            # These say the version, which a variant's label is no part of.
            if name in kept and (name.startswith(f"{info}/") or name.endswith(".py")):
                rows.pop(name, None)
                writer.copy(old.fp.fileno(), old.getinfo(name), name)
            else:
                writer.copy(new.fp.fileno(), entry, name)
        said = f"{info}/variant.json"
        rows[said] = _add(writer, old.getinfo(record), said, variants_json({gpu: cuda}))
        rows.pop(record, None)
        # Last, as the format asks for.
        _add(writer, old.getinfo(record), record, rewritten(_text(old, record, MOST_RECORD), rows))
