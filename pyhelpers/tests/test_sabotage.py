"""The sabotage catalogue: wrong builds made from real files, and the finding that names each.

Each case takes the default variant's environment, a correct build, and makes one thing wrong. The wrong
finding with the check's name has to say what is wrong. Cases that the files alone give away are not
imported, which saves the time. So does that each file of the correct build is read once for all cases.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sabotage as ways
from conftest import FLAGSHIP
from sabotage import Sabotage, link_all

from pytorch_variants.findings import Origin
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify import static, wholeness
from pytorch_variants.verify.environment import find_environment
from pytorch_variants.verify.facts import Candidate, LibraryFacts
from pytorch_variants.verify.static import (
    check_files,
    verify,
)


@dataclass(frozen=True)
class Case:
    """What is made wrong, what the build is called, and the check and words that have to name it."""

    make: Callable[[Sabotage], None]
    check: str
    words: str
    variant: str = FLAGSHIP
    origin: Origin = Origin.WHEEL
    imported: bool = False

    @property
    def name(self) -> str:
        return self.make.__name__ + ("" if self.variant == FLAGSHIP else f" as {self.variant}")


CASES = [
    Case(ways.extra_architecture, "GPU code", "sm_80 sm_90"),
    Case(ways.extra_architecture, "GPU code", "sm_80 sm_90", origin=Origin.SOURCE),
    Case(ways.extra_in_a_small_library, "GPU code", "sm_90 sm_120"),
    Case(ways.not_retargeted, "GPU code", "sm_80"),
    Case(ways.nothing, "GPU code", "sm_90", variant="pytorch-sm80-sm90-avx512"),
    Case(ways.nothing, "GPU code", "sm_90", variant="pytorch-sm80-avx512"),
    # Of an official wheel, code for sm_90 runs on what sm_90a is for; PyTorch says what it is built for.
    Case(ways.nothing, "architecture flags", "sm_90", variant="pytorch-sm90a-avx512", imported=True),
    Case(ways.another_architecture, "GPU code", "sm_80"),
    Case(ways.no_code_at_all, "GPU code", ""),
    Case(ways.ptx_alone, "GPU code", "PTX_90"),
    Case(ways.ptx_beside, "GPU code", "sm_90 PTX_90"),
    Case(ways.specific_code_alone, "GPU code", "sm_90a"),
    Case(
        ways.an_object_without_code,
        "code in every container",
        "alone in 3 of 4",
        variant="pytorch-sm80-sm90-avx512",
    ),
    Case(ways.without_cuda, "CUDA build", "no"),
    Case(ways.another_library_by_its_name, "CUDA build", "no"),
    Case(ways.nothing, "CUDA build", "yes", variant="pytorch-cpu-avx512"),
    Case(ways.corrupt_container, "GPU code is whole", "are no fat binary"),
    Case(ways.container_past_its_section, "GPU code is whole", "the file has"),
    Case(ways.entry_past_its_container, "GPU code is whole", "its container has"),
    Case(ways.unknown_kind_of_entry, "GPU code is whole", "unknown kind 99"),
    Case(ways.section_past_the_file, "files", "past the end of the file"),
    Case(ways.code_in_an_odd_section, "GPU code", "sm_80 not in the name"),
    Case(ways.truncated, "files", "past the end of the file"),
    Case(ways.empty, "files", "not an ELF file"),
    Case(ways.not_a_library, "files", "not an ELF file"),
    Case(ways.dangling, "files", "No such file"),
    Case(ways.of_32_bits, "files", "32-bit"),
    Case(ways.of_another_machine, "machine", "aarch64"),
    Case(ways.nothing, "machine", "x86_64", variant="pytorch-sm90-armv9"),
    Case(ways.too_many_instructions, "instructions", "avx512f", variant="pytorch-sm90-avx2"),
    Case(ways.nothing, "instruction set in use", "the platform's own", origin=Origin.SOURCE),
    Case(ways.nothing, "CPU flags", "", origin=Origin.SOURCE, imported=True),
    Case(ways.nothing, "CUDA version", "12.8", variant="pytorch-cuda12_9-sm90-avx512", imported=True),
    Case(ways.nothing, "Python", "3.11", variant="pytorch-python313-sm90-avx512", imported=True),
    Case(ways.lying_flags, "architecture flags", "sm_80", imported=True),
    Case(ways.a_library_missing, "import torch", "libc10.so", imported=True),
    Case(ways.cudnn_missing, "linkage", "no libcudnn.so.9", imported=True),
    Case(ways.cudnn_truncated, "files", "past the end of the file", imported=True),
    Case(ways.another_cuda_runtime, "CUDA libraries", "12.8 13.", imported=True),
    Case(ways.runpath_to_nowhere, "RECORD", "libtorch_cuda_linalg.so: another content"),
    Case(ways.second_torch_of_another_python, "torch packages", "python3.99", imported=True),
    Case(ways.second_torch_installed_over, "torch packages", "torch-2.9.1", imported=True),
    Case(ways.second_torch_in_a_companion, "torch packages", "torchvision/libc10.so", imported=True),
    Case(ways.companion_of_another_torch, "companion", "other/torch/lib/libc10.so", imported=True),
    Case(
        ways.companion_that_asks_for_another,
        "companion",
        "asks for torch==2.9.1, this is 2.10.0",
        imported=True,
    ),
    Case(
        ways.companion_of_another_name_that_asks_for_another,
        "companion",
        "asks for torch==2.9.1",
        imported=True,
    ),
    Case(ways.companion_that_exits, "companion", "import torchvision: SystemExit 3", imported=True),
    Case(
        ways.companion_that_ends_the_process,
        "companion",
        "import torchvision: the process ended itself, exit code 0",
        imported=True,
    ),
    Case(ways.companion_that_brings_another_torch, "companion", "import torchvision: nothing", imported=True),
    Case(ways.torch_in_front, "torch imported", "other/torch", imported=True),
    Case(ways.a_changed_python_file, "RECORD", "torch/version.py: another content"),
    Case(ways.a_part_missing, "RECORD", "libnvrtc-builtins.so.12.8: No such file"),
    Case(ways.a_part_missing, "opened by name", "no libnvrtc-builtins.so.12.8", imported=True),
    Case(ways.linalg_missing, "RECORD", "libtorch_cuda_linalg.so: No such file"),
    Case(ways.linalg_missing_without_a_record, "opened by name", "no libtorch_cuda_linalg.so", imported=True),
    Case(ways.an_empty_part_of_cudnn, "RECORD", "libcudnn_heuristic.so.9: 0 bytes"),
    Case(ways.an_empty_part_of_cudnn, "files", "not an ELF file"),
    Case(ways.a_part_that_does_not_load, "loads", "nobody_has_it", imported=True),
    Case(ways.a_looping_tree_with_a_fifo, "files", "neither a file nor a directory"),
    Case(ways.companion_that_does_not_load, "companion", "not_in_there", imported=True),
    Case(ways.companion_for_another_gpu, "GPU code", "sm_80", imported=True),
]


STORE = "/nix/store/"
# As many seconds as an import may take.
UNTIL_IT_ENDS = 1_000_000


@pytest.fixture(scope="module")
def read_already() -> dict[object, LibraryFacts]:
    """What was read of the libraries that lie in the store, where nobody changes them."""
    return {}


@pytest.fixture(scope="module")
def hashed_already() -> dict[object, bytes]:
    """Their hashes."""
    return {}


@pytest.fixture(autouse=True)
def once(
    monkeypatch: pytest.MonkeyPatch,
    read_already: dict[object, LibraryFacts],
    hashed_already: dict[object, bytes],
) -> None:
    """Have each file of the correct build read once for all cases; a case's own files are always read."""
    read, digest = static.read_libraries, wholeness._digest

    def read_libraries(
        candidates: Iterable[Candidate], pool: ProcessPoolExecutor
    ) -> tuple[LibraryFacts, ...]:
        wanted = list(candidates)
        keys = [(os.path.realpath(one.path), one.path.name, one.role) for one in wanted]
        new = [index for index, key in enumerate(keys) if key not in read_already]
        found = dict(zip(new, read([wanted[index] for index in new], pool), strict=True))
        for index, facts in found.items():
            if keys[index][0].startswith(STORE):
                read_already[keys[index]] = facts
        return tuple(
            found.get(index) or replace(read_already[key], path=one.path, name=one.name, package=one.package)
            for index, (key, one) in enumerate(zip(keys, wanted, strict=True))
        )

    def digest_once(path: Path, algorithm: str) -> bytes:
        key = (os.path.realpath(path), algorithm)
        if not key[0].startswith(STORE):
            return digest(path, algorithm)
        if key not in hashed_already:
            hashed_already[key] = digest(path, algorithm)
        return hashed_already[key]

    monkeypatch.setattr(static, "read_libraries", read_libraries)
    monkeypatch.setattr(wholeness, "_digest", digest_once)


