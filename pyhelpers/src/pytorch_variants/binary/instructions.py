"""Which instruction sets an x86 or Arm instruction needs, by the names that /proc/cpuinfo has for them.

Capstone finds where instructions begin. It knows neither AMX nor FP16 nor much that came later: the length of
those follows from their prefix. What they need is looked up in opcodes.py.
"""

import ctypes
import re
import struct
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from itertools import compress
from typing import Any, NamedTuple

from pytorch_variants.binary import opcodes

# What having one of the names brings with it: by GCC's rules (gcc/common/config/i386 and aarch64), and for
# AVX and AVX-512 what every CPU that has them has.
_IMPLIED = {
    "pni": "sse2",
    "ssse3": "pni",
    "sse4_1": "ssse3",
    "sse4_2": "sse4_1",
    "sse4a": "pni",
    "avx": "sse4_2 popcnt xsave cx16 rdtscp",
    "avx2": "avx",
    "fma": "avx",
    "f16c": "avx",
    "fma4": "avx sse4a",
    "xop": "fma4",
    "vaes": "avx2 aes",
    "vpclmulqdq": "avx2 pclmulqdq",
    "avx_vnni": "avx2",
    "avx512f": "avx2 avx512cd",
    "avx512bw": "avx512f",
    "avx512cd": "avx512f",
    "avx512dq": "avx512f",
    "avx512vl": "avx512f",
    "avx512ifma": "avx512f",
    "avx512vbmi": "avx512bw",
    "avx512_vbmi2": "avx512bw",
    "avx512_bitalg": "avx512bw",
    "avx512_vpopcntdq": "avx512f",
    "avx512_vnni": "avx512f",
    "avx512_bf16": "avx512bw",
    "avx512_fp16": "avx512bw avx512dq avx512vl",
    "abm": "popcnt",
    "amx_int8": "amx_tile",
    "amx_bf16": "amx_tile",
    "atomics": "crc32",
    "asimdhp": "fphp",
    "sve": "fphp asimdhp fcma",
    "sve2": "sve asimdrdm crc32 lrcpc ilrcpc jscvt flagm paca",
}
# In every x86-64 CPU.
_EVERYWHERE = frozenset({"sse", "sse2", "mmx"})

# What stands for bytes that are no instruction.
ODD = ".byte"

_PREFIXES = ("np", "66", "f3", "f2")


class _Rule(NamedTuple):
    """A row of opcodes.py for one opcode: the values of each of _FIELDS that fit, or None for any."""

    values: tuple[range | None, ...]
    features: frozenset[str]


_FIELDS = ("w", "l", "mod", "reg", "rm")


def _numbers(text: str, base: int) -> range:
    low, _, high = text.partition("-")
    return range(int(low, base), int(high or low, base) + 1)


_Table = dict[tuple[int, int, int], list[_Rule]]


def _read(text: str) -> _Table:
    """A table of opcodes.py by opcode map, prefix (np, 66, f3, f2 as 0 to 3) and opcode."""
    table: _Table = {}
    for line in text.splitlines():
        features, map_, prefixes, condition, *codes = line.split()
        wanted = dict(part.split("=") for part in condition.split(",") if condition != "-")
        values = tuple(_numbers(wanted[name], 10) if name in wanted else None for name in _FIELDS)
        rule = _Rule(values, frozenset(features.split("+")))
        for prefix in _PREFIXES if prefixes == "*" else prefixes.split(","):
            for opcode in (number for code in codes for number in _numbers(code, 16)):
                table.setdefault((int(map_), _PREFIXES.index(prefix), opcode), []).append(rule)
    return table


_LEGACY, _VEX, _EVEX, _XOP = map(_read, (opcodes.LEGACY, opcodes.VEX, opcodes.EVEX, opcodes.XOP))
_SCALAR = _read(opcodes.SCALAR)
# Those that name their set alone, where AVX-512's foundation is needed as well.
_BESIDES = frozenset({"gfni", "vaes", "vpclmulqdq", "avx512_bf16", "avx512_vp2intersect"})
_NOW_EXT = frozenset(b"\x0c\x1c\x8a\x8e\xbb")

_NOTHING: frozenset[str] = frozenset()
# Encoded as no table has it: no instruction that was known when the tables were written.
UNKNOWN = frozenset({"unknown"})


