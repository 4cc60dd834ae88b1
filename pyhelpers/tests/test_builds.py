"""What a compiled variant's recipe does to its build, run: how many jobs, and a cache for its compilers."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from binaries import tool
from conftest import FLAGSHIP, Nix

MAKE = ".#legacyPackages.x86_64-linux.mkPytorchVariant"
MEMINFO = "/proc/meminfo"
# Where version 2 and version 1 of control groups say how much memory there may be.
UNIFIED = "/sys/fs/cgroup/memory.max"
LEGACY = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
AVX2 = "-mavx2 -mfma"
AVX512 = "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma"

# The host loop is what an instruction set changes.
PROJECT = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.22)
        project(sample CXX CUDA)
        add_library(sample OBJECT host.cpp device.cu)
        target_include_directories(sample PRIVATE .)
        set_target_properties(sample PROPERTIES POSITION_INDEPENDENT_CODE ON)
    """,
    "scale.h": "inline void scale(double *x) { for (int i = 0; i < 4096; i++) x[i] = x[i] * 3 + 1; }",
    "host.cpp": """
        #include <scale.h>
        void on_host(double *x) { scale(x); }
    """,
    "device.cu": """
        #include <scale.h>
        __global__ void kernel(float *x) { x[threadIdx.x] *= 2; }
        void beside_kernels(double *x) { scale(x); }
    """,
}


