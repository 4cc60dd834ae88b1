"""Detection of other machines from what they print, and of this one."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import call, is_refused, program
from conftest import ROOT, Nix
from cpus import GENERATIONS, Generation
from test_instruction_sets import compile_with, macro

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.table import (
    cpus,
    driver_floors,
    gpus,
)
from pytorch_variants.machine.advise import (
    _driver,
    advise,
    fitting,
)
from pytorch_variants.machine.command import FLAKE, Place, find_place
from pytorch_variants.machine.detect import (
    FoundCpu,
    FoundGpu,
    FoundGpus,
    find_cpu,
    parse_cpuinfo,
    parse_smi,
)
from pytorch_variants.names.variant import parse_name

# As an H100 machine's nvidia-smi prints it, and a Jetson's.
SMI = "NVIDIA H100 80GB HBM3, 9.0, 580.159.04\nNVIDIA H100 80GB HBM3, 9.0, 580.159.04\n"
SMI_JETSON = "Orin (nvgpu), [N/A], [N/A]\n"


def cpu(name: str) -> FoundCpu:
    return parse_cpuinfo(GENERATIONS[name].cpuinfo, name)


def named(*gpus: str, driver: str | None = None) -> FoundGpus:
    return FoundGpus(tuple(FoundGpu(gpu) for gpu in gpus), driver, "test")


@pytest.mark.parametrize("name", GENERATIONS)
def test_generations(name: str) -> None:
    sets = [fit.name for fit in fitting(cpu(name))]
    expected = [best for best in (GENERATIONS[name].best, GENERATIONS[name].second) if best]
    assert sets[::-1][:2] == expected


@pytest.mark.parametrize(
    "generation", [g for g in GENERATIONS.values() if g.gcc], ids=lambda generation: generation.gcc
)
def test_gcc_knows_the_generation_by_the_same_flags(generation: Generation) -> None:
    machine = parse_cpuinfo(generation.cpuinfo, "test").platform.removesuffix("-linux")
    output = compile_with(machine, [generation.gcc or ""], "-dM", "-E")
    macros = {line.split()[1] for line in output.splitlines()}
    of_table = {
        flag for one in cpus().values() if f"{machine}-linux" in one.platforms for flag in one.cpuinfo
    }
    in_gcc = {flag for flag in of_table if macro(machine, flag) in macros}
    assert in_gcc == of_table & set(generation.flags.split())


def test_every_instruction_set_extends_those_before_it_or_is_another_name() -> None:
    """So that of the sets which a CPU has the last one is the best."""
    for platform in ("x86_64-linux", "aarch64-linux"):
        sets = [one for one in cpus().values() if platform in one.platforms]
        for earlier, later in pairwise(sets):
            assert not set(later.cpuinfo) <= set(earlier.cpuinfo)


def test_cores_that_differ_share_what_all_have() -> None:
    mixed = GENERATIONS["Skylake-X"].cpuinfo + "\n" + GENERATIONS["Haswell"].cpuinfo
    assert fitting(parse_cpuinfo(mixed, "mixed"))[-1].name == "x86-64-v3"


def test_the_best_the_second_and_the_reasons() -> None:
    advice = advise(
        FoundGpus((FoundGpu("NVIDIA H100 80GB HBM3", "9.0"),) * 8, "570.86.15", "NVML"),
        cpu("Sapphire Rapids"),
    )
    assert advice.variant == "pytorch-sm90-amx"
    assert advice.second == "pytorch-sm90-avx512bf16"
    assert advice.command == "nix build .#pytorch-sm90-amx"
    assert advice.problem is None
    assert advice.reasons == (
        "8 x NVIDIA H100 80GB HBM3 is sm90, Hopper 9.0",
        "Intel(R) Xeon(R) Platinum 8480C has amx; the table has none that asks for more",
        "driver 570.86.15 runs CUDA 12; CUDA 13 needs driver 580 or later",
    )


def test_a_set_that_is_missing_says_what_it_needs() -> None:
    reasons = advise(named(), cpu("Graviton3")).reasons
    assert "CPU implementer 0x41, CPU part 0xd40 has armv8_2; armv9 needs sve2" in reasons


@pytest.mark.parametrize(
    ("gpu", "driver", "found"),
    [
        ("H100", None, "CUDA 12 needs driver 525 or later; CUDA 13 needs driver 580 or later"),
        ("H100", "525.60.13", "driver 525.60.13 runs CUDA 12; CUDA 13 needs driver 580 or later"),
        ("H100", "580.65.06", "driver 580.65.06 runs CUDA 12 and 13"),
        ("V100", "580.65.06", "driver 580.65.06 runs CUDA 12"),
        # The floors themselves.
        ("H100", "525", "driver 525 runs CUDA 12; CUDA 13 needs driver 580 or later"),
        ("H100", "580", "driver 580 runs CUDA 12 and 13"),
    ],
)
def test_drivers(gpu: str, driver: str | None, found: str) -> None:
    advice = advise(named(gpu, driver=driver), cpu("Zen 2"))
    assert (advice.reasons[-1], advice.problem) == (found, None)


@pytest.mark.parametrize(
    ("gpu", "driver", "needs"),
    [
        ("V100", "470.57.02", "CUDA 12 needs driver 525 or later"),
        ("H100", "524.99", "CUDA 12 needs driver 525 or later; CUDA 13 needs driver 580 or later"),
    ],
)
def test_a_driver_that_is_too_old_is_a_problem(gpu: str, driver: str, needs: str) -> None:
    advice = advise(named(gpu, driver=driver), cpu("Zen 2"))
    assert advice.problem == f"driver {driver} is too old: {needs}"


def test_gpus_without_a_common_cuda_are_a_problem() -> None:
    later = replace(gpus()["sm120"], cuda_min="13.0")
    assert _driver([gpus()["sm61"], later], "580.65.06") == (
        "",
        "no CUDA targets all of sm61, sm120: build for one of them",
    )
    # CUDA 12.9 is the last for the one and the first for the other.
    assert _driver([gpus()["sm61"], gpus()["sm103"]], "580.65.06") == ("driver 580.65.06 runs CUDA 12", None)


def test_a_jetson_has_drivers_of_its_own() -> None:
    advice = advise(named("Orin", driver="36.4"), cpu("Jetson Orin"))
    assert (advice.variant, advice.problem) == ("pytorch-sm87-armv8_2", None)


def test_no_gpu_means_a_cpu_build() -> None:
    advice = advise(named(), cpu("Zen 4"))
    assert (advice.variant, advice.second) == ("pytorch-cpu-avx512bf16", "pytorch-cpu-avx512vnni")


def test_no_instruction_set_is_a_finding() -> None:
    advice = advise(named("GTX 1080"), cpu("Penryn"))
    assert advice.variant is None
    assert "no instruction set of the table" in (advice.problem or "")


@pytest.mark.parametrize(
    ("capability", "machine", "variant", "reason"),
    [
        ("7.9", "Zen 2", "pytorch-sm75-x86-64-v3", "the nearest that runs on it is sm75"),
        ("9.9", "Grace", "pytorch-sm90-armv9", "the nearest that runs on it is sm90"),
        # No GPU will ever have this one.
        ("999.0", "Zen 2", "pytorch-sm120-x86-64-v3", "can run the PTX of the newest one, 12.0+PTX"),
        ("3.7", "Zen 2", "pytorch-cpu-x86-64-v3", "all that it has are later"),
        ("11.5", "Zen 2", "pytorch-cpu-x86-64-v3", "no code for the others runs on it"),
    ],
)
def test_a_gpu_that_the_table_lacks(capability: str, machine: str, variant: str, reason: str) -> None:
    advice = advise(FoundGpus((FoundGpu("NVIDIA X1", capability),), None, "NVML"), cpu(machine))
    assert advice.variant == variant
    assert reason in advice.reasons[0]


# Of more than three there is no attribute.
@pytest.mark.parametrize(
    ("gpus", "names"), [("H100, A100", "sm80-sm90"), ("H100,A100,V100,T4", "sm70-sm75-sm80-sm90")]
)
def test_several_gpus_are_one_build_and_the_command_builds_it(
    gpus: str, names: str, embedded: Nix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed command itself, of a copy of this flake whose package set is the embedded one."""
    # In a clone it would be another.
    monkeypatch.chdir(tmp_path)
    outcome = call("detect", "--gpu", gpus, "--gpu", "9.0", "--cpuinfo", "/proc/cpuinfo", "--json")
    command = json.loads(outcome.out)["command"].replace(FLAKE, f"path:{tmp_path}/flake")
    flake = tmp_path / "flake"
    flake.mkdir()
    for part in ("lib", "pkgs", "checks", "pyhelpers/src", "pyhelpers/pyproject.toml", "templates"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, flake / part, symlinks=True)
        else:
            shutil.copy(ROOT / part, flake / part)
    text = (ROOT / "flake.nix").read_text()
    text = text.replace("github:NixOS/nixpkgs/nixos-unstable", f"path:{embedded.nixpkgs}")
    (flake / "flake.nix").write_text(text)
    result = subprocess.run(
        command.replace("nix build", "nix build --dry-run"),
        shell=True,
        cwd=flake,
        capture_output=True,
        text=True,
        check=False,
        env=embedded.environment(),
    )
    assert result.returncode == 0, result.stderr
    assert f"-{names}-" in result.stderr
    assert "-".join(gpu.name for gpu in parse_name(json.loads(outcome.out)["variant"]).gpus) == names


