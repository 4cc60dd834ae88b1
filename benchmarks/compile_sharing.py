"""What variants share when a compiler cache is between them, and what compiling PyTorch takes.

A sample of PyTorch's own files is compiled as its build compiles them, for two GPUs by three instruction
sets, through ccache as lib/cacheCompiler.nix sets it up:

    PYTHONPATH=pyhelpers/src nice python benchmarks/compile_sharing.py SOURCE --include DIR … --out x.csv

SOURCE is PyTorch's source tree with what its build generates: `python -m torchgen.gen` into build/ and
`python -m tools.setup_helpers.generate_code`. The other headers come from --include: those of the wheel of
the same version (torch/include), the CUDA libraries', CUTLASS's for the attention kernels.

The files are drawn at random from quarters by size, the same every time, and in an order that leaves all
quarters sampled alike whenever it is stopped (--minutes, after which no new file is begun). A file that
does not compile with these headers is replaced by the next of its quarter. Each compilation is a row of
--out: CPU seconds, user and system, of all processes, and the peak resident memory, MB, of the largest of
them. Without a cache every variant compiles everything; what the cache itself costs show the files that are
compiled once more without it, for the first variant, every fourth of a quarter.
"""

import argparse
import csv
import dataclasses
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytorch_variants.hardware.spelling import (
    parse_cpu,
    parse_gpu,
)
from pytorch_variants.hardware.table import Gpu

ISAS = ("avx2", "avx512", "avx512bf16")
QUARTERS = 4
# Where PyTorch's build for Linux and CUDA has nothing to compile, or another build system's files are.
ELSEWHERE = {
    *shlex.split("test tests testing benchmark benchmarks templates android ios metal mps vulkan xpu hip"),
    *shlex.split("miopen xnnpack qnnpack kleidiai nnapi nnc fuzzer standalone mtia"),
}
DEFINES = shlex.split(
    "-DUSE_CUDA -DUSE_DISTRIBUTED -DAT_PER_OPERATOR_HEADERS -DTORCH_CUDA_BUILD_MAIN_LIB -DHAVE_MMAP=1 "
    "-DONNX_NAMESPACE=onnx_torch -DHAVE_AVX2_CPU_DEFINITION -DHAVE_AVX512_CPU_DEFINITION "
    "-D_GLIBCXX_USE_CXX11_ABI=1 -DNDEBUG -std=c++17"
)
NVCC = shlex.split(
    "-Xfatbin -compress-all -Xcudafe --diag_suppress=cc_clobber_ignored,--diag_suppress=20012 "
    "-DCUDA_HAS_FP16=1 --expt-relaxed-constexpr --expt-extended-lambda -Wno-deprecated-gpu-targets -O3 "
    "-Xcompiler=-fPIC -DCUB_WRAPPED_NAMESPACE=at_cuda_detail -D__CUDA_NO_HALF_OPERATORS__ "
    "-D__CUDA_NO_HALF_CONVERSIONS__ -D__CUDA_NO_HALF2_OPERATORS__ -D__CUDA_NO_BFLOAT16_CONVERSIONS__ "
    "-DFLASHATTENTION_DISABLE_ALIBI"
)
# One of the three ways in which native/cpu is compiled, after the variant's own flags.
CAPABILITY = shlex.split("-mavx2 -mfma -mf16c -DCPU_CAPABILITY=AVX2 -DCPU_CAPABILITY_AVX2")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """One compilation: CPU seconds of all its processes, peak resident MB of the largest of them."""

    file: str
    kind: str
    quarter: int
    gpu: str
    cpu: str
    result: str
    seconds: float
    peak: float


def include_options(source: Path, others: Sequence[Path]) -> list[str]:
    """The compilers' options for the headers of PyTorch's source tree and for others."""
    own = ["build/aten/src", "aten/src", "build", ".", "torch/csrc", "torch/csrc/api/include"]
    own += ["third_party/miniz-3.0.2", "aten/src/ATen/native/transformers/cuda/flash_attn"]
    return [f"-I{source / path}" for path in own] + [w for path in others for w in ("-isystem", str(path))]


