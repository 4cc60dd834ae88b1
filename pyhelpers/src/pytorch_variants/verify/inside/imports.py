"""What a torch says of itself, and which files the loader takes; needs no GPU.

The question:

    torch      the directory of the torch that is looked at
    names      libraries that the loader is asked for, by name
    cuda       files of CUDA's runtime libraries that are asked for their version
    opened     files that torch and CUDA open when they need them: each has to load
    modules    packages that are imported after torch, each with its directory
    libraries  files of companions that have to load beside torch

torch comes first, so that nothing that is loaded here is there for it to find. Each step answers by itself:
what ends this process is the step that no answer came to.
"""

import ctypes
import functools
import importlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_variants.verify.inside.channel import end, question, say

# Of one message of an exception; torchcodec's has every library that it has tried.
_MOST_TEXT = 20_000


def _error(action: Callable[[str], object], argument: str) -> str | None:
    try:
        action(argument)
    except BaseException as error:
        text = str(error)[:_MOST_TEXT].strip()
        kind = type(error).__name__
        if isinstance(error, Exception):
            return text or kind
        return f"{kind} {text}".strip()
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


def _cuda_versions(paths: list[str]) -> dict[str, str]:
    versions = {}
    for path in paths:
        try:
            versions[path] = _cuda_version(path)
        except (OSError, AttributeError) as error:
            versions[path] = str(error)
    return versions


def _load(path: str) -> str | None:
    # Its constructors could end the process.
    say(trying=path)
    return _error(ctypes.CDLL, path)


def _load_all(paths: list[str]) -> dict[str, str]:
    """Load libraries that may need each other; those that cannot be, with the reason."""
    failed = dict.fromkeys(paths, "")
    while True:
        results = {path: _load(path) for path in failed}
        still = {path: error for path, error in results.items() if error}
        if len(still) in (0, len(failed)):
            return still
        failed = still


def _loaded() -> list[str]:
    """The files that this process can run code of."""
    lines = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    return sorted({line[5] for line in lines if len(line) == 6 and "x" in line[1] and line[5][0] == "/"})


@functools.cache
def _same(place: Path, directory: str) -> bool:
    try:
        return place.samefile(directory)
    except OSError:
        return False


def _inside(place: str, directory: str) -> bool:
    # By the path that Python came by: files and directories below may be links to anywhere.
    path = Path(place)
    return any(_same(part, directory) for part in (path, *path.parents))


def _elsewhere(directory: str, package: str) -> list[str]:
    """The loaded modules of a package that come from files outside a directory."""
    found = []
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] == package:
            # torch.ops and torch.classes are no files: they say relative ones, and have any attribute.
            path = getattr(module, "__path__", None)
            places = [getattr(module, "__file__", None)]
            places += path if isinstance(path, list) else []
            absolute = [place for place in places if isinstance(place, str) and os.path.isabs(place)]  # noqa: PTH117
            found += [f"{name} from {place}" for place in absolute if not _inside(place, directory)]
    return found


def _torch(directory: str) -> dict[str, Any]:
    torch: Any = importlib.import_module("torch")
    product = torch.ones(64, 64, dtype=torch.float64) @ torch.eye(64, dtype=torch.float64)
    # torch.cuda.get_arch_list() is empty on a machine without a GPU; the flags behind it are not.
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    return {
        "torch": str(torch.__version__),
        "file": getattr(torch, "__file__", None),
        "elsewhere": _elsewhere(directory, "torch"),
        "computes": bool((product == 1).all()),
        "arch_flags": flags.split() if flags else [],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch._C._has_cudnn else None,
        "config": torch.__config__.show(),
        "loaded": _loaded(),
    }


def main() -> None:
    """Answer."""
    asked: dict[str, Any] = question()
    glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    say(python=".".join(platform.python_version_tuple()[:2]), glibc=glibc)
    answer: dict[str, Any] = {}

    def look(directory: str) -> None:
        answer.update(_torch(directory))

    error = _error(look, asked["torch"])
    say(error=error, **({} if error else answer))
    say(missing=[name for name in asked["names"] if _error(ctypes.CDLL, name)])
    say(cuda_libraries=_cuda_versions(asked["cuda"]))
    say(opened=_load_all(asked["opened"]))
    for name, directory in asked["modules"].items() if not error else ():
        say(trying=name)
        failed = _error(importlib.import_module, name)
        say(module=name, failed=failed, elsewhere=[] if failed else _elsewhere(directory, name))
    say(libraries=_load_all(asked["libraries"]) if not error else {}, loaded_at_last=_loaded())
    end()