@cache
def allowed(cpuinfo: tuple[str, ...]) -> frozenset[str]:
    """All that code for a CPU with these flags may use: the flags, and what they imply.

    >>> sorted(allowed(("avx2",)) - allowed(("avx",)))
    ['avx2']
    """
    found = set(_EVERYWHERE)
    left = list(cpuinfo)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _IMPLIED.get(name, "").split()
    return frozenset(found)


def characteristic(cpuinfo: tuple[str, ...]) -> str:
    """The feature of a set that compilers make use of everywhere, however plain the code.

    AVX-512's additions (VNNI, BF16) and AMX are used by code that asks for them alone.

    >>> characteristic(("avx512f", "avx512_vnni"))
    'avx512f'
    """
    usable = allowed(cpuinfo)
    return next(name for name in ("avx512f", "avx2", "avx", "sve", "atomics") if name in usable)


@cache
def told_apart(machine: str) -> frozenset[str]:
    """Every feature that is found in machine code, by ELF's name of the machine."""
    if machine == "aarch64":
        return frozenset(name for _, _, name in _ARM if name)
    rules = (rule for table in (_LEGACY, _VEX, _EVEX, _XOP) for rows in table.values() for rule in rows)
    return frozenset({"avx512vl", "3dnow", "3dnowext"}.union(*(rule.features for rule in rules)))


def _find(
    table: _Table, key: tuple[int, int, int], w: int, length: int, modrm: int, default: frozenset[str]
) -> frozenset[str]:
    instruction = (w, length, modrm >> 6 == 3, modrm >> 3 & 7, modrm & 7)
    for rule in table.get(key, ()):
        if all(fits is None or value in fits for fits, value in zip(rule.values, instruction, strict=True)):
            return rule.features
    return default


@cache
def _vex(map_: int, third: int, opcode: int, modrm: int) -> frozenset[str]:
    return _find(_VEX, (map_, third & 3, opcode), third >> 7, third >> 2 & 1, modrm, UNKNOWN)


@cache
def _xop(map_: int, third: int, opcode: int) -> frozenset[str]:
    return _find(_XOP, (map_, third & 3, opcode), third >> 7, third >> 2 & 1, 0, UNKNOWN)


@cache
def _evex(map_: int, third: int, fourth: int, opcode: int, modrm: int) -> frozenset[str]:
    length, key = fourth >> 5 & 3, (map_, third & 3, opcode)
    # With rounding in the instruction the vector has 512 bits.
    if fourth & 0x10 and modrm >> 6 == 3:
        length = 2
    features = _find(_EVEX, key, third >> 7, length, modrm, UNKNOWN)
    if features is UNKNOWN:
        return UNKNOWN
    if length < 2 and key not in _SCALAR:
        return features | {"avx512vl"}
    return features | {"avx512f"} if features <= _BESIDES else features


@cache
def _legacy(map_: int, prefix: int, wide: int, opcode: int, modrm: int) -> frozenset[str]:
    return _find(_LEGACY, (map_, prefix, opcode), wide, 0, modrm, _NOTHING)


def _one_byte_opcode(code: bytes) -> frozenset[str]:
    if code[:2] in (b"\xc6\xf8", b"\xc7\xf8"):
        return frozenset({"rtm"})
    # fisttp came with SSE3.
    if code[:1] in (b"\xdb", b"\xdd", b"\xdf") and len(code) > 1 and code[1] < 0xC0 and code[1] >> 3 & 7 == 1:
        return frozenset({"pni"})
    return _NOTHING


_LEGACY_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"
# What an instruction that needs anything begins with, but for REX; what may follow 0f then, and CPUID.
_TELLING = frozenset(b"\xc4\xc5\x62\x8f\xc6\xc7\xdb\xdd\xdf" + _LEGACY_PREFIXES)
_ESCAPE = 0x0F
_MAPPED = frozenset(b"\x0f\x38\x3a\xa2" + bytes(opcode for map_, _, opcode in _LEGACY if map_ == 1))
# call and jmp, whose operand is how far away from the next instruction they go; what a function ends with.
CALLS = frozenset({0xE8, 0xE9, 0xEB})
RETURNS = frozenset({0xC3, 0xE9, 0xEB})
LEAVING = CALLS | RETURNS


def _mask(wanted: Collection[int]) -> bytes:
    """What translates these bytes to 1 and all others to 0."""
    return bytes(byte in wanted for byte in range(256))