@pytest.mark.parametrize(
    ("gpus", "driver", "command"),
    [
        (("A100", "H100"), None, "2.15.*' && pytorch-variants retarget torch-*.whl --gpu sm80,sm90"),
        (("RTX 4090",), "570.86.15", "2.10.*' && pytorch-variants retarget torch-*.whl --gpu sm89"),
        (("H100",), "580.65.06", "2.15.*' && pytorch-variants retarget torch-*.whl --gpu sm90"),
        # CUDA 13 has no code for it.
        (("V100",), "580.65.06", "2.10.*' && pytorch-variants retarget torch-*.whl --gpu sm70"),
        ((), None, "uv pip install torch --torch-backend cpu"),
        # No wheel has code for both.
        (("GTX 1080", "RTX 5090"), None, None),
    ],
)
def test_the_command_without_nix(gpus: tuple[str, ...], driver: str | None, command: str | None) -> None:
    advice = advise(named(*gpus, driver=driver), cpu("Zen 2"), place=Place("wheel"))
    whole = f"pip download --no-deps 'torch=={command} --compatible"
    assert advice.command == (whole if gpus and command else command)


@pytest.mark.parametrize(
    ("machine", "gpus", "driver", "found"),
    [
        ("Zen 2", ("H100",), None, ["2.15 sm90:sm90"]),
        ("Zen 2", ("H100",), "570.86.15", ["2.10 sm90:sm90"]),
        ("Zen 2", ("H100",), "470.57.02", ["None"]),
        ("Zen 2", ("H100", "H100", "V100"), "580.65.06", ["2.10 sm70:sm70 sm90:sm90"]),
        ("Zen 2", ("GTX 1080", "RTX 3090"), "580.65.06", ["2.7 sm61:sm60 sm86:sm86"]),
        ("Zen 2", ("GTX 1080", "RTX 5090"), "580.65.06", ["2.7 sm61:sm60", "2.15 sm120:sm120"]),
        ("Zen 2", ("RTX 5090", "RTX 3090", "P40"), "570.1", ["2.7 sm61:sm60", "2.10 sm86:sm86 sm120:sm120"]),
        ("Grace", ("GH200",), "580.65.06", ["2.14 sm90:sm90"]),
        ("Grace", ("DGX Spark",), "580.65.06", ["2.14 sm121:sm120"]),
        # The wheels for Arm with CUDA 12 are elsewhere.
        ("Grace", ("GH200",), "570.86.15", ["None"]),
        # Of the Tegra modules one has wheels; their drivers are counted otherwise.
        ("Jetson Orin", ("Orin",), "36.4", ["None"]),
        ("Grace", ("Thor",), "38.2", ["2.14 sm110:sm110"]),
        ("Zen 2", (), None, []),
    ],
)
def test_the_last_official_wheel(
    machine: str, gpus: tuple[str, ...], driver: str | None, found: list[str]
) -> None:
    advice = advise(named(*gpus, driver=driver), cpu(machine))
    codes = [
        " ".join(f"{gpu}:{code}" for gpu, code in zip(w.gpus, w.code, strict=False)) for w in advice.wheels
    ]
    assert [f"{w.torch} {code}".strip() for w, code in zip(advice.wheels, codes, strict=True)] == found
    for wheel in advice.wheels:
        assert (wheel.pip, wheel.uv) == (
            (f"pip install 'torch=={wheel.torch}.*'", f"uv pip install 'torch=={wheel.torch}.*'")
            if wheel.torch
            else (None, None)
        )


