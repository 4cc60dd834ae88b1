"""GPU code for another GPU where a reader of sections and of file names does not look."""

import struct
import zlib
from pathlib import Path

from .base import case, lib, nvidia, site, tell, write
from .build import (
    companion,
    cubin,
    cuda_linked,
    fatbin,
    gpu_library,
    gpu_source,
    library,
    linked,
    plain_library,
)
from .elf import fatbins, renamed, sections, without_sections

SM80 = "sm_80"


@case("The code for sm_80 lies in a section of another name; the wrapper points to it.", row=SM80, quick=True)
def other_section(env: Path) -> None:
    gpu_library(
        env, companion(env) / "_C.so", fatbin(SM80), section=".rodata.tables", wrapper=".data.rel.tables"
    )


@case("The code for sm_80 is a constant in .rodata, which is handed to the driver.", row=SM80)
def fatbin_in_rodata(env: Path) -> None:
    source = (
        '__asm__(".section .rodata\\n.balign 8\\n.globl image\\nimage: .incbin \\"code\\"\\n.previous");\n'
    )
    library(companion(env) / "_C.so", source, linked(env), embed={"code": fatbin(SM80)})


@case("A bare cubin for sm_80 is a constant in .rodata.", row=SM80, quick=True)
def cubin_in_rodata(env: Path) -> None:
    source = (
        '__asm__(".section .rodata\\n.balign 8\\n.globl image\\nimage: .incbin \\"code\\"\\n.previous");\n'
    )
    library(companion(env) / "_C.so", source, linked(env), embed={"code": cubin(SM80)})


@case("A bare cubin for sm_80 lies at an odd address.", row=SM80)
def cubin_unaligned(env: Path) -> None:
    source = (
        '__asm__(".section .rodata\\n.byte 1,2,3\\n.globl image\\nimage: .incbin \\"code\\"\\n.previous");\n'
    )
    library(companion(env) / "_C.so", source, linked(env), embed={"code": cubin(SM80)})


@case(
    "PTX text for sm_100 is a constant in .rodata: it cannot be compiled for sm_90.",
    row="PTX|sm_100|compute_100",
)
def ptx_text_in_rodata(env: Path) -> None:
    source = '__asm__(".section .rodata\\n.globl image\\nimage: .incbin \\"code\\"\\n.byte 0\\n.previous");\n'
    library(companion(env) / "_C.so", source, linked(env), embed={"code": cubin("compute_100")})


@case("The code for sm_80 lies in .data, where programs write.", row=SM80)
def fatbin_in_data(env: Path) -> None:
    source = '__asm__(".section .data\\n.balign 8\\n.globl image\\nimage: .incbin \\"code\\"\\n.previous");\n'
    library(companion(env) / "_C.so", source, linked(env), embed={"code": fatbin(SM80)})


@case("A library with code for sm_80 has no section headers; the loader needs none.", row=SM80, quick=True)
def no_section_headers(env: Path) -> None:
    path = gpu_library(env, companion(env) / "_C.so", fatbin(SM80))
    write(path, without_sections(path.read_bytes()))


@case(
    "The section header .nv_fatbin shows code for sm_90 that nothing points to; mapped and used is sm_80's.",
    row=SM80,
)
def section_header_lies(env: Path) -> None:
    source = gpu_source(section=".hidden01", file="code")
    source += '__asm__(".section .nv_fatbin,\\"a\\"\\n.balign 8\\n.incbin \\"decoy\\"\\n.previous");\n'
    embed = {"code": fatbin(SM80), "decoy": fatbin("sm_90")}
    library(companion(env) / "_C.so", source, cuda_linked(env), embed=embed)


@case("The section header .nv_fatbin is said to be empty; what the wrapper points to is sm_80's.", row=SM80)
def section_of_no_size(env: Path) -> None:
    path = gpu_library(env, companion(env) / "_C.so", fatbin(SM80))
    data = bytearray(path.read_bytes())
    header = next(x for x in sections(bytes(data)) if x.name == ".nv_fatbin").header
    struct.pack_into("<Q", data, header + 32, 0)
    write(path, bytes(data))


@case("The section header .nv_fatbin is of type NOBITS, its segment has sm_80's code.", row=SM80)
def section_is_nobits(env: Path) -> None:
    path = gpu_library(env, companion(env) / "_C.so", fatbin(SM80))
    data = bytearray(path.read_bytes())
    header = next(x for x in sections(bytes(data)) if x.name == ".nv_fatbin").header
    struct.pack_into("<I", data, header + 4, 8)
    write(path, bytes(data))


