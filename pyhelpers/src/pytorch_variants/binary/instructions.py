"""Which instruction set an x86 or Arm instruction needs, by the names that /proc/cpuinfo has for them.

Everything that the table's sets add to x86-64 is encoded with a VEX or an EVEX prefix, but for a few
integer instructions; opcode tables are those of the Intel 64 and IA-32 Architectures Software Developer's
Manual, volume 2, appendix A. Capstone finds where instructions begin. It knows neither AMX nor BF16 nor
FP16, whose length follows from the prefix.
"""

import struct
from collections.abc import Iterator
from typing import Any

# What having one of the table's names brings with it, by GCC's rules (gcc/common/config/i386).
_IMPLIED = {
    "avx": frozenset({"popcnt"}),
    "avx2": frozenset({"avx", "popcnt"}),
    "fma": frozenset({"avx", "popcnt"}),
    "f16c": frozenset({"avx", "popcnt"}),
    "avx512f": frozenset({"avx2", "avx", "popcnt"}),
    "abm": frozenset({"popcnt"}),
    "sve2": frozenset({"sve"}),
}
# The parts of AVX-512 that every set of the table has together are told apart by nothing here.
_SAME = {"avx512dq": "avx512f", "avx512vl": "avx512f", "avx512bw": "avx512f", "sve2": "sve"}


def _hex(text: str) -> frozenset[int]:
    """Opcodes from "60-6d 70"."""
    ranges = (part.partition("-") for part in text.split())
    return frozenset(o for low, _, high in ranges for o in range(int(low, 16), int(high or low, 16) + 1))


# (opcode map, opcodes): AVX2 where the vector has 256 bits, AVX where it has 128.
_INTEGER = {
    1: _hex("60-6d 70-76 d1-d5 d7-e5 e8-ef f1-f6 f8-fe"),
    2: _hex("00-0b 17 1c-1e 20-25 28-2b 30-35 37-41"),
    3: _hex("0e-0f 42 4c"),
}
_VEX = {
    1: {"avx512f": _hex("41-4b 90-93 98-99")},
    2: {
        "f16c": _hex("13"),
        "avx2": _hex("16 36 45-47 58-5a 78-79 8c 8e 90-93"),
        "amx_tile": _hex("49 4b"),
        "avx_vnni": _hex("50-53"),
        "amx_bf16": _hex("5c"),
        "amx_int8": _hex("5e"),
        "fma": _hex("96-9f a6-af b6-bf"),
        "bmi1": _hex("f2-f3"),
        "bmi2": _hex("f5-f6"),
    },
    3: {
        "avx512f": _hex("30-33"),
        "f16c": _hex("1d"),
        "avx2": _hex("00-02 38-39 46"),
        "bmi2": _hex("f0"),
    },
}
_EVEX = {
    2: {
        "avx512cd": _hex("44 c4"),
        "avx512_vnni": _hex("50-53"),
        "avx512_bitalg": _hex("54 8f"),
        "avx512_vpopcntdq": _hex("55"),
        "avx512_vbmi2": _hex("62-63 70-73"),
        "avx512vbmi": _hex("75 7d 8d 83"),
        "avx512ifma": _hex("b4-b5"),
    },
    3: {"avx512_vbmi2": _hex("70-73")},
}
_LEGACY_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")
_IMMEDIATE = _hex("70-73 c2 c4-c6")  # of map 1; all of map 3 have one


def allowed(cpuinfo: tuple[str, ...]) -> frozenset[str]:
    """All that code for a CPU with these flags may use, the flags themselves and what they imply.

    >>> sorted(allowed(("avx2",)))
    ['avx', 'avx2', 'popcnt']
    """
    named = frozenset(_SAME.get(flag, flag) for flag in cpuinfo)
    return named.union(*(_IMPLIED.get(flag, frozenset()) for flag in named))


def characteristic(cpuinfo: tuple[str, ...]) -> str:
    """The feature of a set that compilers make use of everywhere, however plain the code.

    AVX-512's additions (VNNI, BF16) and AMX are used by code that asks for them alone.

    >>> characteristic(("avx512f", "avx512_vnni"))
    'avx512f'
    """
    usable = allowed(cpuinfo)
    return next(name for name in ("avx512f", "avx2", "avx", "sve", "atomics") if name in usable)


def _look_up(table: dict[str, frozenset[int]], opcode: int, default: str) -> str:
    return next((name for name, opcodes in table.items() if opcode in opcodes), default)


