"""Which instruction set an instruction needs, held against iced-x86 and against Capstone's groups for Arm."""

import random
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import capstone
import iced_x86
import pytest
from binaries import tool
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.binary.instructions import (
    LEAVING,
    ODD,
    allowed,
    arm_features,
    told_apart,
    x86_decoder,
    x86_features,
    x86_instructions,
    x86_mnemonic,
    x86_patterns,
    x86_telling,
)
from pytorch_variants.hardware.spelling import parse_cpu

DECODER = x86_decoder()
CPUID = {value: name for name, value in vars(iced_x86.CpuidFeature).items() if name.isupper()}
CODES = {value: name for name, value in vars(iced_x86.Code).items() if isinstance(value, int)}
# Where /proc/cpuinfo has another name than iced-x86 in small letters.
LINUX = {
    "AVX512_IFMA": "avx512ifma",
    "AVX512_VBMI": "avx512vbmi",
    "CMPXCHG16B": "cx16",
    "D3NOW": "3dnow",
    "D3NOWEXT": "3dnowext",
    "HLE_OR_RTM": "rtm",
    "LZCNT": "abm",
    "MONITORX": "mwaitx",
    "SHA": "sha_ni",
    "SSE3": "pni",
}
# In every x86-64 CPU, for the kernel alone, of CPUs that had no 64 bits or that nobody sells, or no operation
# where it is not known.
NO_NEED = """
CENTAUR_AIS CET_IBT CET_SS CL1INVMB CLDEMOTE CLFSH CMOV CPUID CX8 FPU FPU287 FPU387 FRED FXSR HRESET
INTEL186 INTEL286 INTEL386 INTEL486 INTEL8086 INVEPT INVLPGB INVPCID INVVPID LKGS MCOMMIT MONITOR MSR
MSRLIST MULTIBYTENOP OSS PADLOCK_ACE PADLOCK_GMI PADLOCK_PHE PADLOCK_PMM PADLOCK_RNG PADLOCK_UNDOC PAUSE
PCONFIG PREFETCHITI PREFETCHW PREFETCHWT1 RDPMC RMPQUERY SEP SEV_ES SEV_SNP SGX1 SKINIT_OR_SVM SMAP SMM SMX
SVM SYSCALL TDX TSC TSE UDBG VMX WBNOINVD WRMSRNS X64 XSAVES
"""
TAIL = bytes(10)
# Plain instructions, ones with a need, one that Capstone does not know, and a byte that is none.
SOME = """
4889e5 0fb6c0 e800000000 c3 0fa2 480fa2 90 0f28c1 480f38f0c1 660f6fc1 f30fbcc1 c5f877 62f174485801
62f57c4858842400000010 c7f800000000 d9e8 dd08 41 40480fae20 660f1f440000 06
"""
CODE = st.binary(max_size=200) | st.lists(st.sampled_from(SOME.split())).map("".join).map(bytes.fromhex)
# Operands: memory by a register and a register, with each number of the third operand.
OPERANDS = [mode | number << 3 | 1 for mode, number in product((0, 0xC0), range(8))]
# Memory by a vector of indices, and the registers that AMX takes.
INDICES = [number << 3 | 4 for number in range(8)]
PREFIXES = (b"", b"\x66", b"\xf3", b"\xf2")


def vex() -> Iterator[bytes]:
    for map_, third, opcode in product((1, 2, 3), (*range(0x40, 0x48), *range(0xC0, 0xC8)), range(256)):
        for free in (0x38, 0):
            for operand in OPERANDS:
                yield bytes([0xC4, 0xE0 | map_, third | free, opcode, operand])
                if map_ == 1 and third < 0x80:
                    yield bytes([0xC5, 0x80 | third | free, opcode, operand])
            for operand in (*INDICES, 0xC0):
                yield bytes([0xC4, 0xE0 | map_, third | free, opcode, operand, 0x10])


def xop() -> Iterator[bytes]:
    for map_, third, opcode in product((8, 9, 10), (*range(0x40, 0x48), *range(0xC0, 0xC8)), range(256)):
        for free, operand in product((0x38, 0), OPERANDS):
            yield bytes([0x8F, 0xE0 | map_, third | free, opcode, operand])