@case("Two sections are named .nv_fatbin: the first has code for sm_90, the second for sm_80.", row=SM80)
def two_sections(env: Path) -> None:
    source = gpu_source(section=".nv_fatbiX", wrapper=".nvFatBinSegmenX")
    source += gpu_source(file="decoy").replace("fatbinary", "fatbinary2").replace("wrapper", "wrapper2")
    source = source.replace("__cudaRegisterFatBinary2", "__cudaRegisterFatBinary")
    for word in ("stub", "start"):
        head, tail = source.rsplit(f"{word}(void)", 1)
        source = f"{head}{word}2(void){tail}"
    path = companion(env) / "_C.so"
    library(path, source, cuda_linked(env), embed={"code": fatbin(SM80), "decoy": fatbin("sm_90")})
    data = renamed(path.read_bytes(), ".nv_fatbiX", ".nv_fatbin")
    write(path, renamed(data, ".nvFatBinSegmenX", ".nvFatBinSegment"))


@case("Behind the containers for sm_90, after zeros, lies one for sm_80.", row=SM80)
def behind_zeros(env: Path) -> None:
    gpu_library(env, companion(env) / "_C.so", fatbin("sm_90") + bytes(4096) + fatbin(SM80))


@case("Behind the containers for sm_90, after text, lies one for sm_80.", row=SM80)
def behind_text(env: Path) -> None:
    gpu_library(env, companion(env) / "_C.so", fatbin("sm_90") + b"padding!" * 9 + fatbin(SM80))


@case("An sm_80 fat binary lies inside an entry that says PTX of sm_90 and is skipped.", row=SM80 + "|PTX")
def nested(env: Path) -> None:
    inner = fatbin(SM80)
    entry = bytearray(fatbin("sm_90"))
    head = bytearray(entry[16 : 16 + struct.unpack_from("<I", entry, 20)[0]])
    struct.pack_into("<H", head, 0, 1)
    struct.pack_into("<Q", head, 8, len(inner))
    body = bytes(entry[16:]) + bytes(head) + inner
    gpu_library(env, companion(env) / "_C.so", struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body)


@case("An entry of an unknown kind (64) has the code for sm_80.", row=SM80 + "|kind|64", debatable=True)
def unknown_kind(env: Path) -> None:
    data = bytearray(fatbin("sm_90", SM80))
    inside = 16
    while inside < len(data):
        length, payload = struct.unpack_from("<IQ", data, inside + 4)
        if struct.unpack_from("<I", data, inside + 28)[0] == 80:
            struct.pack_into("<H", data, inside, 64)
        inside += length + payload
    gpu_library(env, companion(env) / "_C.so", bytes(data))


@case("A library with code for sm_80 is named kernels.bin and loaded by its name.", row=SM80, quick=True)
def other_file_name(env: Path) -> None:
    init = "import torch\n\ntorch.ops.load_library(__file__.replace('__init__.py', 'kernels.bin'))\n"
    gpu_library(env, companion(env, init=init) / "kernels.bin", fatbin(SM80))


@case("A library below torch/share has no suffix and code for sm_80.", row=SM80)
def no_suffix(env: Path) -> None:
    path = gpu_library(env, site(env) / "torch/share/table", fatbin(SM80))
    tell(env, path)


@case("A hidden file, torch/lib/.libcache.so.1, has code for sm_80.", row=SM80)
def hidden_file(env: Path) -> None:
    tell(env, gpu_library(env, lib(env, ".libcache.so.1"), fatbin(SM80)))


@case("A program in torch/bin has code for sm_80.", row=SM80)
def in_a_program(env: Path) -> None:
    source = gpu_source() + "int main(void) { return 0; }\n"
    path = site(env) / "torch/bin/tune"
    tell(env, library(path, source, cuda_linked(env), embed={"code": fatbin(SM80)}, kind="-pie"))