def test_no_official_wheel_has_ptx() -> None:
    unknown = FoundGpus((FoundGpu("NVIDIA X1", "999.0"),), None, "NVML")
    assert [wheel.torch for wheel in advise(unknown, cpu("Zen 2")).wheels] == [None]


@pytest.mark.parametrize(
    ("driver", "runs"),
    [(None, None), ("470.1", []), ("570.86.15", ["12"]), ("580.65.06", ["12", "13"])],
)
def test_what_the_driver_allows(driver: str | None, runs: list[str] | None) -> None:
    options = ("--driver", driver) if driver else ()
    found = json.loads(call("detect", "--gpu", "H100", *options, "--json").out)
    assert found["runs_cuda"] == runs


def test_several_wheels_in_words(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(GENERATIONS["Haswell"].cpuinfo)
    gpus = ("--gpu", "GTX 1080, RTX 5090", "--gpu", "Tesla P40")
    words = " ".join(call("detect", *gpus, "--cpuinfo", cpuinfo).out.split())
    assert "no official PyTorch runs on all of these GPUs: make an environment for each of these" in words
    assert "sm61 PyTorch 2.7 is the last official one: CUDA 12.6, driver 525 or later, " in words
    assert "Python 3.9 to 3.13, sm60 code for sm61 pip pip install 'torch==2.7.*' uv uv pip" in words
    assert "sm120 PyTorch 2.15 is the last official one" in words
    orin = ("--gpu", "GTX 750", "--driver", "470.1", "--cpuinfo", cpuinfo)
    assert "wheel no official PyTorch runs there" in " ".join(call("detect", *orin).out.split())


def test_the_page_for_people_without_nix_has_what_is_printed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "without-nix.md").read_text(encoding="utf-8")
    [gpus, driver] = re.findall(r'detect --gpu "(.+)" --driver (\S+)', page)[0]
    shown = re.findall(r"^    ((?:wheels|sm\d+|pip|uv)  .+)$", page, re.MULTILINE)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(GENERATIONS["Haswell"].cpuinfo)
    out = call("detect", "--gpu", gpus, "--driver", driver, "--cpuinfo", cpuinfo).out
    assert len(shown) == 7
    assert " ".join(" ".join(shown).split()) in " ".join(out.split())