_IS_TELLING, _IS_MAPPED, _IS_LEAVING = map(_mask, (_TELLING, _MAPPED, LEAVING))
_IS_ESCAPE, _IS_REX, _IS_ODD = map(_mask, ({_ESCAPE}, range(0x40, 0x50), ODD[:1].encode()))


def x86_features(code: bytes) -> frozenset[str]:
    """What one x86-64 instruction needs, as /proc/cpuinfo names it: nothing for most.

    Several names mean that all of them are needed. SSE, SSE2 and MMX, which every CPU has, count too.
    """
    first = code[0]
    begin = code[1] if first & 0xF0 == 0x40 and len(code) > 1 else first
    if begin not in _TELLING and begin != _ESCAPE and begin & 0xF0 != 0x40:
        return _NOTHING
    if first == 0xC5 and len(code) > 2:
        # vzeroupper has no operand.
        return _vex(1, code[1] & 0x7F, code[2], code[3] if len(code) > 3 else 0)
    if first == 0xC4 and len(code) > 3:
        return _vex(code[1] & 31, code[2] & 0x87, code[3], code[4] if len(code) > 4 else 0)
    if first == 0x62 and len(code) > 5:
        return _evex(code[1] & 7, code[2] & 0x83, code[3] & 0x70, code[4], code[5])
    if first == 0x8F and len(code) > 4 and code[1] & 31 >= 8:
        return _xop(code[1] & 31, code[2] & 0x87, code[3])
    start = _prefixes_of(code)
    if start and start < len(code) and code[start] in b"\xc5\xc4\x62\x8f":
        return x86_features(code[start:])
    before = code[:start]
    prefix = 2 if 0xF3 in before else 3 if 0xF2 in before else 1 if 0x66 in before else 0
    if prefix > 1:
        # Of f2 and f3 the last one counts.
        prefix = 2 if before.rfind(b"\xf3") > before.rfind(b"\xf2") else 3
    wide = 0
    while start < len(code) and code[start] & 0xF0 == 0x40:
        wide = code[start] >> 3 & 1
        start += 1
    opcode = code[start : start + 4]
    if opcode[:1] != b"\x0f":
        return _one_byte_opcode(opcode)
    if opcode[1:2] == b"\x0f":
        return frozenset({"3dnowext" if code[-1] in _NOW_EXT else "3dnow"})
    map_, at = {b"\x38": (2, 2), b"\x3a": (3, 2)}.get(opcode[1:2], (1, 1))
    if len(opcode) <= at:
        return _NOTHING
    return _legacy(map_, prefix, wide, opcode[at], opcode[at + 1] if len(opcode) > at + 1 else 0)


_IMMEDIATE = b"\x70\x71\x72\x73\xc2\xc4\xc5\xc6"  # of map 1; all of map 3 have one


def _prefixes_of(code: bytes) -> int:
    start = 0
    while start < len(code) and code[start] in _LEGACY_PREFIXES:
        start += 1
    return start


def _length(code: bytes) -> int | None:
    """The length of an instruction that Capstone does not know, by its prefix and its operand; else None.

    None as well where no table has it, or where it has no end.
    """
    size = start = _prefixes_of(code)
    if size < len(code) and code[size] & 0xF0 == 0x40:
        size += 1
    head = code[size : size + 6]
    if len(head) < 4:
        return None
    if (start == size and head[0] in b"\xc4\xc5\x62") or (head[0] == 0x8F and head[1] & 31 >= 8):
        at = {0xC5: 2, 0x62: 4}.get(head[0], 3)
        if len(head) <= at:
            return None
        map_ = 1 if head[0] == 0xC5 else head[1] & (7 if head[0] == 0x62 else 31)
        immediate = 4 if map_ == 10 else map_ in (3, 8) or (map_ == 1 and head[at] in _IMMEDIATE)
    elif head[0] == 0x0F and head[1] in b"\x38\x3a":
        at, immediate = 2, head[1] == 0x3A
    elif head[0] == 0x0F and head[1] in b"\x01\x0d\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\xae\xc7":
        at, immediate = 1, 0
    else:
        return None
    length = size + at + 2
    if len(code) < length:
        return None
    modrm = code[length - 1]
    mode, low = modrm >> 6, modrm & 7
    if mode != 3 and low == 4:
        if len(code) <= length:
            return None
        low = code[length] & 7
        length += 1
    if mode == 0 and low == 5:
        length += 4
    length += {1: 1, 2: 4}.get(mode, 0) + immediate
    known = x86_features(code[:length]) - UNKNOWN or at == 1
    return length if known and length <= len(code) else None