def population(source: Path, kind: str) -> list[Path]:
    """All files of a kind that PyTorch's build for CUDA compiles, smallest first."""
    native = source / "aten/src/ATen/native"
    if kind == "cuda":
        found = list((native / "cuda").rglob("*.cu"))
    elif kind == "attention":
        found = list((native / "transformers/cuda").rglob("kernels/*.cu"))
    else:
        found = [
            path
            for top in ("aten/src/ATen", "build/aten/src/ATen", "c10", "torch/csrc")
            for path in (source / top).rglob("*.cpp")
            if not ELSEWHERE & set(path.relative_to(source).parts)
            and not re.search(r"Everything|XPU|_test\b", path.name)
        ]
    return sorted(found, key=lambda path: (path.stat().st_size, path))


def strata(files: list[Path], kind: str) -> list[Iterator[Path]]:
    """The files' quarters by size, each in random order."""
    drawn = []
    for quarter in range(QUARTERS):
        part = files[len(files) * quarter // QUARTERS : len(files) * (quarter + 1) // QUARTERS]
        random.Random(f"{kind} {quarter}").shuffle(part)
        drawn.append(iter(part))
    return drawn


class Worker:
    """Compiles one file after the other, in a directory of its own that looks the same for all variants."""

    def __init__(self, directory: Path, options: argparse.Namespace, gpus: list[Gpu]) -> None:
        """Writes the one generated header that names the GPU, for each, older than any compilation."""
        self.directory = directory
        self.options = options
        self.gpus = gpus
        [header] = [path for path in map(_config, options.include) if path.exists()]
        for gpu in gpus:
            flags = f"-gencode;arch=compute_{gpu.name[2:]},code=sm_{gpu.name[2:]}"
            own = _config(directory / gpu.name)
            own.parent.mkdir(parents=True)
            own.write_text(
                re.sub(r'NVCC_FLAGS_EXTRA ".*"', f'NVCC_FLAGS_EXTRA "{flags}"', header.read_text())
            )

    def command(self, file: Path, kind: str, gpu: Gpu, isa: str) -> list[str]:
        """The compiler's command line, of which the cache's key is made."""
        here = self.directory
        tail = [f"-I{here / 'generated'}", *include_options(self.options.source, self.options.include)]
        tail += ["-MD", "-MT", "o.o", "-MF", str(here / "o.d"), "-c", str(file), "-o", str(here / "o.o")]
        if kind == "c++":
            capability = CAPABILITY if file.parent.name == "cpu" else []
            # CXXFLAGS come first in CMake's command lines.
            return [self.options.cxx, *parse_cpu(isa).flags, "-O3", "-fPIC", *DEFINES, *capability, *tail]
        # CUTLASS's own order, which a part of it that these files begin with does not keep.
        tail += ["-include", "cute/tensor.hpp"] * (kind == "attention")
        target = f"arch=compute_{gpu.name[2:]},code=sm_{gpu.name[2:]}"
        return [self.options.nvcc, "-gencode", target, *NVCC, *DEFINES, *tail]

    def compile_all(self, file: Path, kind: str, quarter: int, plain: bool) -> list[Compiled]:
        """Compile for all variants, and for the first without the cache if that is asked."""
        variants = [(gpu, isa) for gpu in self.gpus for isa in ISAS]
        found = [self.compile(file, kind, quarter, *variant, cached=True) for variant in variants]
        return found + [self.compile(file, kind, quarter, *variants[0], cached=False) for _ in range(plain)]

    def compile(self, file: Path, kind: str, quarter: int, gpu: Gpu, isa: str, cached: bool) -> Compiled:
        """Compile once; raises CalledProcessError, with the first error, where that fails."""
        link = self.directory / "generated"
        link.unlink(missing_ok=True)
        link.symlink_to(gpu.name)
        log = self.directory / "stats"
        log.unlink(missing_ok=True)
        command = self.command(file, kind, gpu, isa)
        if cached:
            command = [self.options.ccache, *(["depend_mode=true"] if kind != "c++" else []), *command]
        settings = {
            "CCACHE_DIR": str(self.directory / "cache"),
            "CCACHE_COMPILERCHECK": "string:the same",
            "CCACHE_STATSLOG": str(log),
        }
        with (self.directory / "errors").open("w") as errors:
            process = subprocess.Popen(command, env={**os.environ, **settings}, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            reasons = re.findall(r"error: .*", (self.directory / "errors").read_text())
            raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(reasons[:1]))
        results = log.read_text() if cached else "plain"
        name = next((word for word in ("direct_cache_hit", "preprocessed_cache_hit", "cache_miss", "plain")
                     if re.search(rf"^{word}$", results, re.MULTILINE)), "uncached")  # fmt: skip
        return Compiled(
            file=str(file.relative_to(self.options.source)),
            kind=kind,
            quarter=quarter,
            gpu=gpu.name,
            cpu=isa,
            result=name.removesuffix("_cache_hit").removeprefix("cache_"),
            seconds=round(usage.ru_utime + usage.ru_stime, 2),
            # That of the largest process waited for below, of nvcc's as of g++'s.
            peak=round(usage.ru_maxrss / 1024),
        )


def _config(directory: Path) -> Path:
    return directory / "ATen/cuda/CUDAConfig.h"


def schedule(source: Path, wanted: dict[str, int]) -> list[tuple[str, int, int, Iterator[Path]]]:
    """Kind, quarter and number of each file to compile, with its stratum, evenly over all strata."""
    entries = []
    for kind, count in wanted.items():
        share = count / QUARTERS
        for quarter, stratum in enumerate(strata(population(source, kind), kind)):
            entries += [
                ((number + 0.5) / share, (kind, quarter, number, stratum)) for number in range(round(share))
            ]
    return [entry for _, entry in sorted(entries, key=lambda pair: (pair[0], pair[1][:3]))]


def run(options: argparse.Namespace) -> None:
    """Compile the sample with as many workers as --jobs, writing each file's rows when they are there."""
    gpus = [parse_gpu(name) for name in options.gpu]
    wanted = {"cuda": options.cuda, "attention": options.attention, "c++": options.cpp}
    # The workers take from the same list and the same strata, which lists' iterators allow to threads.
    planned = schedule(options.source, wanted)
    for *_, stratum in planned[: options.skip]:
        next(stratum)
    entries = iter(planned[options.skip :])
    end = time.monotonic() + options.minutes * 60
    with (
        tempfile.TemporaryDirectory(prefix="compile-sharing-") as scratch,
        options.out.open("w", newline="") as out,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        writer = csv.writer(out)
        writer.writerow(field.name for field in dataclasses.fields(Compiled))

        def work(number: int) -> None:
            worker = Worker(Path(scratch) / str(number), options, gpus)
            while time.monotonic() < end and (entry := next(entries, None)):
                kind, quarter, count, stratum = entry
                for file in stratum:
                    try:
                        found = worker.compile_all(file, kind, quarter, plain=count % 4 == 0)
                    except subprocess.CalledProcessError as error:
                        print(f"{file}: {error.stderr}", file=sys.stderr)
                        continue
                    writer.writerows(map(dataclasses.astuple, found))
                    out.flush()
                    break

        list(pool.map(work, range(options.jobs)))


def main() -> None:
    """Compile, or say what a wrong call lacks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--include", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gpu", nargs="+", default=["sm80", "sm90"])
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("--ccache", default="ccache")
    parser.add_argument("--cuda", type=int, default=16, help="files of native/cuda")
    parser.add_argument("--attention", type=int, default=4, help="files of the attention kernels")
    parser.add_argument("--cpp", type=int, default=40, help="C++ files")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--skip", type=int, default=0, help="files that an earlier run has compiled")
    options = parser.parse_args()
    options.source = options.source.resolve()
    if not any(_config(path).exists() for path in options.include):
        parser.error("no ATen/cuda/CUDAConfig.h in any --include: give the torch/include of a CUDA wheel")
    run(options)


if __name__ == "__main__":
    main()