@case("A bare cubin for sm_80 is a file of a companion, loaded by the driver.", row=SM80)
def cubin_file(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    write(home / "kernel.cubin", cubin(SM80))


@case("A fat binary for sm_80 is a file of a companion, loaded by the driver.", row=SM80)
def fatbin_file(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    write(home / "kernel.fatbin", fatbin(SM80))


@case(
    "PTX for sm_100 is a file of a companion: it cannot be compiled for sm_90.", row="PTX|sm_100|compute_100"
)
def ptx_file(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    write(home / "kernel.ptx", cubin("compute_100").rstrip(b"\0"))


@case(
    "A companion unpacks a library with code for sm_80 from a compressed file as it is imported.",
    row=SM80,
    debatable=True,
)
def unpacked_at_import(env: Path) -> None:
    init = (
        "import pathlib\nimport tempfile\nimport zlib\nimport torch\n"
        "here = pathlib.Path(__file__).parent\n"
        "out = here / '_unpacked.so'\nout.write_bytes(zlib.decompress((here / 'data.z').read_bytes()))\n"
        "torch.ops.load_library(str(out))\nout.unlink()\n"
    )
    home = companion(env, init=init)
    path = gpu_library(env, home / "_C.so", fatbin(SM80))
    write(home / "data.z", zlib.compress(path.read_bytes()))
    path.unlink()


@case("A companion needs a library two steps away, outside torch, with code for sm_80.", row=SM80)
def needed_by_needed(env: Path) -> None:
    home = companion(env)
    outside = env.parent / "opt"
    gpu_library(env, outside / "libdeep.so", fatbin(SM80))
    runtime = f"-Wl,-rpath,{nvidia(env, 'libcudart.so.12').parent}:{lib(env)}:{outside}"
    middle = library(
        outside / "libmiddle.so",
        "int middle(void) { return 1; }\n",
        ["-Wl,--no-as-needed", f"-L{outside}", "-l:libdeep.so", runtime, "-Wl,--allow-shlib-undefined"],
    )
    flags = [*linked(env), f"-L{middle.parent}", "-l:libmiddle.so", f"-Wl,-rpath,{outside}", runtime]
    library(home / "_C.so", "int ops(void) { return 1; }\n", flags)


@case(
    "A companion's own library in NVIDIA's directory, of no distribution of NVIDIA's, has code for sm_80.",
    row=SM80,
)
def in_nvidias_directory(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    path = gpu_library(env, site(env) / "nvidia/my_ops/lib/libmyops.so.1", fatbin(SM80))
    flags = [*linked(env, path), "-Wl,-rpath,$ORIGIN/../nvidia/my_ops/lib"]
    library(home / "_D.so", "int more(void) { return 1; }\n", flags)


@case(
    "A companion's library is named libcublas_more.so.12, as if it were NVIDIA's, and has code for sm_80.",
    row=SM80,
)
def named_as_nvidias(env: Path) -> None:
    home = companion(env)
    gpu_library(env, home / "libcublas_more.so.12", fatbin(SM80))
    library(
        home / "_C.so",
        "int ops(void) { return 1; }\n",
        [*linked(env, home / "libcublas_more.so.12"), "-Wl,-rpath,$ORIGIN"],
    )


@case("torch/lib/libnccl.so.2 is not NVIDIA's, whatever its name, and has code for sm_80.", row=SM80)
def nccl_of_somebody(env: Path) -> None:
    tell(env, gpu_library(env, lib(env, "libnccl.so.2"), fatbin(SM80)))


@case("A companion opens a library below share/ by dlopen; it has code for sm_80.", row=SM80)
def opened_elsewhere(env: Path) -> None:
    path = gpu_library(env, env / "share/my_ops/plugin.so", fatbin(SM80))
    init = f"import ctypes\nimport torch\nctypes.CDLL({str(path)!r})\n"
    home = companion(env, init=init)
    plain_library(env, home)


@case(
    "torch's own Python opens a library outside the environment, with code for sm_80, as it is imported.",
    row=SM80,
)
def opened_by_torch(env: Path) -> None:
    path = gpu_library(env, env.parent / "opt/plugin.so", fatbin(SM80))
    init = site(env) / "torch/quasirandom.py"
    text = f"import ctypes\n\nctypes.CDLL({str(path)!r})\n" + init.read_text()
    tell(env, write(init, text))


@case("A module beside torch, not in a package, has code for sm_80 and is linked to torch.", row=SM80)
def single_module(env: Path) -> None:
    gpu_library(env, site(env) / "my_ops.abi3.so", fatbin(SM80))


@case("A companion lies in a namespace package two levels deep.", row=SM80)
def deep_companion(env: Path) -> None:
    gpu_library(env, site(env) / "company/team/_C.so", fatbin(SM80))


@case("torch/_C.so, which Python prefers to nothing, is a second extension with code for sm_80.", row=SM80)
def second_extension(env: Path) -> None:
    tell(env, gpu_library(env, site(env) / "torch/_extra.abi3.so", fatbin(SM80)))


@case("libtorch_nvshmem.so's segment has code for sm_80 that no section covers.", row=SM80)
def between_sections(env: Path) -> None:
    path = gpu_library(env, companion(env) / "_C.so", fatbin("sm_90") + bytes(64) + fatbin(SM80))
    data = bytearray(path.read_bytes())
    header = next(x for x in sections(bytes(data)) if x.name == ".nv_fatbin")
    struct.pack_into("<Q", data, header.header + 32, len(fatbin("sm_90")))
    write(path, bytes(data))


@case("libtorch_cuda_linalg.so has code for sm_80 in the room that the smaller kernels left.", row=SM80)
def in_the_gap(env: Path) -> None:
    path = lib(env, "libtorch_cuda_linalg.so")
    data, found = fatbins(path)
    code = fatbin(SM80)
    container = max(found, key=lambda x: x.size)
    entry = max(container.entries, key=lambda x: x.size)
    last = entry.payload + entry.size - len(code) & ~7
    struct.pack_into("<Q", data, container.at + 8, last - container.at - container.header)
    struct.pack_into("<Q", data, entry.at + 8, last - entry.payload)
    data[last : last + len(code)] = code
    tell(env, write(path, bytes(data)))
