"""GPU code for other GPUs, or none where there should be some."""

import struct
from pathlib import Path

from .base import OFFICIAL_210, case, lib, own, tell, write
from .build import companion, fatbin, gpu_library, library, linked
from .elf import (
    CUBIN,
    PTX,
    containers,
    cubin_with_arch,
    fatbins,
    relocations,
    section,
    with_arch,
)

LINALG = "libtorch_cuda_linalg.so"


@case("It is for sm_90, and claims sm_80.", variant="pytorch-sm80-avx512", row="sm_90")
def claims_sm80(env: Path) -> None:
    del env


@case("It is for sm_90, and claims sm_100: nothing runs.", variant="pytorch-sm100-avx512", row="sm_90")
def claims_sm100(env: Path) -> None:
    del env


@case("It is for sm_90 alone, and claims sm_80 and sm_90.", variant="pytorch-sm80-sm90-avx512", row="sm_80")
def claims_sm80_too(env: Path) -> None:
    del env


@case(
    "It is for x86-64, and claims Orin.", variant="pytorch-sm87-armv8_2", row="x86|aarch64|sm_", nothing=True
)
def claims_orin(env: Path) -> None:
    del env


@case("It has CUDA, and claims to be a CPU build.", variant="pytorch-cpu-avx2", row="CUDA|GPU")
def cuda_claims_cpu(env: Path) -> None:
    del env


@case("It has no CUDA, and claims sm_90.", base="cpu", variant="pytorch-sm90-avx2", row="CUDA|GPU")
def cpu_claims_cuda(env: Path) -> None:
    del env


@case(
    "The official wheel, for seven architectures, claims one.",
    base="official",
    variant="pytorch-bin-sm90",
    row="sm_",
)
def official_claims_sm90(env: Path) -> None:
    del env


@case(
    "The official wheel claims an architecture that it has not.",
    base="official",
    variant=OFFICIAL_210.replace("-sm100", "-sm100-sm103"),
    row="sm_103",
)
def official_claims_more(env: Path) -> None:
    del env


@case(
    "The official wheel claims all of its architectures but sm_70.",
    base="official",
    row="sm_70",
    variant=OFFICIAL_210.replace("sm70-", ""),
)
def official_claims_less(env: Path) -> None:
    del env


@case("sm_86 code claims to be sm_89's own, compiled.", base="sm86", variant="pytorch-sm89-avx2", row="sm_86")
def sm86_claims_sm89(env: Path) -> None:
    del env


@case(
    "torch.cuda.get_arch_list says sm_80: torch warns that an H100 is not supported.", row="sm_80", quick=True
)
def arch_list_other(env: Path) -> None:
    path = own(lib(env, "libtorch_python.so"))
    data = path.read_bytes()
    at = data.index(b"sm_90\0")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"sm_80\0")
    tell(env, path)