def shell(script: str, cwd: Path, *command: str, **variables: str) -> str:
    """Run a recipe's shell code as nixpkgs' phases do."""
    result = subprocess.run(
        [*command, "bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout if result.returncode == 0 else result.stderr


# --- jobs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pre_build(nix: Nix) -> str:
    script = nix.eval(f".#{FLAGSHIP}.preBuild")
    # Without nixpkgs' own part, which configures PyTorch.
    return str(script[script.index("memory_jobs=") :])


def on_a_machine(script: str, files: dict[str, str], cwd: Path, cores: int) -> str:
    """The MAX_JOBS of a build on a machine that has these files, and not this one's."""
    for number, path in enumerate((MEMINFO, UNIFIED, LEGACY)):
        assert path in script
        place = cwd / str(number)
        script = script.replace(path, str(place))
        if path in files:
            place.write_text(files[path])
    output = shell(f'{script}\necho "jobs $MAX_JOBS"', cwd, NIX_BUILD_CORES=str(cores), MAX_JOBS=str(cores))
    found = re.search(r"^jobs (\d+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


def jobs(pre_build: str, cwd: Path, cores: int, meminfo_kib: int, limit: str | None = None) -> int:
    """The jobs of a build on a machine of that memory, in a control group of that limit."""
    files = {MEMINFO: f"MemTotal: 999999999 kB\nMemFree: 1 kB\nMemAvailable: {meminfo_kib:8d} kB\n"}
    if limit is not None:
        file, size = limit.split(" = ")
        files[file] = f"{size}\n"
    return int(on_a_machine(pre_build, files, cwd, cores))


@pytest.mark.parametrize(
    ("cores", "gib", "limit", "expected"),
    [
        (64, 1024, None, 64),
        (64, 63, None, 10),
        (2, 63, None, 2),
        (16, 15.5, None, 2),
        # Less than one job's memory is still one job.
        (16, 2, None, 1),
        # A container on a large machine, limited and not.
        (64, 1024, f"{UNIFIED} = {16 << 30}", 2),
        (64, 1024, f"{UNIFIED} = max", 64),
        (64, 15.5, f"{UNIFIED} = {1 << 40}", 2),
        (64, 1024, f"{LEGACY} = {32 << 30}", 5),
        (64, 1024, f"{LEGACY} = 9223372036854771712", 64),
    ],
)
def test_jobs_fit_the_memory(
    pre_build: str, tmp_path: Path, cores: int, gib: float, limit: str | None, expected: int
) -> None:
    assert jobs(pre_build, tmp_path, cores, int(gib * 1048576), limit) == expected


def test_without_proc_the_cores_decide(pre_build: str, tmp_path: Path) -> None:
    assert on_a_machine(pre_build, {}, tmp_path, 6) == "6"


def test_memory_per_job_is_an_argument(nix: Nix, tmp_path: Path) -> None:
    script = nix.eval(MAKE, 'make: (make { gpu = "sm90"; cpu = "avx2"; memoryPerJob = 8; }).preBuild')
    script = script[script.index("memory_jobs=") :]
    assert jobs(script, tmp_path, 64, 64 * 1048576) == 8


# --- the compiler cache ----------------------------------------------------------------------------


def test_a_cache_is_off_by_default(nix: Nix) -> None:
    call = 'make: (make { gpu = "H100"; cpu = "avx512"; compilerCache = null; }).drvPath'
    assert nix.eval(MAKE, call) == nix.eval(f".#{FLAGSHIP}.drvPath")
    assert "ccache" not in nix.eval(f".#{FLAGSHIP}.preConfigure")


def test_a_cache_is_one_argument(nix: Nix) -> None:
    call = 'make: let v = make { gpu = "H100"; cpu = "avx512"; compilerCache = "/var/cache/ccache"; }; in '
    if nix.eval(f".#{FLAGSHIP}", "p: p ? wheelTargets"):
        assert "does not: leave it out" in nix.run("eval", MAKE, "--apply", call + "v.drvPath").stderr
        return
    found = nix.eval(MAKE, call + "{ inherit (v) drvPath preConfigure name; }")
    assert found["drvPath"] != nix.eval(f".#{FLAGSHIP}.drvPath")
    assert found["name"] == nix.eval(f".#{FLAGSHIP}.name")
    assert 'export CCACHE_DIR="/var/cache/ccache"' in found["preConfigure"]


@pytest.fixture
def cache_compiler(embedded: Nix, tmp_path: Path) -> str:
    """The recipe's code, for a ccache of this Python environment and an empty cache."""
    (tmp_path / "cache").mkdir()
    prefix = tool("ccache").parents[1]
    code = embedded.lib(
        "lib.internal.ccacheHook {"
        f'pkgs.ccache = "{prefix}"; directory = "{tmp_path}/cache"; hidden = [ "-frecord-gcc-switches" ]; }}'
    )
    return str(code)


def compile_project(project: Path, capability: str, flags: str, cache: str = "") -> dict[str, bytes]:
    """The objects of the project, built as a variant's build would, after some shell code for a cache."""
    project.mkdir(exist_ok=True)
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    # In one build directory, as all variants have in Nix' sandbox. CMake looks at the compilers once for all
    # builds with a cache, and of their objects none is left.
    build = project / "build"
    shutil.rmtree(build / "CMakeFiles" / "sample.dir" if cache else build, ignore_errors=True)
    script = f"""{cache}
        cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES={capability} \\
          -DCMAKE_CXX_FLAGS="$CXXFLAGS"
        export CCACHE_STATSLOG=$PWD/statistics
        rm -f statistics
        ninja -j 1 -C build
    """
    path = f"{tool('cmake').parent}:{tool('ninja').parent}:{os.environ['PATH']}"
    output = shell(script, project, PATH=path, CUDACXX=str(tool("nvcc")), CXXFLAGS=flags)
    objects = {path.name: path.read_bytes() for path in project.glob("build/CMakeFiles/sample.dir/*.o")}
    assert set(objects) == {"host.cpp.o", "device.cu.o"}, output
    return objects


def hits(project: Path) -> set[str]:
    """The sources whose objects the last build took from the cache."""
    statistics = (project / "statistics").read_text()
    entries = re.findall(r"^# \S*/(\S+)\n((?:\w+\n)+)", statistics, re.MULTILINE)
    assert {name for name, _ in entries} == {"host.cpp", "device.cu"}, statistics
    return {name for name, counters in entries if "cache_hit" in counters}


def test_variants_share_what_is_the_same(cache_compiler: str, tmp_path: Path) -> None:
    for capability, flags, shared in (
        ("90", AVX512, set()),
        # The CUDA objects of one GPU, and the others of one instruction set.
        ("90", AVX2, {"device.cu"}),
        ("80", AVX512, {"host.cpp"}),
        ("80", AVX2, {"host.cpp", "device.cu"}),
    ):
        compile_project(tmp_path, capability, flags, cache_compiler)
        assert hits(tmp_path) == shared, (capability, flags)


def test_builds_in_two_directories_share(cache_compiler: str, tmp_path: Path) -> None:
    """As without Nix' sandbox, where a build that was killed leaves its directory behind."""
    for name, shared in (("one", set[str]()), ("other", {"host.cpp", "device.cu"})):
        place = tmp_path / name
        compile_project(place, "90", AVX512, f'{cache_compiler}\nexport CCACHE_BASEDIR="{place}"')
        assert hits(place) == shared
    record = b"".join(
        place.joinpath("build/CMakeFiles/sample.dir/host.cpp.o").read_bytes().split(b"GNU C++")[1:]
    )
    assert b"-mavx512f" in record


def test_a_hit_is_what_the_compiler_gives(cache_compiler: str, tmp_path: Path) -> None:
    compile_project(tmp_path, "90", AVX512, cache_compiler)
    cached = compile_project(tmp_path, "90", AVX512, cache_compiler)
    assert hits(tmp_path) == {"host.cpp", "device.cu"}
    compiled = compile_project(tmp_path, "90", f"-frecord-gcc-switches {AVX512}")
    assert cached["host.cpp.o"] == compiled["host.cpp.o"]
    # nvcc names some symbols by its own process.
    assert len(cached["device.cu.o"]) == len(compiled["device.cu.o"])


def test_flags_for_the_host_compiler_are_told_apart(cache_compiler: str, tmp_path: Path) -> None:
    """In ccache's preprocessor mode the second of these takes the first one's object."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    objects = []
    for flag in ("-mavx512f", "-mavx2"):
        options = f"-O3 -gencode arch=compute_90,code=sm_90 -I. -MD -MF device.d -Xcompiler {flag}"
        launch = f"${{CMAKE_CUDA_COMPILER_LAUNCHER//;/ }} {tool('nvcc')} -c {options} device.cu -o device.o"
        shell(f"{cache_compiler}\n{launch}", tmp_path)
        objects.append((tmp_path / "device.o").read_bytes())
    assert objects[0] != objects[1]


def test_a_cache_that_is_not_there(embedded: Nix, tmp_path: Path) -> None:
    script = embedded.lib('lib.internal.ccacheHook { pkgs.ccache = "/nowhere"; directory = "/not/there"; }')
    error = shell(script, tmp_path)
    assert "compilerCache: /not/there is not a directory" in error
    assert "extra-sandbox-paths" in error