def x86_decoder() -> Any:
    """What x86_instructions decodes with: a capstone.Cs that goes on after what is no instruction."""
    import capstone  # Not where the GPU alone is tested.

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.skipdata = True
    return decoder


@cache
def _form() -> tuple[struct.Struct, dict[str, int]]:
    """How Capstone lays out an instruction: its address, length and bytes; where each field begins."""
    import capstone

    row = capstone._cs_insn
    at = {name: getattr(row, name).offset for name in ("address", "size", "bytes", "mnemonic")}
    fields = f"={at['address']}xQ{at['size'] - at['address'] - 8}xH{at['bytes'] - at['size'] - 2}x15s"
    return struct.Struct(f"{fields}{ctypes.sizeof(row) - struct.calcsize(fields)}x"), at


class _Rows:
    """Instructions as Capstone leaves them in memory.

    Its own disasm_lite() makes Python objects of each, which takes longer than all that is done with the few
    that matter.
    """

    def __init__(self, decoder: Any, code: bytes, address: int) -> None:
        import capstone

        self._form, self._at = _form()
        found = ctypes.POINTER(capstone._cs_insn)()
        wanted = (decoder.csh, code, len(code), address, 0, ctypes.byref(found))
        self.count: int = capstone._cs.cs_disasm(*wanted)
        self._rows = ctypes.string_at(found, self.count * self._form.size) if self.count else b""
        capstone._cs.cs_free(found, self.count)

    def column(self, field: str, number: int = 0) -> bytes:
        """One byte of a field, of each."""
        return self._rows[self._at[field] + number :: self._form.size]

    def at(self, index: int) -> tuple[int, bytes]:
        """Address and bytes of one."""
        address, size, code = self._form.unpack_from(self._rows, index * self._form.size)
        return address, code[:size]

    def mnemonic(self, index: int) -> str:
        """The mnemonic of one."""
        start = index * self._form.size + self._at["mnemonic"]
        return self._rows[start : self._rows.index(0, start)].decode()


def _stretches(
    decoder: Any, code: bytes, address: int
) -> Iterator[tuple[_Rows, int, tuple[int, bytes] | None]]:
    """Rows and how many of them count; then an instruction that Capstone does not know."""
    offset = 0
    while offset < len(code):
        rows = _Rows(decoder, code[offset:], address + offset)
        for index in compress(range(rows.count), rows.column("mnemonic").translate(_IS_ODD)):
            place, _ = rows.at(index)
            begin = place - address
            if length := _length(code[begin : begin + 16]):
                # Capstone went on within it: https://github.com/capstone-engine/capstone/issues/2037
                offset = begin + length
                yield rows, index, (place, code[begin:offset])
                break
        else:
            yield rows, rows.count, None
            return


def x86_instructions(decoder: Any, code: bytes, address: int) -> Iterator[tuple[int, bytes, str]]:
    """Address, bytes and mnemonic of each instruction; a byte that begins none has the mnemonic ODD.

    `decoder` is one of x86_decoder(). The mnemonic of what it does not know is "".
    """
    for rows, end, unknown in _stretches(decoder, code, address):
        for index in range(end):
            yield *rows.at(index), rows.mnemonic(index)
        if unknown:
            yield *unknown, ""


def _wanted(column: bytes, mask: bytes) -> int:
    return int.from_bytes(column.translate(mask), "little")


def _tells(first: bytes, second: bytes) -> int:
    """A number of which a byte is 1 for each row that x86_features() finds anything in, without REX."""
    return _wanted(first, _IS_TELLING) | _wanted(first, _IS_ESCAPE) & _wanted(second, _IS_MAPPED)


