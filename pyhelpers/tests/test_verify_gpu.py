"""GPU code of a build from source: what PyTorch compiles is exact, what it links may be for more GPUs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from binaries import nvcc_library, nvcc_objects

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.binary.fatbin import RELOCATABLE_SECTION_NAME, SECTION_NAME, read_fatbins
from pytorch_variants.binary.registration import Whose, whose_containers
from pytorch_variants.findings import Finding, Origin
from pytorch_variants.names.variant import Variant, parse_name
from pytorch_variants.verify.environment import read_tree
from pytorch_variants.verify.facts import Candidate
from pytorch_variants.verify.gpu import check_gpu
from pytorch_variants.verify.static import read_library

# Many objects are compiled and linked.
pytestmark = pytest.mark.slow

KERNEL = """
%s __global__ void %s(float *x) { x[threadIdx.x] += 1; } %s
extern "C" void run_%s(float *x) { %s%s<<<1, 32>>>(x); }
"""


def kernel(name: str, namespace: str = "") -> str:
    """A source file with one kernel, global or of a namespace."""
    before, after, prefix = (
        (f"namespace {namespace} {{", "}", f"{namespace}::") if namespace else ("", "", "")
    )
    return KERNEL % (before, name, after, name, prefix, name)


OWN = kernel("gelu", "at")
NCCL = kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL")
MAGMA = kernel("zgemv_kernel")
OTHER = kernel("helper")


def check_gpu_code(directory: Path, variant: Variant, origin: Origin) -> Iterator[Finding]:
    """The rows about the GPU code of a directory that is a torch package."""
    libraries = [read_library(Candidate(p, p.name, "torch", "torch")) for p in read_tree(directory).elf]
    return check_gpu(libraries, variant, origin)


def rows(
    directory: Path, library: str, *parts: tuple[str, str, bool], origin: Origin = Origin.SOURCE
) -> list[Finding]:
    """The findings about a build for sm_90 that has this library, of (source, architectures, relocatable)."""
    (directory / "lib").mkdir(parents=True)
    for name in {"libtorch_cuda.so", library}:
        made = nvcc_objects(*(parts if name == library else ((OWN, "90", False),)))
        shutil.copyfile(made, directory / "lib" / name)
    findings = check_gpu_code(directory, parse_name("pytorch-sm90-avx512"), origin)
    return [row for row in findings if row.where.startswith(library) and row.status != "ok"]


@pytest.mark.parametrize(
    ("library", "parts"),
    [
        ("libtorch_cuda.so", ((OWN, "90", False), (NCCL, "80 90 120", False))),
        ("libtorch_cuda.so", ((OWN, "90", False), (NCCL, "80 90 120", True))),
        ("libtorch_cuda_linalg.so", ((OWN, "90", False), (MAGMA, "80 90 120", False))),
    ],
    ids=["nccl", "nccl, device-linked", "magma"],
)
def test_what_is_linked_may_have_more(
    library: str, parts: tuple[tuple[str, str, bool], ...], tmp_path: Path
) -> None:
    found = rows(tmp_path, library, *parts)
    assert [(row.status, row.check) for row in found if row.check != "device linker's input"] == [
        ("note", "linked GPU code")
    ]


@pytest.mark.parametrize(
    ("library", "parts", "found"),
    [
        ("libtorch_cuda.so", ((OWN, "80 90", False), (NCCL, "80 90 120", False)), "sm_80 sm_90"),
        ("libtorch_cuda.so", ((OWN, "90", False), (OTHER, "90 120", False)), "sm_90 sm_120"),
        ("libtorch_cuda.so", ((OWN, "90", False), (NCCL, "80 120", False)), "sm_80 sm_120: alone in 1 of 3"),
        ("libtorch_cuda_linalg.so", ((OWN, "80 90", False), (MAGMA, "80 90", False)), "sm_80 sm_90"),
        ("libtorch_nvshmem.so", ((OWN, "80 90", False),), "sm_80 sm_90"),
    ],
    ids=["own code with nccl", "of nobody known", "nccl without the target", "own code with magma", "alone"],
)
def test_what_is_compiled_has_to_be_exact(
    library: str, parts: tuple[tuple[str, str, bool], ...], found: str, tmp_path: Path
) -> None:
    said = [row.found_text for row in rows(tmp_path, library, *parts) if row.status == "wrong"]
    assert [text for text in said if text.startswith(found)], said


@pytest.mark.parametrize(("origin", "status"), [(Origin.SOURCE, "wrong"), (Origin.WHEEL, "ok")])
def test_code_of_an_earlier_architecture_that_runs(origin: Origin, status: str, tmp_path: Path) -> None:
    """Official libraries other than the main one may have it; what is compiled here may not."""
    (tmp_path / "lib").mkdir()
    shutil.copyfile(
        nvcc_library("sm80", "-gencode=arch=compute_80,code=sm_80"), tmp_path / "lib" / "libtorch_nvshmem.so"
    )
    findings = check_gpu_code(tmp_path, parse_name("pytorch-sm86-avx2"), origin)
    [row] = [row for row in findings if row.where.startswith("libtorch_nvshmem.so")]
    assert (row.status, " ".join(row.found)) == (status, "sm_80")


def test_an_official_wheel_is_not_compiled_here(tmp_path: Path) -> None:
    found = rows(
        tmp_path, "libtorch_cuda.so", (OWN, "90", False), (NCCL, "90 120", False), origin=Origin.WHEEL
    )
    assert [row.found for row in found] == [("sm_90", "sm_120")]


def test_the_device_linkers_input_is_told_apart(tmp_path: Path) -> None:
    path = nvcc_objects((OWN, "90", True))
    with open_elf(path) as elf:
        assert elf.section("__nv_relfatbin")
    found = rows(tmp_path, "libtorch_nvshmem.so", (OWN, "90", True))
    assert [(row.status, row.check) for row in found] == [("note", "device linker's input")]


def test_whose_kernels_a_container_has() -> None:
    """Each object's own, and what a device linker has joined."""
    mixed = kernel("relu", "at") + kernel("plain"), kernel("ncclDevKernel_Broadcast") + kernel("stray")
    parts = [(source, "90", False) for source in (OWN, NCCL, OTHER, *mixed)]
    expected = [Whose.PYTORCH, Whose.NCCL, Whose.OTHER, Whose.PYTORCH, Whose.OTHER]
    with open_elf(nvcc_objects(*parts)) as elf:
        places = [container.offset for container in read_fatbins(elf)]
        # The one in front is of the device linker, which had nothing to join.
        assert whose_containers(elf) == dict(zip(places[1:], expected, strict=True))
    with open_elf(nvcc_objects((OWN, "90", True), (NCCL, "90", True))) as elf:
        places = [container.offset for container in read_fatbins(elf)]
        assert whose_containers(elf) == dict.fromkeys(places, Whose.JOINED)
    # Symbols tell it: without them nothing is known.
    with open_elf(
        nvcc_library("whosestripped", "-gencode=arch=compute_90,code=sm_90", "-Xlinker", "-s")
    ) as elf:
        assert whose_containers(elf) == {}


def test_real_code_of_nccl_and_magma(environment: Path, official_libraries: Path) -> None:
    """The official PyTorch has NCCL as a library of its own and links MAGMA."""
    [nccl] = environment.glob("lib/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2")
    for path, expected in (
        (nccl, {Whose.NCCL, Whose.JOINED}),
        (official_libraries / "libtorch_cuda_linalg.so", {Whose.OTHER}),
        (official_libraries / "libtorch_cuda.so", {Whose.PYTORCH}),
    ):
        with open_elf(path) as elf:
            sections = (SECTION_NAME, RELOCATABLE_SECTION_NAME)
            places = {container.offset for name in sections for container in read_fatbins(elf, name)}
            found = whose_containers(elf)
            assert set(found) <= places
            assert set(found.values()) <= expected
            assert len(found) > 0.9 * len(places)