def evex() -> Iterator[bytes]:
    thirds = [wide | free | 4 | prefix for wide, free, prefix in product((0, 0x80), (0x78, 0x40), range(4))]
    for map_, third, length, opcode in product((1, 2, 3, 5, 6), thirds, (0, 0x20, 0x40), range(256)):
        for mask in (0, 1, 0x10):
            for operand in OPERANDS[::3]:
                yield bytes([0x62, 0xF0 | map_, third, length | 8 | mask, opcode, operand])
        for operand in (*OPERANDS[1::3], *OPERANDS[2::3]):
            yield bytes([0x62, 0xF0 | map_, third, length | 8, opcode, operand])
        for operand in INDICES:
            yield bytes([0x62, 0xF0 | map_, third, length | 9, opcode, operand, 0x10])


def legacy() -> Iterator[bytes]:
    for escape, prefix, wide, opcode in product(
        (b"\x0f", b"\x0f\x38", b"\x0f\x3a"), PREFIXES, (b"", b"\x48"), range(256)
    ):
        for operand, register in product(OPERANDS, range(8)):
            yield b"".join([prefix, wide, escape, bytes([opcode, operand & 0xF8 | register])])
    for suffix in range(256):
        yield bytes([0x0F, 0x0F, 0xC1, suffix])
    for prefix, opcode, operand in product((b"", b"\x48", b"\x66"), range(256), range(256)):
        yield prefix + bytes([opcode, operand])


ENCODINGS = {"VEX": vex, "EVEX": evex, "XOP": xop, "LEGACY": legacy}


def iced_features(instruction: iced_x86.Instruction) -> frozenset[str]:
    names = {CPUID[feature] for feature in instruction.cpuid_features()} - {*NO_NEED.split()}
    return frozenset(LINUX.get(name, name.lower()) for name in names)


# Hundreds of thousands of encodings.
MANY = ("EVEX", "LEGACY")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in MANY)) for kind in ENCODINGS]
)
def test_classified_as_iced_does(kind: str) -> None:
    """Every encoding of every form: what it needs, and where it ends."""
    differ: dict[str, tuple[str, object]] = {}
    forms = set()
    for encoding in ENCODINGS[kind]():
        instruction = iced_x86.Decoder(64, encoding + TAIL).decode()
        if instruction.is_invalid:
            continue
        code = (encoding + TAIL)[: instruction.len]
        forms.add(instruction.code)
        found = x86_features(code)
        if found != iced_features(instruction):
            differ[code.hex()] = (str(instruction), found)
        elif kind != "LEGACY" and next(x86_instructions(DECODER, code + TAIL, 0))[1] != code:
            differ[code.hex()] = (str(instruction), "another length")
    assert differ == {}
    # All that there are, but those of a coprocessor that nobody has.
    all_forms = {code for code, name in CODES.items() if name.startswith(f"{kind}_") and "_KNC_" not in name}
    assert sorted(CODES[code] for code in all_forms - forms) == []
    assert forms


@pytest.mark.slow
def test_the_pattern_to_search_with() -> None:
    """It matches every instruction that it is for."""
    features = told_apart("x86_64") - allowed(("avx2",))
    pattern = next(pattern for pattern in x86_patterns(features) if pattern.pattern.startswith(b"\x62"))
    for encoding in evex():
        needs = x86_features(encoding + TAIL)
        if needs & features:
            assert pattern.match(encoding + TAIL), encoding.hex()


# Instructions as the assembler encodes them, and what they need.
ENCODED = {
    "vpermw zmm0, zmm1, zmm2": {"avx512bw"},
    "vpermi2w ymm0, ymm1, ymm2": {"avx512bw", "avx512vl"},
    "vpermt2w xmm0, xmm1, xmm2": {"avx512bw", "avx512vl"},
    "vpermb zmm0, zmm1, zmm2": {"avx512vbmi"},
    "vaesenc ymm0, ymm1, ymm2": {"vaes"},
    "vgf2p8mulb ymm0, ymm1, ymm2": {"avx", "gfni"},
    "vfmaddps xmm0, xmm1, xmm2, xmm3": {"fma4"},
    "vpcomltb xmm0, xmm1, xmm2": {"xop"},
    "adcx rax, rbx": {"adx"},
    "sha256rnds2 xmm1, xmm2": {"sha_ni"},
    "vp2intersectd k0, zmm1, zmm2": {"avx512_vp2intersect", "avx512f"},
    "tdpbf16ps tmm0, tmm1, tmm2": {"amx_bf16"},
    "vaddph zmm0, zmm1, zmm2": {"avx512_fp16"},
    "{vex} vpdpbusd ymm0, ymm1, ymm2": {"avx_vnni"},
    "vbroadcastss ymm0, xmm1": {"avx2"},
    "lzcnt rax, rbx": {"abm"},
    "rdrand rax": {"rdrand"},
    "lea rax, [rbx+8]": set(),
    "prefetchw [rax]": set(),
    "endbr64": set(),
}