@pytest.fixture
def sabotage(environment: Path, official_libraries: Path, tmp_path: Path) -> Iterator[Sabotage]:
    root = tmp_path / "environment"
    [packages] = environment.glob("lib/python3*/site-packages")
    target = root / packages.relative_to(environment)
    link_all(packages, target, "torch")
    link_all(packages / "torch", target / "torch", "lib")
    link_all(packages / "torch" / "lib", target / "torch" / "lib")
    shutil.copytree(environment / "bin", root / "bin", symlinks=True)
    shutil.copyfile(environment / "pyvenv.cfg", root / "pyvenv.cfg")
    yield Sabotage(root, official_libraries)
    # Some cases make libraries of hundreds of megabytes; directories of the store cannot be written to.
    for path in root.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(root)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_caught(case: Case, sabotage: Sabotage, record_property: Callable[[str, object], None]) -> None:
    case.make(sabotage)
    variant = parse_name(case.variant)
    if case.imported:
        findings = list(verify(sabotage.root, variant, case.origin, patience=UNTIL_IT_ENDS).findings)
    else:
        findings = list(check_files(find_environment(sabotage.root), variant, case.origin))
    wrong = {row.check: f"{row.found_text} ({row.where})" for row in findings if row.status == "wrong"}
    rows = [row for row in findings if row.status == "wrong" and row.check == case.check]
    caught = [row for row in rows if case.words in row.found_text]
    assert caught, wrong
    record_property("caught by", f"{case.check}: {caught[0].found_text} | {caught[0].where}")


@pytest.mark.parametrize(
    "make",
    [
        ways.right_companion,
        ways.right_companion_with_a_legacy_extra,
        ways.right_companion_that_prints_and_forks,
        ways.right_companion_for_several_releases,
        ways.without_record,
    ],
    ids=lambda make: make.__name__,
)
def test_what_is_right_passes(make: Callable[[Sabotage], None], sabotage: Sabotage) -> None:
    make(sabotage)
    report = verify(sabotage.root, parse_name(FLAGSHIP), Origin.WHEEL, patience=UNTIL_IT_ENDS)
    assert report.passed, [row for row in report.findings if row.status == "wrong"]
    if make is not ways.without_record:
        assert "companion" in {row.check for row in report.findings}