def test_the_command_is_for_where_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = tmp_path / "a clone"
    (clone / "docs").mkdir(parents=True)
    for file in ("run", "flake.nix"):
        (clone / file).touch()
    monkeypatch.chdir(clone)
    assert find_place() == Place("clone", "./run")
    monkeypatch.chdir(clone / "docs")
    assert find_place(clone) == Place("clone", "../run")
    monkeypatch.chdir(tmp_path)
    advice = advise(named("H100"), cpu("Zen 2"), place=find_place(clone))
    assert advice.command == "'./a clone/run' build pytorch-sm90-x86-64-v3"
    program = tmp_path / "nix"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_place() == Place("nix", FLAKE)
    program.unlink()
    assert find_place() == Place("wheel")


def test_nvidia_smi() -> None:
    assert parse_smi(SMI) == FoundGpus(
        (FoundGpu("NVIDIA H100 80GB HBM3", "9.0"),) * 2, "580.159.04", "nvidia-smi"
    )
    assert parse_smi(SMI_JETSON) == FoundGpus((FoundGpu("Orin (nvgpu)"),), None, "nvidia-smi")
    assert parse_smi("No devices were found\n") == FoundGpus((), None, "nvidia-smi")
    assert parse_smi("") == FoundGpus((), None, "nvidia-smi")


def library(directory: Path, functions: str) -> None:
    """A library in NVML's place, for NVML's own Python binding."""
    source = directory / "nvml.c"
    source.write_text(f"#include <string.h>\nint nvmlShutdown(void) {{ return 0; }}\n{functions}")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", directory / "libnvidia-ml.so.1", source], check=True)


def on_machine(directory: Path, cpu: str) -> dict[str, Any]:
    """What is detected where the libraries and programs of a directory come first."""
    (directory / "cpuinfo").write_text(GENERATIONS[cpu].cpuinfo)
    result = program(
        *("detect", "--json", "--cpuinfo", str(directory / "cpuinfo")),
        LD_LIBRARY_PATH=str(directory),
        PATH=f"{directory}:{os.environ['PATH']}",
    )
    assert not result.stderr, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_nvml(tmp_path: Path) -> None:
    library(
        tmp_path,
        """
        int nvmlInitWithFlags(unsigned flags) { return 0; }
        int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
          *device = (void *)(unsigned long)(index + 1);
          return 0;
        }
        int nvmlDeviceGetName(void *device, char *name, unsigned length) {
          strncpy(name, device == (void *)1 ? "NVIDIA A100-SXM4-80GB" : "NVIDIA X1", length);
          return 0;
        }
        int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
          *major = device == (void *)1 ? 8 : 9;
          *minor = 0;
          return 0;
        }
        int nvmlSystemGetDriverVersion(char *version, unsigned length) {
          strncpy(version, "570.86.15", length);
          return 0;
        }
        """,
    )
    found = on_machine(tmp_path, "Ice Lake")
    assert found["variant"] == "pytorch-sm80-sm90-avx512vnni"
    assert found["machine"]["source"] == "NVML"
    assert found["machine"]["driver"] == "570.86.15"
    assert found["machine"]["gpus"] == [
        {"name": "NVIDIA A100-SXM4-80GB", "capability": "8.0"},
        {"name": "NVIDIA X1", "capability": "9.0"},
    ]