def test_encodings_of_the_assembler(tmp_path: Path) -> None:
    source = ".intel_syntax noprefix\n" + "\n".join(ENCODED)
    subprocess.run([tool("as"), "-o", tmp_path / "all.o"], input=source.encode(), check=True)
    dump = ["objcopy", "-O", "binary", "-j", ".text"]
    subprocess.run([*dump, tmp_path / "all.o", tmp_path / "all.bin"], check=True)
    code = (tmp_path / "all.bin").read_bytes()
    found = [instruction for _, instruction, _ in x86_instructions(DECODER, code, 0)]
    assert b"".join(found) == code
    assert [x86_features(instruction) for instruction in found] == list(ENCODED.values())


def test_what_is_no_instruction_ends_nothing() -> None:
    """06 is none in 64-bit code; what follows it is found all the same."""
    add = bytes.fromhex("62f174485801")
    found = list(x86_instructions(DECODER, b"\x90\x06" + add + b"\x06", 0))
    assert [mnemonic for *_, mnemonic in found] == ["nop", ODD, "vaddps", ODD]
    assert x86_features(found[2][1]) == {"avx512f"}


@pytest.mark.parametrize(
    "code", ["62f57c4858842400000010", "62f1744858c1", "c4e27b5e8424000000010c", "8fe97887c1", "f30f38d80424"]
)
def test_cut_off_anywhere(code: str) -> None:
    """Those whose length Capstone does not know, among them."""
    whole = bytes.fromhex(code)
    for end in range(1, len(whole) + 1):
        found = list(x86_instructions(DECODER, whole[:end], 0))
        assert b"".join(instruction for _, instruction, _ in found) == whole[:end]
    assert x86_features(whole)


@given(st.binary(max_size=200))
def test_any_bytes(code: bytes) -> None:
    end = 0
    for address, instruction, _ in x86_instructions(DECODER, code, 0):
        assert address == end
        end += len(instruction)
        x86_features(instruction)
    assert end == len(code)


@given(CODE)
def test_what_tells(code: bytes) -> None:
    """All that may need something is among it, and as many instructions are counted as there are."""
    every = list(x86_instructions(DECODER, code, 64))
    count, telling = x86_telling(DECODER, code, 64)
    assert count == sum(mnemonic != ODD for *_, mnemonic in every)
    bare = [(place, instruction, mnemonic == ODD) for place, instruction, mnemonic in every]
    assert set(telling) <= set(bare)
    for place, instruction, mnemonic in every:
        told = mnemonic in (ODD, "cpuid") or instruction[0] in LEAVING or x86_features(instruction)
        assert not told or (place, instruction, mnemonic == ODD) in telling
        assert mnemonic == ODD or x86_mnemonic(DECODER, instruction) == mnemonic


