"""Every instruction set of the table, held against the compiler of its platform."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from binaries import tool

from pytorch_variants.hardware import Cpu, cpus

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


def compile_with(machine: str, flags: Iterable[str], *options: str) -> str:
    command = [str(tool(f"{machine}-linux-gnu-gcc")), *flags, "-Werror", "-O3", "-x", "c", "-", *options]
    return subprocess.run(command, input=SOURCE, capture_output=True, text=True, check=True).stdout


def macro(machine: str, feature: str) -> str:
    if machine == "aarch64":
        return ARM[feature]
    return X86.get(feature, f"__{feature.upper().replace('AVX512_', 'AVX512')}__")


@pytest.mark.parametrize(("cpu", "machine"), SETS)
def test_it_compiles_to_what_the_cpu_must_show(cpu: Cpu, machine: str, tmp_path: Path) -> None:
    flags = (*cpu.flags, *cpu.disable)
    compile_with(machine, flags, "-c", "-o", str(tmp_path / "object.o"))
    macros = {line.split()[1] for line in compile_with(machine, flags, "-dM", "-E").splitlines()}
    assert {macro(machine, feature) for feature in cpu.cpuinfo} <= macros
    assert not {f"__{flag.removeprefix('-mno-').upper()}__" for flag in cpu.disable} & macros


@pytest.mark.parametrize(("cpu", "machine"), SETS)
def test_the_default_has_less(cpu: Cpu, machine: str) -> None:
    """Without the flags the macros are not all there: they are what the flags bring."""
    macros = {line.split()[1] for line in compile_with(machine, (), "-dM", "-E").splitlines()}
    assert not {macro(machine, feature) for feature in cpu.cpuinfo} <= macros


@pytest.mark.parametrize("cpu", [cpu for cpu in cpus().values() if cpu.disable], ids=lambda cpu: cpu.name)
def test_what_is_switched_off_stays_off(cpu: Cpu) -> None:
    """Even where the compiler's own default has more, as when it is built for the machine at hand."""
    flags = ("-march=x86-64-v3", *cpu.flags, *cpu.disable)
    macros = {line.split()[1] for line in compile_with("x86_64", flags, "-dM", "-E").splitlines()}
    assert not {f"__{flag.removeprefix('-mno-').upper()}__" for flag in cpu.disable} & macros