def test_where_nvml_does_not_answer_nvidia_smi_is_asked(tmp_path: Path) -> None:
    library(
        tmp_path,
        """
        int nvmlInitWithFlags(unsigned flags) { return 9; }
        const char *nvmlErrorString(int error) { return "Driver Not Loaded"; }
        """,
    )
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{SMI}'\n")
    tool.chmod(0o755)
    found = on_machine(tmp_path, "Haswell")
    assert (found["variant"], found["machine"]["source"]) == ("pytorch-sm90-x86-64-v3", "nvidia-smi")
    assert found["reasons"][0] == "2 x NVIDIA H100 80GB HBM3 is sm90, Hopper 9.0"

    tool.write_text("#!/bin/sh\necho NVIDIA-SMI has failed >&2\nexit 9\n")
    found = on_machine(tmp_path, "Haswell")
    assert found["variant"] == "pytorch-cpu-x86-64-v3"
    assert found["reasons"][0] == "no NVIDIA GPU (NVML: Driver Not Loaded; nvidia-smi: no answer)"


def test_this_machine() -> None:
    """Whatever it is: the flags are those of the running kernel, the variant's name can be read back."""
    assert find_cpu().flags
    outcome = call("detect", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == (1 if found["problem"] else 0)
    if found["variant"]:
        assert parse_name(found["variant"]).cpu in fitting(find_cpu())


def test_a_path_that_no_system_takes() -> None:
    with pytest.raises(UserError, match="null byte; write --cpuinfo"):
        find_cpu(Path("a\0b"))


def test_a_finding_is_exit_code_1(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(GENERATIONS["Haswell"].cpuinfo)
    outcome = call("detect", "--gpu", "H100", "--driver", "470.1", "--cpuinfo", cpuinfo)
    assert outcome.code == 1
    assert "problem  driver 470.1 is too old" in outcome.out
    cpuinfo.write_text(GENERATIONS["Penryn"].cpuinfo)
    outcome = call("detect", "--gpu", "GTX 1080", "--cpuinfo", cpuinfo)
    assert outcome.code == 1
    assert outcome.out.startswith("no variant\n")


def test_a_gpu_and_a_cpu_of_different_machines(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(GENERATIONS["Haswell"].cpuinfo)
    outcome = call("detect", "--gpu", "DGX Spark", "--cpuinfo", cpuinfo)
    assert is_refused(outcome)
    assert "exists on aarch64-linux only" in outcome.err


def test_the_package_set_has_no_cuda_without_a_driver_floor(nix: Nix) -> None:
    releases = nix.eval(f".#legacyPackages.{system()}", "all: all.lib.internal.cudaVersions all.pkgs")
    assert releases
    assert {release.split(".")[0] for release in releases} <= set(driver_floors())


def system() -> str:
    return f"{os.uname().machine}-{sys.platform}"


def test_over_the_embedded_set_it_is_what_the_wheel_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an official wheel a GPU may get an earlier one's code: that is a package of its own."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name : some CPU\nflags : avx avx2 fma f16c\n")
    monkeypatch.chdir(ROOT / "docs")
    options = ("--cpuinfo", cpuinfo, "--nixpkgs", "embedded", "--flake", ROOT, "--json")
    found = {
        gpu: json.loads(call("detect", "--gpu", gpu, *options).out) for gpu in ("RTX 4090", "H100", "B300")
    }
    assert {gpu: advice["command"] for gpu, advice in found.items()} == {
        "RTX 4090": "../run build pytorch-bin-sm89",
        "H100": "../run build pytorch-sm90-avx2",
        "B300": "../run build pytorch-bin-sm103",
    }
    assert "the official wheel has sm86 code for it" in found["RTX 4090"]["reasons"]
    mixed = json.loads(call("detect", "--gpu", "A100, RTX 4090", *options).out)
    assert mixed["command"] == "../run build pytorch-bin-sm80-sm89"
    assert "the official wheel has sm86 code for sm89" in mixed["reasons"]
    without = call("detect", "--gpu", "GTX 1080", *options)
    old = json.loads(without.out)
    assert (without.code, old["variant"], old["command"]) == (1, None, None)
    assert "no code that sm61 runs" in old["problem"]
    assert old["wheels"][0]["torch"] == "2.7"