# Capstone's groups of AArch64 instructions, and what /proc/cpuinfo calls them.
GROUPS = {
    "crc": "crc32",
    "sve": "sve",
    "sve2": "sve",
    "sme": "sme",
    "lse": "atomics",
    "rcpc": "lrcpc",
    "dotprod": "asimddp",
    "rdm": "asimdrdm",
    "fullfp16": "asimdhp",
    "pac": "paca",
    "sha3": "sha3",
    "sm4": "sha3",
    "aes": "aes",
    "sha2": "sha2",
}
# Of Armv8.0, as what is in no group.
BASE_GROUPS = frozenset({"neon", "fparmv8", "crypto"})
# What instructions are called that came later, where Capstone has no group for them.
LATER = {
    "atomics": ("ld", "st", "swp", "cas"),
    "asimddp": ("sdot", "udot"),
    "i8mm": ("smmla", "ummla", "usmmla", "usdot", "sudot"),
    "bf16": ("bf",),
    "asimdrdm": ("sqrdmla", "sqrdmls"),
    "fcma": ("fcmla", "fcadd"),
    "ilrcpc": ("ldapur", "stlur"),
    "lrcpc": ("ldapr",),
    "asimdfhm": ("fmlal", "fmlsl"),
    "sha3": ("sha512", "eor3", "bcax", "rax1", "xar", "sm3", "sm4"),
    "flagm": ("rmif", "setf", "cfinv"),
    "paca": ("pac", "aut", "xpac", "ldra", "bra", "blra", "reta", "ereta"),
    "jscvt": ("fjcvt",),
    "pmull": ("pmull",),
    "crc32": ("crc32",),
    "aes": ("aes",),
    "sha2": ("sha1", "sha256"),
}


def test_arm_by_what_capstone_calls_it() -> None:
    """Words by chance, more of those on vectors: none has a need that its name or its group does not have."""
    decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    decoder.detail = True
    chance = random.Random(0)
    classes = (0x0E000000, 0x1E000000, 0x0F000000, 0x08000000, 0x18000000, 0x4E000000)
    differ = []
    for number in range(60000):
        word = chance.getrandbits(32)
        if number % 2:
            word = word & ~0x1F000000 | chance.choice(classes)
        code = word.to_bytes(4, "little")
        instruction = next(decoder.disasm(code, 0), None)
        if instruction is None:
            continue
        need = dict(arm_features(code)).get(0)
        groups = {decoder.group_name(group) for group in instruction.groups if group >= 128}
        names = {GROUPS.get(group, group) for group in groups - BASE_GROUPS}
        halves = any(text in instruction.op_str.replace("[", " ") for text in (".4h", ".8h", "h0", "h1"))
        halves = halves or any(part.startswith("h") for part in instruction.op_str.split(", "))
        if need in ("sve", "sme"):
            fits = word >> 25 & 15 in (0, 2)
        elif need in ("asimdhp", "fphp"):
            fits = instruction.mnemonic.startswith(("f", "s", "u")) and halves
        elif need:
            fits = instruction.mnemonic.startswith(LATER[need]) or need in names
        else:
            fits = not names & {"sve", "atomics", "asimddp", "crc32", "lrcpc"}
        if not fits:
            differ.append((code.hex(), instruction.mnemonic, instruction.op_str, need, groups))
    assert differ == []


ARM_WORDS = {
    0x8B020020: (None, "add"),
    0x38E00041: ("atomics", "ldaddalb"),
    0xB8A10041: ("atomics", "ldadda"),
    0x88A17C41: ("atomics", "cas"),
    0xB8BFC0B5: ("lrcpc", "ldapr"),
    0x4E829420: ("asimddp", "sdot"),
    0x6E829420: ("asimddp", "udot"),
    0x04A20020: ("sve", "add"),
    0x4E22D420: (None, "fadd"),
    0x4E421420: ("asimdhp", "fadd"),
    0x1EE22820: ("fphp", "fadd"),
    0x1EE24020: (None, "fcvt"),
    0xA9BF7BFD: (None, "stp"),
    0x885FFC20: (None, "ldaxr"),
}


def test_arm_words() -> None:
    code = b"".join(word.to_bytes(4, "little") for word in ARM_WORDS)
    decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    assert [m for *_, m, _ in decoder.disasm_lite(code, 0)] == [name for _, name in ARM_WORDS.values()]
    found = dict(arm_features(code))
    assert [found.get(4 * index) for index in range(len(ARM_WORDS))] == [
        need for need, _ in ARM_WORDS.values()
    ]


def test_what_a_set_allows() -> None:
    assert "avx512f" not in allowed(parse_cpu("x86-64-v3").cpuinfo)
    assert {"avx", "avx2", "fma", "avx512f", "sse4_2"} <= allowed(parse_cpu("amx").cpuinfo)
    assert "bmi2" not in allowed(parse_cpu("avx2").cpuinfo)
    assert {"sve", "asimdhp", "crc32"} <= allowed(parse_cpu("armv9").cpuinfo)
    assert "sve" not in allowed(parse_cpu("armv8_2").cpuinfo)