def x86_telling(decoder: Any, code: bytes, address: int) -> tuple[int, list[tuple[int, bytes, bool]]]:
    """How many instructions there are, and address and bytes of some; True where a byte begins none.

    They are all that x86_features() finds anything in, CPUID, and those that LEAVING begins. See
    x86_instructions().
    """
    count, found = 0, list[tuple[int, bytes, bool]]()
    for rows, end, unknown in _stretches(decoder, code, address):
        one, two, three = (rows.column("bytes", number) for number in range(3))
        odd = rows.column("mnemonic").translate(_IS_ODD)
        # Of several REX the last one counts.
        wanted = _tells(one, two) | _wanted(one, _IS_REX) & (_tells(two, three) | _wanted(two, _IS_REX))
        wanted |= _wanted(one, _IS_LEAVING) | int.from_bytes(odd, "little")
        for index in compress(range(end), wanted.to_bytes(rows.count, "little")):
            found.append((*rows.at(index), bool(odd[index])))
        count += end - odd.count(1, 0, end)
        if unknown:
            found.append((*unknown, False))
            count += 1
    return count, found


def x86_mnemonic(decoder: Any, code: bytes) -> str:
    """The mnemonic of one instruction, "" if it is not known."""
    return next((name for *_, name in x86_instructions(decoder, code, 0)), "")