@case("All kernels of libtorch_cuda_linalg.so are zeros behind whole headers.", row=LINALG, quick=True)
def linalg_payloads_zeroed(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    for container in found:
        for entry in container.entries:
            data[entry.payload : entry.payload + entry.size] = bytes(entry.size)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("One kernel's code of 107 is zeros behind a whole header.", row=LINALG, quick=True)
def linalg_one_payload_zeroed(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    entry = found[len(found) // 2].entries[0]
    data[entry.payload : entry.payload + entry.size] = bytes(entry.size)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("The second half of one compressed kernel is lost.", row=LINALG)
def linalg_payload_half(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    entry = max((x for c in found for x in c.entries), key=lambda x: x.size)
    half = entry.size // 2
    data[entry.payload + half : entry.payload + entry.size] = bytes(entry.size - half)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("Kernels for sm_86 whose entries claim sm_90: the driver finds no image that fits.", row=LINALG)
def linalg_headers_lie(env: Path) -> None:
    from .base import bases

    data, found = fatbins(lib(bases() / "sm86", LINALG))
    for container in found:
        for entry in container.entries:
            struct.pack_into("<I", data, entry.at + 28, 90)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("One kernel of 107 is for sm_86 under a header that says sm_90.", row=LINALG)
def linalg_one_header_lies(env: Path) -> None:
    from .base import bases

    other, theirs = fatbins(lib(bases() / "sm86", LINALG))
    data, ours = fatbins(lib(env, LINALG))
    entry = max((x for c in ours for x in c.entries), key=lambda x: x.size)
    fitting = [x for c in theirs for x in c.entries if x.size <= entry.size]
    small = max(fitting, key=lambda x: x.size)
    code = bytearray(other[small.at : small.at + small.header + small.size])
    struct.pack_into("<I", code, 28, 90)
    struct.pack_into("<Q", code, 8, entry.size)
    code += bytes(entry.header + entry.size - len(code))
    data[entry.at : entry.at + len(code)] = code
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("Every container of libtorch_cuda_linalg.so is empty: no solver has a kernel.", row=LINALG, quick=True)
def linalg_containers_emptied(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    for container in found:
        start = container.at + container.header
        data[start : start + container.size] = bytes(container.size)
        struct.pack_into("<Q", data, container.at + 8, 0)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("One container of 107 is empty.", row=LINALG)
def linalg_one_container_emptied(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    container = found[len(found) // 3]
    start = container.at + container.header
    data[start : start + container.size] = bytes(container.size)
    struct.pack_into("<Q", data, container.at + 8, 0)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("One container has lost its magic: the runtime registers rubbish.", row=LINALG)
def linalg_magic_lost(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    struct.pack_into("<I", data, found[5].at, 0)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("All of .nv_fatbin is zeros.", row=LINALG)
def linalg_fatbin_zeroed(env: Path) -> None:
    start, size = section(lib(env, LINALG), ".nv_fatbin")
    data = bytearray(lib(env, LINALG).read_bytes())
    data[start : start + size] = bytes(size)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("The wrappers' magic is gone: the runtime finds no code, though it is there.", row=LINALG)
def linalg_wrappers_zeroed(env: Path) -> None:
    start, size = section(lib(env, LINALG), ".nvFatBinSegment")
    data = bytearray(lib(env, LINALG).read_bytes())
    data[start : start + size] = bytes(size)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("A wrapper points to another file's container: one file's kernels are never registered.", row=LINALG)
def linalg_wrapper_redirected(env: Path) -> None:
    from .elf import sections

    path = lib(env, LINALG)
    data = bytearray(path.read_bytes())
    wrappers = next(x for x in sections(bytes(data)) if x.name == ".nvFatBinSegment")
    ours = [
        (at, addend)
        for at, address, _, addend in relocations(data)
        if wrappers.address <= address < wrappers.address + wrappers.size
    ]
    struct.pack_into("<q", data, ours[3][0] + 16, ours[4][1])
    tell(env, write(path, bytes(data)))


@case("Entries of kind PTX where machine code should be.", row=LINALG)
def linalg_kind_is_ptx(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    for container in found:
        for entry in container.entries:
            struct.pack_into("<H", data, entry.at, PTX)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("One container of 107 has PTX alone: that file's kernels wait for the driver's compiler.", row=LINALG)
def linalg_one_container_ptx(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    entry = max((x for c in found for x in c.entries), key=lambda x: x.size)
    code = bytearray(fatbin("compute_90", options=("-no-compress",)))
    header = struct.unpack_from("<I", code, 20)[0]
    room = entry.header + entry.size - header
    struct.pack_into("<Q", code, 24, room)
    code = code[16:] + bytes(room - (len(code) - 16 - header))
    data[entry.at : entry.at + len(code)] = code
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("A wrapper's container is said to be longer than the file.", row=LINALG)
def linalg_container_too_long(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    struct.pack_into("<Q", data, found[-1].at + 8, 1 << 40)
    tell(env, write(lib(env, LINALG), bytes(data)))


@case("An entry of a container has size 0: whoever walks them does not move on.", row=LINALG)
def linalg_entry_of_no_size(env: Path) -> None:
    data, found = fatbins(lib(env, LINALG))
    entry = found[7].entries[0]
    struct.pack_into("<I", data, entry.at + 4, 0)
    struct.pack_into("<Q", data, entry.at + 8, 0)
    tell(env, write(lib(env, LINALG), bytes(data)))


def with_companion(env: Path, code: bytes) -> None:
    """Put a companion with this fat binary into the environment."""
    gpu_library(env, companion(env) / "_C.so", code)


@case("A companion has code for sm_80 alone.", row="sm_80", quick=True)
def companion_sm80(env: Path) -> None:
    with_companion(env, fatbin("sm_80"))


@case("A companion has code for sm_80 beside that for sm_90.", row="sm_80")
def companion_sm80_too(env: Path) -> None:
    with_companion(env, fatbin("sm_80", "sm_90"))


@case(
    "A companion has PTX alone: it is compiled by the driver at the first call.",
    row="PTX|compute_90",
    quick=True,
)
def companion_ptx(env: Path) -> None:
    with_companion(env, fatbin("compute_90"))


@case("A companion has PTX that nobody asked for beside its machine code.", row="PTX|compute_90")
def companion_ptx_too(env: Path) -> None:
    with_companion(env, fatbin("sm_90", "compute_90"))


@case("A companion has PTX of sm_80, which would run, and machine code for nothing.", row="PTX|compute_80")
def companion_old_ptx(env: Path) -> None:
    with_companion(env, fatbin("compute_80"))


@case("A companion has LTO-IR alone, which no driver runs.", row="LTO|lto")
def companion_lto(env: Path) -> None:
    with_companion(env, fatbin("lto_90", options=("-dc",)))


@case("A companion's container has no entry.", row="my_ops|_C.so")
def companion_empty_container(env: Path) -> None:
    with_companion(env, struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 0))


@case("A companion's entry says sm_90, its cubin's own header sm_80.", row="sm_80")
def companion_cubin_differs(env: Path) -> None:
    with_companion(env, cubin_with_arch(fatbin("sm_90"), 80))


@case("A companion's cubin is for sm_80, its entry says sm_90.", row="sm_80")
def companion_entry_differs(env: Path) -> None:
    with_companion(env, with_arch(fatbin("sm_80"), 90))


@case("The same, compressed.", row="sm_80")
def companion_entry_differs_packed(env: Path) -> None:
    with_companion(env, with_arch(fatbin("sm_80", options=("-Xfatbin", "-compress-all")), 90))


@case("The same, compressed for size.", row="sm_80")
def companion_entry_differs_small(env: Path) -> None:
    options = ("-compress-mode=size", "-Xfatbin", "-compress-all")
    with_companion(env, with_arch(fatbin("sm_80", options=options), 90))


@case("A companion's entry says sm_90, its content is random.", row="my_ops|_C.so")
def companion_payload_random(env: Path) -> None:
    data = bytearray(fatbin("sm_90"))
    for container in containers(data, 0, len(data)):
        for entry in container.entries:
            data[entry.payload : entry.payload + entry.size] = bytes(i * 37 % 251 for i in range(entry.size))
    with_companion(env, bytes(data))


@case("A companion's cubin has lost its second half.", row="my_ops|_C.so")
def companion_payload_half(env: Path) -> None:
    data = bytearray(fatbin("sm_90"))
    for container in containers(data, 0, len(data)):
        for entry in container.entries:
            data[entry.payload + entry.size // 2 : entry.payload + entry.size] = bytes(
                entry.size - entry.size // 2
            )
    with_companion(env, bytes(data))


@case(
    "A companion's kernel lies in a cubin of the right architecture without any code section.",
    row="my_ops|_C.so",
)
def companion_cubin_without_code(env: Path) -> None:
    with_companion(env, hollow_cubin())


def hollow_cubin() -> bytes:
    """A fat binary whose cubin's code is zeros, headers whole."""
    data = bytearray(fatbin("sm_90"))
    for container in containers(data, 0, len(data)):
        for entry in container.entries:
            if entry.kind == CUBIN:
                image = bytes(data[entry.payload : entry.payload + entry.size])
                from .elf import sections

                for found in sections(image):
                    if found.name.startswith(".text."):
                        start = entry.payload + found.offset
                        data[start : start + found.size] = bytes(found.size)
    return bytes(data)


@case("A Tegra's code (sm_87) beside sm_86's: a desktop GPU runs none of it.", base="sm86", row="sm_87")
def tegra_in_sm86(env: Path) -> None:
    with_companion(env, fatbin("sm_87", "sm_86"))


@case(
    "A Tegra's code (sm_87) is all that a companion has for sm_89: 8.7 is below 8.9, and does not run there.",
    base="sm89",
    row="sm_87",
)
def tegra_in_sm89(env: Path) -> None:
    with_companion(env, fatbin("sm_87"))


@case(
    "sm_100a code is all that a companion has for sm_103, which runs sm_100's but not sm_100a's.",
    base="sm100",
    variant="pytorch-bin-sm103",
    row="sm_100a",
)
def specific_in_sm103(env: Path) -> None:
    with_companion(env, fatbin("sm_100a"))


@case("A later one's code (sm_89) is all that a companion has for sm_86.", base="sm86", row="sm_89")
def later_minor_in_sm86(env: Path) -> None:
    with_companion(env, fatbin("sm_89"))


@case("Another major's code (sm_80) is all that a companion has for sm_100.", base="sm100", row="sm_80")
def earlier_major_in_sm100(env: Path) -> None:
    with_companion(env, fatbin("sm_80"))


@case("A family's code (sm_120f) is all that a companion has for sm_100.", base="sm100", row="sm_120")
def other_family_in_sm100(env: Path) -> None:
    with_companion(env, fatbin("sm_120f"))


@case("A companion of a CPU build has GPU code.", base="cpu", row="sm_90|GPU")
def gpu_code_in_cpu(env: Path) -> None:
    source = (
        '__asm__(".section .nv_fatbin,\\"a\\"\\n.incbin \\"code\\"\\n.previous");\n'
        "int ops(void) { return 1; }\n"
    )
    library(companion(env) / "_C.so", source, linked(env), embed={"code": fatbin("sm_90")})


@case("libtorch_nvshmem.so's only container is empty.", row="nvshmem")
def nvshmem_emptied(env: Path) -> None:
    path = lib(env, "libtorch_nvshmem.so")
    data, found = fatbins(path)
    for container in found:
        start = container.at + container.header
        data[start : start + container.size] = bytes(container.size)
        struct.pack_into("<Q", data, container.at + 8, 0)
    tell(env, write(path, bytes(data)))
