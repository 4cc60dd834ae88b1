"""Make PyTorch's source, with Debian's patches, build from given directories and with CUDA 13.

adapt.py SOURCE HEADERS CUB_NAMES

What is not as it was when this was written ends the build here, and not in an hour's time.
"""

import re
import shutil
import sys
from pathlib import Path


def substitute(file: Path, pattern: str, replacement: str, times: int = 1) -> None:
    text, found = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
    if found != times:
        sys.exit(f"{file}: {pattern!r} is there {found} times, not {times}: adapt.py is for another version")
    file.write_text(text)


def build_files(source: Path, headers: Path) -> None:
    # setup.py hands this option to nobody, and Debian's default names the libraries by their version.
    substitute(source / "CMakeLists.txt", r"(option\(HAVE_SOVERSION .*) ON\)", r"\1 OFF)")
    dependencies = source / "cmake/Dependencies.cmake"
    # Each library finds the others beside it, and what it links in the store.
    substitute(
        dependencies,
        r'^set\(CMAKE_INSTALL_RPATH ""\)',
        'set(CMAKE_INSTALL_RPATH "${_rpath_portable_origin}" $ENV{PYTORCH_RUNPATH})',
    )
    substitute(
        dependencies,
        r"^  set\(CUDNN_FRONTEND_INCLUDE_DIR .*\)",
        "  set(CUDNN_FRONTEND_INCLUDE_DIR ${PROJECT_SOURCE_DIR}/third_party/cudnn_frontend/include)",
    )
    substitute(dependencies, r'"/usr/include/fp16\.h"', f'"{headers}/include/fp16.h"')
    # A linker takes of an archive what is asked for by then, and it is ONNX' own library that asks.
    substitute(
        dependencies, r"Caffe2_DEPENDENCY_LIBS onnx_proto onnx\)", "Caffe2_DEPENDENCY_LIBS onnx onnx_proto)"
    )
    # An imported target's directory has to be there, whether or not something includes from it.
    (source / "third_party/cpp-httplib").mkdir()
    (source / "third_party/eigen").symlink_to(headers / "include")
    (source / "third_party/nlohmann").mkdir()
    (source / "third_party/nlohmann/include").symlink_to(headers / "include")


def flatbuffers(source: Path, headers: Path) -> None:
    """The generated code asks for the very version that it was generated with; its interface is the same."""
    base = (headers / "include/flatbuffers/base.h").read_text()
    generated = source / "torch/csrc/jit/serialization/mobile_bytecode_generated.h"
    for part in ("MAJOR", "MINOR", "REVISION"):
        number = re.search(rf"#define FLATBUFFERS_VERSION_{part} (\d+)", base)
        if number is None:
            sys.exit(f"{headers}: flatbuffers has no FLATBUFFERS_VERSION_{part}")
        substitute(
            generated, rf"FLATBUFFERS_VERSION_{part} == \d+", f"FLATBUFFERS_VERSION_{part} == {number[1]}"
        )


def cuda(source: Path, cub_names: Path) -> None:
    """What CUDA 13 and its CCCL have dropped since PyTorch 2.6.

    Later releases have it: https://github.com/pytorch/pytorch/pull/159466 and
    https://github.com/pytorch/pytorch/pull/153373
    """
    substitute(
        source / "aten/src/ATen/native/cuda/CuFFTUtils.h",
        r"^ *case CUFFT_(INCOMPLETE_PARAMETER_LIST|PARSE_ERROR|LICENSE_ERROR):\n.*\n",
        "",
        times=3,
    )
    shutil.copy(cub_names, source / "aten/src/ATen/cuda/cub_names.cuh")
    substitute(
        source / "aten/src/ATen/cuda/cub.cuh",
        r"^(#include <ATen/cuda/Exceptions\.h>)",
        r"#include <ATen/cuda/cub_names.cuh>\n\1",
    )


if __name__ == "__main__":
    source, headers, cub_names = map(Path, sys.argv[1:])
    build_files(source, headers)
    flatbuffers(source, headers)
    cuda(source, cub_names)