def _class(values: Iterable[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(values)) + b"]"


def _vector_pattern(table: _Table, wanted: frozenset[str], head: bytes) -> Iterator[bytes]:
    """What the instructions of some features look like, from their prefix's second byte on."""
    # By opcode map and by the byte that has the prefix, W and the length: the opcodes that may follow it.
    opcodes_of: dict[int, dict[int, set[int]]] = {}
    for (map_, prefix, opcode), rules in table.items():
        for w, length in {rule.values[:2] for rule in rules if rule.features & wanted}:
            for byte in range(prefix, 256, 4):
                if (w is None or byte >> 7 in w) and (
                    byte & 4 if head == b"\x62" else length is None or (byte >> 2 & 1) in length
                ):
                    opcodes_of.setdefault(map_, {}).setdefault(byte, set()).add(opcode)
    for map_, by_byte in opcodes_of.items():
        bytes_of: dict[frozenset[int], list[int]] = {}
        for byte, following in by_byte.items():
            bytes_of.setdefault(frozenset(following), []).append(byte)
        # The fewer alternatives a byte is in, the sooner an attempt fails, as nearly all do.
        if head != b"\xc5":
            own = 15 if head == b"\x62" else 31
            between = b"." if head == b"\x62" else b""
            forms = [_class(bytes_) + between + _class(codes) for codes, bytes_ in bytes_of.items()]
            first = _class(byte for byte in range(256) if byte & own == map_)
            yield first + b"(?:" + b"|".join(forms) + b")"
        elif map_ == 1:
            for codes, bytes_ in bytes_of.items():
                # The short prefix has no W; its bit is a register's.
                either = {byte | high for byte in bytes_ if byte < 0x80 for high in (0, 0x80)}
                if either:
                    yield _class(either) + _class(codes)


@cache
def x86_patterns(features: frozenset[str]) -> tuple[re.Pattern[bytes], ...]:
    """What match where an instruction that needs one of these could begin, and nowhere else.

    Most that they find is within other instructions. Of the legacy encodings there are those of two opcode
    maps; the others have nothing to be known by. Each begins with one fixed byte, which makes it quick.
    """
    heads = ((b"\x62", _EVEX), (b"\xc4", _VEX), (b"\xc5", _VEX), (b"\x8f", _XOP))
    found = []
    for head, table in heads:
        forms = list(_vector_pattern(table, features, head))
        if forms:
            found.append(re.escape(head) + b"(?:" + b"|".join(forms) + b")")
    for map_, escape in ((2, b"\x38"), (3, b"\x3a")):
        codes = {
            o for (m, _, o), rules in _LEGACY.items() if m == map_ for r in rules if r.features & features
        }
        if codes:
            found.append(b"\x0f" + escape + _class(codes))
    return tuple(re.compile(pattern, re.DOTALL) for pattern in found)


# Mask, value and name of AArch64's encodings beyond Armv8.0 with floating point; the first that fits counts.
_ARM = (
    (0x9E000000, 0x80000000, "sme"),
    (0x1E000000, 0x04000000, "sve"),
    (0x3FFFFC00, 0x38BFC000, "lrcpc"),
    (0x3F208C00, 0x38200000, "atomics"),
    (0x3F20FC00, 0x38208000, "atomics"),
    (0x3FA07C00, 0x08A07C00, "atomics"),
    (0xBFA07C00, 0x08207C00, "atomics"),
    (0x3F200C00, 0x19000000, "ilrcpc"),
    (0x7FE0F000, 0x1AC04000, "crc32"),
    (0x7FE0F000, 0x1AC05000, "crc32"),
    (0xBFE0FC00, 0x0E809400, "asimddp"),
    (0xBFE0FC00, 0x2E809400, "asimddp"),
    (0x9FC0F400, 0x0F80E000, "asimddp"),
    (0xFFE0FC00, 0x4E80A400, "i8mm"),
    (0xFFE0FC00, 0x6E80A400, "i8mm"),
    (0xFFE0FC00, 0x4E80AC00, "i8mm"),
    (0xBFE0FC00, 0x0E809C00, "i8mm"),
    (0xBF40F400, 0x0F00F000, "i8mm"),
    (0xBFE0FC00, 0x2E40FC00, "bf16"),
    (0xFFE0FC00, 0x6E40EC00, "bf16"),
    (0xBFE0FC00, 0x2EC0FC00, "bf16"),
    (0xBF40F400, 0x0F40F000, "bf16"),
    (0xBFFFFC00, 0x0EA16800, "bf16"),
    (0xFFFFFC00, 0x1E634000, "bf16"),
    (0xBF20F400, 0x2E008400, "asimdrdm"),
    (0xFF20F400, 0x7E008400, "asimdrdm"),
    (0xAF00D400, 0x2F00D000, "asimdrdm"),
    (0xBF20E400, 0x2E00C400, "fcma"),
    (0xBF20EC00, 0x2E00E400, "fcma"),
    (0xBF009400, 0x2F001000, "fcma"),
    (0xFFFFFC00, 0x1E7E0000, "jscvt"),
    # Between half and other precisions Armv8.0 converts.
    (0xFFFEFC00, 0x1EE24000, ""),
    (0xFFFFFC00, 0x1EE2C000, ""),
    (0x7FE00000, 0x1EE00000, "fphp"),
    (0xFFC00000, 0x1FC00000, "fphp"),
    (0x9F60C400, 0x0E400400, "asimdhp"),
    (0xDF60C400, 0x5E400400, "asimdhp"),
    (0x9F7E0C00, 0x0E780800, "asimdhp"),
    (0xDF7E0C00, 0x5E780800, "asimdhp"),
    (0xBFFFEC00, 0x0E30C800, "asimdhp"),
    (0xBF7FFC00, 0x0E30F800, "asimdhp"),
    (0xBFF8FC00, 0x0F00FC00, "asimdhp"),
    (0x9FC0B400, 0x0F001000, "asimdhp"),
    (0x9FC0F400, 0x0F009000, "asimdhp"),
    (0xDFC0B400, 0x5F001000, "asimdhp"),
    (0xDFC0F400, 0x5F009000, "asimdhp"),
    (0xBFA0FC00, 0x0E20EC00, "asimdfhm"),
    (0xBFA0FC00, 0x2E20CC00, "asimdfhm"),
    (0xFF3E0C00, 0x4E280800, "aes"),
    (0xFF208C00, 0x5E000000, "sha2"),
    (0xFF3E0C00, 0x5E280800, "sha2"),
    (0xBFE0FC00, 0x0EE0E000, "pmull"),
    (0xFF000000, 0xCE000000, "sha3"),
    (0xFFE07C10, 0xBA000400, "flagm"),
    (0xFE9FF800, 0xD61F0800, "paca"),
    (0xFFFFC000, 0xDAC10000, "paca"),
    (0xFF200400, 0xF8200400, "paca"),
)


@cache
def _arm_by_first_byte() -> dict[int, tuple[tuple[int, int, str], ...]]:
    """The encodings by the byte that most are told apart by, the word's highest."""
    rows = {
        high: tuple(row for row in _ARM if (high << 24 & row[0]) == (row[1] & 0xFF000000 & row[0]))
        for high in range(256)
    }
    return {high: row for high, row in rows.items() if row}


def arm_features(code: bytes) -> Iterator[tuple[int, str]]:
    """Offset and need of each AArch64 instruction that needs more than Armv8.0 with floating point.

    Encodings are those of the Arm Architecture Reference Manual, chapter C4.
    """
    table = _arm_by_first_byte()
    for index, (word,) in enumerate(struct.iter_unpack("<I", code[: len(code) - len(code) % 4])):
        for mask, value, name in table.get(word >> 24, ()):
            if word & mask == value:
                if name:
                    yield index * 4, name
                break
