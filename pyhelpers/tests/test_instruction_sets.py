"""Every instruction set of the table, held against the compiler of its platform."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from binaries import tool

from pytorch_variants.hardware.spelling import parse_cpu
from pytorch_variants.hardware.table import (
    Cpu,
    cpus,
)

SETS = [
    pytest.param(cpu, platform.removesuffix("-linux"), id=cpu.name)
    for cpu in cpus().values()
    for platform in cpu.platforms
]
# Compiled with optimisation, so that the flags have something to do.
SOURCE = """
float sum(const float *x, const signed char *y, int n) {
  float total = 0;
  for (int i = 0; i < n; i++) total += x[i] * y[i];
  return total;
}
"""
# Where GCC's macro is named otherwise than the kernel's flag.
X86 = {"abm": "__LZCNT__", "bmi1": "__BMI__"}
ARM = {
    "atomics": "__ARM_FEATURE_ATOMICS",
    "asimdrdm": "__ARM_FEATURE_QRDMX",
    "fphp": "__ARM_FEATURE_FP16_SCALAR_ARITHMETIC",
    "asimdhp": "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC",
    "asimddp": "__ARM_FEATURE_DOTPROD",
    "sve": "__ARM_FEATURE_SVE",
    "sve2": "__ARM_FEATURE_SVE2",
}


def compile_with(machine: str, flags: Iterable[str], *options: str, cpu: Cpu | None = None) -> str:
    """What GCC prints; its own message fails the test. `cpu` is the set whose flags these are."""
    command = [str(tool(f"{machine}-linux-gnu-gcc")), *flags, "-Werror", "-O3", "-x", "c", "-", *options]
    result = subprocess.run(command, input=SOURCE, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        version = subprocess.check_output([command[0], "-dumpversion"], text=True).strip()
        needs = (
            f"\ncpu.{cpu.name}.gcc.min is {cpu.gcc_min}, the first GCC that takes its flags" if cpu else ""
        )
        said = result.stderr.strip()
        pytest.fail(f"{' '.join(command)}\n{said}\nThis is GCC {version}.{needs}", pytrace=False)
    return result.stdout


def macros_with(machine: str, flags: Iterable[str]) -> set[str]:
    return {line.split()[1] for line in compile_with(machine, flags, "-dM", "-E").splitlines()}


def macro(machine: str, feature: str) -> str:
    if machine == "aarch64":
        return ARM.get(feature, f"(no line for {feature} in ARM)")
    return X86.get(feature, f"__{feature.upper().replace('AVX512_', 'AVX512')}__")


def check_macros(machine: str, cpu: Cpu, macros: set[str]) -> None:
    """Fails the test where the flags do not bring what cpuinfo lists, or GCC calls it otherwise."""
    missing = [feature for feature in cpu.cpuinfo if macro(machine, feature) not in macros]
    if missing:
        names = ", ".join(f"{feature} as {macro(machine, feature)}" for feature in missing)
        brought = " ".join(sorted(macros - macros_with(machine, ())))
        pytest.fail(
            f"cpu.{cpu.name}: with {' '.join(cpu.flags)} GCC does not define {names}. It defines {brought}. "
            f"If that has it by another name, {'ARM' if machine == 'aarch64' else 'X86'} in "
            f"{Path(__file__).name} needs a line; else flags or cpuinfo are wrong",
            pytrace=False,
        )


@pytest.mark.parametrize(("cpu", "machine"), SETS)
def test_it_compiles_to_what_the_cpu_must_show(cpu: Cpu, machine: str, tmp_path: Path) -> None:
    flags = (*cpu.flags, *cpu.disable)
    compile_with(machine, flags, "-c", "-o", str(tmp_path / "object.o"), cpu=cpu)
    macros = macros_with(machine, flags)
    check_macros(machine, cpu, macros)
    assert not {f"__{flag.removeprefix('-mno-').upper()}__" for flag in cpu.disable} & macros


@pytest.mark.parametrize(("cpu", "machine"), SETS)
def test_the_default_has_less(cpu: Cpu, machine: str) -> None:
    """Without the flags the macros are not all there: they are what the flags bring."""
    macros = macros_with(machine, ())
    assert not {macro(machine, feature) for feature in cpu.cpuinfo} <= macros


@pytest.mark.parametrize("cpu", [cpu for cpu in cpus().values() if cpu.disable], ids=lambda cpu: cpu.name)
def test_what_is_switched_off_stays_off(cpu: Cpu) -> None:
    """Even where the compiler's own default has more, as when it is built for the machine at hand."""
    flags = ("-march=x86-64-v3", *cpu.flags, *cpu.disable)
    macros = macros_with("x86_64", flags)
    assert not {f"__{flag.removeprefix('-mno-').upper()}__" for flag in cpu.disable} & macros


@pytest.mark.parametrize(
    ("name", "flag"), [("avx512", "-mavx1024"), ("armv9", "-march=armv99-a")], ids=["x86_64", "aarch64"]
)
def test_what_gcc_refuses_is_said_in_its_words(name: str, flag: str, tmp_path: Path) -> None:
    cpu = replace(parse_cpu(name), flags=(flag,), gcc_min="99")
    words = (
        f"error: [^\n]*{re.escape(flag.rpartition('=')[2])}.*This is GCC [0-9]+.*cpu.{name}.gcc.min is 99, "
    )
    with pytest.raises(pytest.fail.Exception, match=f"(?s){words}"):
        test_it_compiles_to_what_the_cpu_must_show(cpu, cpu.platforms[0].removesuffix("-linux"), tmp_path)


@pytest.mark.parametrize(
    ("name", "flag", "feature", "words"),
    [
        ("x86-64-v3", "-mavxvnni", "avx_vnni", "avx_vnni as __AVX_VNNI__.* __AVXVNNI__.* X86 in test_instr"),
        ("armv9", "-march=armv9-a+i8mm", "i8mm", "i8mm.* __ARM_FEATURE_MATMUL_INT8 .* ARM in test_instr"),
    ],
)
def test_a_macro_by_another_name(name: str, flag: str, feature: str, words: str, tmp_path: Path) -> None:
    cpu = parse_cpu(name)
    cpu = replace(cpu, flags=(*cpu.flags, flag), cpuinfo=(*cpu.cpuinfo, feature))
    with pytest.raises(pytest.fail.Exception, match=words):
        test_it_compiles_to_what_the_cpu_must_show(cpu, cpu.platforms[0].removesuffix("-linux"), tmp_path)