def _vex(map_: int, prefix: int, wide: int, opcode: int, modrm: int) -> str:
    if opcode in _INTEGER.get(map_, frozenset()):
        return "avx2" if wide else "avx"
    if map_ == 2 and opcode in (0x18, 0x19):  # From a register they came with AVX2.
        return "avx2" if modrm >> 6 == 3 else "avx"
    if map_ == 2 and opcode == 0xF7:
        return "bmi2" if prefix else "bmi1"
    return _look_up(_VEX.get(map_, {}), opcode, "avx")


def _evex(map_: int, prefix: int, opcode: int) -> str:
    if map_ in (5, 6):
        return "avx512_fp16"
    if map_ == 2 and (opcode, prefix) in ((0x52, 2), (0x72, 2), (0x72, 3)):
        return "avx512_bf16"
    if map_ == 2 and (opcode, prefix) in ((0x2A, 2), (0x3A, 2)):
        return "avx512cd"
    return _look_up(_EVEX.get(map_, {}), opcode, "avx512f")


def x86_feature(code: bytes) -> str | None:
    """What one x86-64 instruction needs beyond x86-64 itself, as /proc/cpuinfo names it; else None."""
    first = code[0]
    # In front of VEX and EVEX, which come first by far, only 67 and the segments may stand.
    if first in (0xC5, 0xC4, 0x62):
        return _vector_feature(code)
    start = 0
    while start < len(code) - 1 and code[start] in _LEGACY_PREFIXES:
        start += 1
    if code[start] in (0xC5, 0xC4, 0x62):
        return _vector_feature(code[start:])
    if code[start] & 0xF0 == 0x40:
        start += 1
    opcode = code[start : start + 3]
    if opcode[:2] == b"\x0f\xb8" and 0xF3 in code[:start]:
        return "popcnt"
    if opcode[:2] == b"\x0f\xbd" and 0xF3 in code[:start]:
        return "abm"
    if opcode in (b"\x0f\x38\xf0", b"\x0f\x38\xf1") and 0xF2 not in code[:start]:
        return "movbe"
    return None


def _vector_feature(code: bytes) -> str | None:
    if code[0] == 0x62:
        return _evex(code[1] & 7, code[2] & 3, code[4])
    map_, third, opcode = (1, code[1], 2) if code[0] == 0xC5 else (code[1] & 31, code[2], 3)
    # vzeroupper has no operand.
    modrm = code[opcode + 1] if len(code) > opcode + 1 else 0
    return _vex(map_, third & 3, third & 4, code[opcode], modrm)


def _vector_length(code: bytes) -> int | None:
    """The length of a VEX or EVEX instruction, from its prefix and its operand; None for anything else."""
    sizes = {0xC5: 2, 0xC4: 3, 0x62: 4}
    if not code or code[0] not in sizes or len(code) < sizes[code[0]] + 2:
        return None
    size = sizes[code[0]]
    map_ = 1 if size == 2 else code[1] & (31 if size == 3 else 7)
    opcode, modrm = code[size], code[size + 1]
    length, mode, low = size + 2, modrm >> 6, modrm & 7
    if mode != 3 and low == 4:
        if len(code) <= length:
            return None
        base = code[length] & 7
        length += 1
        if mode == 0 and base == 5:
            length += 4
    elif mode == 0 and low == 5:
        length += 4
    length += {1: 1, 2: 4}.get(mode, 0)
    return length + (map_ == 3 or (map_ == 1 and opcode in _IMMEDIATE))


def x86_instructions(decoder: Any, code: bytes, address: int) -> Iterator[tuple[int, bytes, str]]:
    """Address, bytes and mnemonic of each instruction, up to the first byte that is none.

    `decoder` is a capstone.Cs for x86-64 without details. The mnemonic of what it does not know is "".
    """
    offset = 0
    while offset < len(code):
        for start, size, mnemonic, _ in decoder.disasm_lite(code[offset:], address + offset):
            begin = start - address
            offset = begin + size
            yield start, code[begin:offset], mnemonic
        length = _vector_length(code[offset : offset + 12])
        if length is None or offset + length > len(code):
            return
        yield address + offset, code[offset : offset + length], ""
        offset += length


def arm_features(code: bytes) -> Iterator[tuple[int, str]]:
    """Offset and need of each AArch64 instruction that needs more than Armv8.0 with floating point.

    Encodings are those of the Arm Architecture Reference Manual, chapter C4.
    """
    for index, (word,) in enumerate(struct.iter_unpack("<I", code[: len(code) - len(code) % 4])):
        if word >> 25 & 15 == 2:
            yield index * 4, "sve"
        elif word & 0x3F200C00 == 0x38200000 or word & 0x3FA07C00 == 0x08A07C00:
            yield index * 4, "atomics"
        elif word & 0x9FA0FC00 == 0x0E809400 and word >> 22 & 3 == 2:
            yield index * 4, "asimddp"
