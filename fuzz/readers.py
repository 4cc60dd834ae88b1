"""Fuzz the readers of ELF files, fat binaries and instructions with Atheris.

    pip install atheris -e pyhelpers
    python fuzz/readers.py -max_total_time=60 -rss_limit_mb=512 -timeout=5 -dict=fuzz/readers.dict \\
        NEW fuzz/corpus

Whatever the bytes are, the readers have to end, in bounded memory, with a result or with their own errors.
Inputs that reach new code go to the directory NEW; -merge=1 fuzz/corpus NEW keeps those that are worth it.
"""

import sys

import atheris

with atheris.instrument_imports():
    from pytorch_variants.binary import cubin, elf, fatbin
    from pytorch_variants.binary import instructions as isa
    from pytorch_variants.binary import registration as kernels
    from pytorch_variants.verify import cpu, gpu

DECODER = isa.x86_decoder()
MOST = 1 << 16


def read_all(data: bytes) -> None:
    """Everything that verification reads of a library."""
    try:
        parsed = elf.Elf.parse(data)
    except elf.ElfError:
        return
    readers = (
        lambda: parsed.needed,
        lambda: parsed.runpath,
        lambda: list(parsed.symbols(elf.SHT_SYMTAB)),
        lambda: list(parsed.symbols(elf.SHT_DYNSYM, 10)),
        lambda: fatbin.read_fatbins(parsed),
        lambda: fatbin.read_fatbins(parsed, fatbin.RELOCATABLE_SECTION_NAME),
        lambda: fatbin.read_wrappers(parsed),
        lambda: list(fatbin.find_wrappers(parsed)),
        lambda: kernels.whose_containers(parsed),
        lambda: gpu.read_gpu(parsed),
        lambda: cpu.read_cpu(parsed, "libtorch_cuda.so"),
    )
    for read in readers:
        try:
            read()
        except (elf.ElfError, fatbin.FatbinError) as error:
            assert "\n" not in str(error)


def read_payloads(data: bytes) -> None:
    """GPU code by itself, and the unpacking of it: bytes for every size that an entry may claim."""
    view = memoryview(data)
    size = int.from_bytes(data[:5], "little")
    readers = (
        lambda: gpu.read_raw(view),
        lambda: cubin.read_cubin(data),
        lambda: cubin.read_ptx(data),
        lambda: cubin.unpack_lz4(view[5:], size & 0xFFFFFF),
        lambda: cubin.unpack_lz4(view[5:], size),
        lambda: cubin.unpack_zstd(view[5:], size & 0xFFFFFF),
        lambda: cubin.lz4_head(data[5:], 4096),
        lambda: cubin.cubin_size(view),
    )
    for read in readers:
        try:
            read()
        except (cubin.PayloadError, elf.ElfError, fatbin.FatbinError) as error:
            assert "\n" not in str(error)


def read_code(data: bytes) -> None:
    """Every instruction is inside the code and has an answer."""
    end = 0
    for address, instruction, _ in isa.x86_instructions(DECODER, data, 0):
        assert address == end
        assert instruction
        end += len(instruction)
        isa.x86_features(instruction)
    assert end == len(data)
    list(isa.arm_features(data))


def test_one_input(data: bytes) -> None:
    """What Atheris calls."""
    read_all(data)
    read_payloads(data)
    read_code(data[:MOST])


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
