"""/proc/cpuinfo of CPU generations, as Linux prints it: facts that detection has to read right."""

from dataclasses import dataclass

_X86 = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht "
    "syscall nx rdtscp lm constant_tsc rep_good nopl cpuid pni pclmulqdq ssse3 cx16 sse4_1 sse4_2 popcnt "
    "lahf_lm"
)
_SANDY_BRIDGE = f"{_X86} x2apic aes xsave avx pcid tsc_deadline_timer"
_HASWELL = f"{_SANDY_BRIDGE} f16c rdrand fma movbe abm fsgsbase bmi1 avx2 smep bmi2 erms invpcid"
_SKYLAKE_X = (
    f"{_HASWELL} adx smap rdseed clflushopt clwb avx512f avx512dq avx512cd avx512bw avx512vl xsaveopt xsavec"
)
_ICE_LAKE = (
    f"{_SKYLAKE_X} sha_ni avx512ifma avx512vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni "
    "avx512_bitalg avx512_vpopcntdq umip pku rdpid"
)
_ZEN_2 = (
    f"{_X86} aes xsave avx f16c rdrand fma movbe abm sse4a 3dnowprefetch svm misalignsse fsgsbase bmi1 avx2 "
    "smep bmi2 rdseed adx smap clflushopt clwb sha_ni clzero rdpru wbnoinvd umip rdpid"
)
_NEOVERSE_N1 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
)
_NEOVERSE_V1 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop "
    "sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm svebf16 "
    "i8mm bf16 dgh rng"
)
_NEOVERSE_V2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop "
    "sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm sb paca pacg dcpodp sve2 sveaes "
    "svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svebf16 i8mm bf16 dgh bti"
)


@dataclass(frozen=True)
class Generation:
    """A CPU: what /proc/cpuinfo says, GCC's flag for it, the set that is best for it and the second."""

    model: str
    flags: str
    best: str | None
    second: str | None = None
    gcc: str | None = None

    @property
    def cpuinfo(self) -> str:
        if self.flags.startswith("fpu"):
            core = f"vendor_id\t: x\nmodel name\t: {self.model}\nflags\t\t: {self.flags}\nbugs\t\t: \n"
        else:
            # Arm's kernel prints numbers and no name.
            core = f"BogoMIPS\t: 2000.00\nFeatures\t: {self.flags}\n{self.model}\n"
        return "\n".join(f"processor\t: {number}\n{core}" for number in range(2))


def _arm(implementer: str, part: str) -> str:
    return f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU part\t: {part}"


GENERATIONS = {
    "Penryn": Generation("Intel(R) Core(TM)2 Quad CPU Q9550 @ 2.83GHz", _X86, None),
    "Sandy Bridge": Generation(
        "Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz", _SANDY_BRIDGE, "avx", gcc="-march=sandybridge"
    ),
    "Bulldozer": Generation(
        "AMD Opteron(tm) Processor 6274",
        f"{_X86} aes xsave avx svm abm sse4a misalignsse 3dnowprefetch xop fma4",
        "avx",
        gcc="-march=bdver1",
    ),
    "Haswell": Generation(
        "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz", _HASWELL, "x86-64-v3", "avx2", "-march=haswell"
    ),
    "Zen 2": Generation("AMD EPYC 7742 64-Core Processor", _ZEN_2, "x86-64-v3", "avx2", "-march=znver2"),
    "Alder Lake": Generation(
        "12th Gen Intel(R) Core(TM) i9-12900K",
        f"{_HASWELL} adx smap rdseed clflushopt clwb sha_ni gfni vaes vpclmulqdq avx_vnni serialize",
        "x86-64-v3",
        "avx2",
        "-march=alderlake",
    ),
    "Skylake-X": Generation(
        "Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz",
        _SKYLAKE_X,
        "x86-64-v4",
        "avx512",
        "-march=skylake-avx512",
    ),
    "Cascade Lake": Generation(
        "Intel(R) Xeon(R) Platinum 8280 CPU @ 2.70GHz",
        f"{_SKYLAKE_X} avx512_vnni",
        "avx512vnni",
        "x86-64-v4",
        "-march=cascadelake",
    ),
    "Cooper Lake": Generation(
        "Intel(R) Xeon(R) Platinum 8380H CPU @ 2.90GHz",
        f"{_SKYLAKE_X} avx512_vnni avx512_bf16",
        "avx512bf16",
        "avx512vnni",
        "-march=cooperlake",
    ),
    "Ice Lake": Generation(
        "Intel(R) Xeon(R) Platinum 8358 CPU @ 2.60GHz",
        _ICE_LAKE,
        "avx512vnni",
        "x86-64-v4",
        "-march=icelake-server",
    ),
    "Sapphire Rapids": Generation(
        "Intel(R) Xeon(R) Platinum 8480C",
        f"{_ICE_LAKE} avx_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8 serialize",
        "amx",
        "avx512bf16",
        "-march=sapphirerapids",
    ),
    "Zen 4": Generation(
        "AMD EPYC 9654 96-Core Processor",
        f"{_ZEN_2} avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_bf16 avx512vbmi "
        "avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq",
        "avx512bf16",
        "avx512vnni",
    ),
    "Raspberry Pi 4": Generation(
        _arm("0x41", "0xd08"), "fp asimd evtstrm crc32 cpuid", None, None, "-mcpu=cortex-a72"
    ),
    "Graviton2": Generation(_arm("0x41", "0xd0c"), _NEOVERSE_N1, "armv8_2", None, "-mcpu=neoverse-n1"),
    "Graviton3": Generation(_arm("0x41", "0xd40"), _NEOVERSE_V1, "armv8_2", None, "-mcpu=neoverse-v1"),
    "Jetson Orin": Generation(
        _arm("0x41", "0xd42"),
        f"{_NEOVERSE_N1} uscat ilrcpc flagm paca pacg",
        "armv8_2",
        gcc="-mcpu=cortex-a78ae",
    ),
    "Grace": Generation(_arm("0x41", "0xd4f"), _NEOVERSE_V2, "armv9", "armv8_2", "-mcpu=demeter"),
}
