"""What a torch says of itself, and which files the loader takes; needs no GPU.

The question, as JSON in the first argument:

    names      libraries that the loader is asked for, by name
    cuda       files of CUDA's runtime libraries that are asked for their version
    modules    packages that are imported after torch
    companions libraries of these that have to load beside torch
"""

import ctypes
import importlib
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _error(action: Callable[[str], object], argument: str) -> str | None:
    try:
        action(argument)
    except Exception as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    return None


def _cuda_version(path: str) -> str:
    """The release of CUDA that a library belongs to, as it says itself: "12.8"."""
    name, library = Path(path).name, ctypes.CDLL(path)
    major, minor = ctypes.c_int(), ctypes.c_int()
    if name.startswith("libcudart"):
        library.cudaRuntimeGetVersion(ctypes.byref(major))
        return f"{major.value // 1000}.{major.value % 1000 // 10}"
    function = library.nvrtcVersion if name.startswith("libnvrtc") else library.nvJitLinkVersion
    function(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _load_all(paths: list[str]) -> dict[str, str]:
    """Load libraries that may need each other; those that cannot be, with the reason."""
    failed = dict.fromkeys(paths, "")
    while True:
        results = {path: _error(ctypes.CDLL, path) for path in failed}
        still = {path: error for path, error in results.items() if error}
        if len(still) in (0, len(failed)):
            return still
        failed = still


def _loaded() -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({line.split(maxsplit=5)[5] for line in lines if ".so" in line})


def _cuda_versions(paths: list[str]) -> dict[str, str]:
    versions = {}
    for path in paths:
        try:
            versions[path] = _cuda_version(path)
        except (OSError, AttributeError) as error:
            versions[path] = str(error)
    return versions


def main() -> None:
    """Answer on standard output, as JSON."""
    question: dict[str, Any] = json.loads(sys.argv[1])
    answer: dict[str, Any] = {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "missing": [name for name in question["names"] if _error(ctypes.CDLL, name)],
        "cuda_libraries": _cuda_versions(question["cuda"]),
        "error": _error(importlib.import_module, "torch"),
    }
    if not answer["error"]:
        torch: Any = importlib.import_module("torch")
        product = torch.ones(64, 64, dtype=torch.float64) @ torch.eye(64, dtype=torch.float64)
        # torch.cuda.get_arch_list() is empty on a machine without a GPU; the flags behind it are not.
        flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
        answer |= {
            "torch": torch.__version__,
            "computes": bool((product == 1).all()),
            "arch_flags": flags.split() if flags else [],
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if torch._C._has_cudnn else None,
            "config": torch.__config__.show(),
            "modules": {name: _error(importlib.import_module, name) for name in question["modules"]},
            "companions": _load_all(question["companions"]),
            "loaded": _loaded(),
        }
    print(json.dumps(answer))
