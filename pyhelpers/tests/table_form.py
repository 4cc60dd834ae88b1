"""The form of the hardware table: the fields that an entry may have, and what to write for a wrong one."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Table = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A text that matches a pattern, or a list of such texts; true where there is no pattern."""

    pattern: str | None
    write: str
    many: bool = False
    required: bool = True

    def wrong(self, value: object) -> object:
        """The value, or of a list what is wrong in it; None where all is right."""
        if not self.many:
            return None if self._is_right(value) else value
        if not isinstance(value, list) or not value:
            return value
        return [item for item in value if not self._is_right(item)] or None

    def _is_right(self, value: object) -> bool:
        if self.pattern is None:
            return value is True
        return isinstance(value, str) and re.fullmatch(self.pattern, value, re.ASCII) is not None


TEXT = r"\S(.*\S)?"
CAPABILITY = r"[1-9][0-9]?\.[0-9]"
RELEASE = r"[0-9]+\.[0-9]+"
PLATFORMS = Field("(x86_64|aarch64)-linux", 'a list of "x86_64-linux" and "aarch64-linux"', many=True)
# What PyTorch's CMakeLists.txt has USE_ options for and brings CPU kernels of its own.
COMPONENTS = ("FBGEMM", "KLEIDIAI", "MKLDNN", "NNPACK", "PYTORCH_QNNPACK", "XNNPACK")
COMMON = Field(TEXT, 'a list of sets, as "avx2"', many=True)
FIELDS = {
    "gpu": {
        "capability": Field(CAPABILITY, 'it in quotes, as "9.0"'),
        "architecture": Field(TEXT, 'NVIDIA\'s name, as "Hopper"'),
        "products": Field(
            r"(?i)(?!.*(nvidia|geforce|quadro))(?=.*[a-z])[a-z0-9]\S*( \S+)*",
            'a list of names, as "RTX 4090", without "NVIDIA", "GeForce" and "Quadro"',
            many=True,
        ),
        "platforms": PLATFORMS,
        "tegra": Field(None, "true, or leave it out", required=False),
        "cuda.min": Field(RELEASE, 'a release in quotes, as "12.8"'),
        "cuda.max": Field(RELEASE, 'a release in quotes, as "12.9"', required=False),
        "cudnn.max": Field(RELEASE, 'a release in quotes, as "9.10"', required=False),
        "pytorch.min": Field(RELEASE, 'a release in quotes, as "2.7"'),
    },
    "cuda": {"driver.min": Field(r"[0-9]+(\.[0-9]+){0,2}", 'a driver in quotes, as "525"')},
    "wheel": {
        "cuda": Field(RELEASE, 'a release in quotes, as "12.8"'),
        "python.min": Field(RELEASE, 'a release in quotes, as "3.10"'),
        "python.max": Field(RELEASE, 'a release in quotes, as "3.14"'),
        "targets.x86_64-linux": Field(CAPABILITY, 'a list, as "9.0"', many=True),
        "targets.aarch64-linux": Field(CAPABILITY, 'a list, as "9.0"', many=True, required=False),
    },
    "cpu": {
        "title": Field(TEXT, 'its name, as "AVX-512"'),
        "platforms": PLATFORMS,
        "extends": Field(TEXT, "the name of one set", required=False),
        "flags": Field(r"-m\S+", 'a list of flags, as "-mavx2"', many=True),
        "disable": Field(r"-mno-\S+", 'a list of flags, as "-mno-avx2"', many=True, required=False),
        "without": Field("|".join(COMPONENTS), f"a list of {', '.join(COMPONENTS)}", True, False),
        "cpuinfo": Field("[a-z0-9_]+", 'a list of what /proc/cpuinfo shows, as "avx512_vnni"', many=True),
        "gcc.min": Field(r"[0-9]+(\.[0-9]+)?", 'a release in quotes, as "12" or "4.7"'),
        "first": Field(TEXT, 'a list of CPUs, as "Intel Haswell (2013)"', many=True),
    },
    "maker": {
        "name": Field(TEXT, 'the maker, as "AMD"'),
        "names": Field(".+", 'a regular expression for words, as ".* radeon .*"'),
        "instead": Field(TEXT, "what to use for such a GPU"),
    },
}
NAMES = {
    "gpu": ("sm[0-9]{2,3}", "sm90"),
    "cuda": ("[1-9][0-9]*", "13"),
    "wheel": (RELEASE, '"2.10"'),
    "cpu": ("[a-z0-9_-]+", "avx512vnni"),
    "maker": ("[a-z]+", "amd"),
}


def quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def leaves(entry: Table, place: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an entry by dotted names: ("cuda.min", "12.8")."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{place}{key}.")
        else:
            yield place + key, value


def wrong_names(found: Iterable[str], known: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """What is there and not known, and what may have been meant."""
    known = list(known)
    for name in found:
        if name not in known:
            parts = [other for other in known if other.startswith(f"{name}.")]
            yield name, parts or difflib.get_close_matches(name, known, 1) or known


def wrong_fields(place: str, entry: object, fields: dict[str, Field]) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{place}: {quoted(entry)} is no entry; write [{place}] and its fields below"
        return
    found = dict(leaves(entry))
    if not found:
        yield f"{place}: has no fields; write {', '.join(name for name in fields if fields[name].required)}"
        return
    # Which have products for names, and a check of their own.
    notes = ["notes"] if place.startswith("gpu.") else []
    unknown = list(wrong_names(found, [*fields, *notes]))
    for name, meant in unknown:
        yield f"{place}.{name}: there is no such field; write {' or '.join(meant)}"
    # What was written under a wrong name is not missing too.
    guessed = [meant for _, meant in unknown if len(meant) == 1 or len(meant) < len(fields)]
    spoken_of = {name for meant in guessed for name in meant}
    for name, field in fields.items():
        if name in found and (wrong := field.wrong(found[name])) is not None:
            yield f"{place}.{name}: {quoted(wrong)} is not right; write {field.write}"
        elif field.required and name not in found and name not in spoken_of:
            yield f"{place}.{name}: is missing; write {field.write}"


def wrong_notes(place: str, entry: Table) -> Iterator[str]:
    notes = entry.get("notes", {})
    products = entry.get("products")
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        yield f"{place}.notes: {quoted(notes)} is not right; write a text for a product"
    elif isinstance(products, list):
        for name, meant in wrong_names(notes, map(str, products)):
            yield f"{place}.notes: {quoted(name)} is no product of {place}; write {' or '.join(meant)}"


def wrong_forms(table: Table) -> Iterator[str]:
    """Fields that are not known, are missing, or are of another type or form."""
    for name, meant in wrong_names(table, ["common", *FIELDS]):
        yield f"{name}: there is no such table; write {' or '.join(meant)}"
    if (wrong := COMMON.wrong(table.get("common", []))) is not None:
        yield f"common: {quoted(wrong)} is not right; write {COMMON.write}"
    for kind, fields in FIELDS.items():
        entries = table.get(kind)
        if not isinstance(entries, dict):
            yield f"{kind}: is no table of entries; write [{kind}.{NAMES[kind][1]}]"
            continue
        for name, entry in entries.items():
            place = f"{kind}.{name}"
            if not re.fullmatch(NAMES[kind][0], name, re.ASCII):
                yield f"{place}: {quoted(name)} is no name; write one as {NAMES[kind][1]}"
            elif kind == "gpu" and isinstance(entry, dict):
                without_notes = {key: value for key, value in entry.items() if key != "notes"}
                yield from wrong_fields(place, without_notes, fields)
                yield from wrong_notes(place, entry)
            else:
                yield from wrong_fields(place, entry, fields)
