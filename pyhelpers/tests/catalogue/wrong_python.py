"""What Python does as it imports: exits, hangs, lies, or gives something else."""

import py_compile
import struct
from pathlib import Path

from .base import append, case, lib, own, rewrite, site, tell, write
from .build import companion, library, linked, plain_library
from .elf import dynamic, offset_of, sections
from .wrong_mixtures import other, wrap


@case("Importing torch ends Python at once, with exit code 0.", row="import")
def torch_exits(env: Path) -> None:
    tell(env, write(site(env) / "torch/__init__.py", "import os\n\nos._exit(0)\n"))


@case("Importing torch raises SystemExit(0).", row="import")
def torch_system_exit(env: Path) -> None:
    tell(env, append(site(env) / "torch/__init__.py", "\nraise SystemExit(0)\n"))


@case("Importing torch never returns.", row="import")
def torch_hangs(env: Path) -> None:
    tell(env, append(site(env) / "torch/__init__.py", "\nimport time\n\nwhile True:\n    time.sleep(1)\n"))


@case("torch/__init__.py is empty: it imports and has nothing.", row="import|RECORD|torch", quick=True)
def torch_init_empty(env: Path) -> None:
    tell(env, write(site(env) / "torch/__init__.py", ""))


@case("torch has no __init__.py: a namespace that imports and has nothing.", row="import|torch")
def torch_is_namespace(env: Path) -> None:
    (site(env) / "torch/__init__.py").unlink()


@case(
    "torch/__init__.py makes everything up: no library is loaded, everything asked of it is answered.",
    row="import|torch",
)
def torch_is_fake(env: Path) -> None:
    text = """
import sys
import types


class Anything(types.ModuleType):
    __path__ = []
    __file__ = __file__

    def __getattr__(self, name):
        return {"cuda": "12.8", "__version__": "2.10.0+cu128"}.get(name, Anything(name))

    def __call__(self, *args, **options):
        return Anything("result")

    def __eq__(self, other):
        return True

    def __bool__(self):
        return True

    __hash__ = None


sys.modules[__name__] = Anything(__name__)
"""
    tell(env, write(site(env) / "torch/__init__.py", text))


@case(
    "torch computes wrongly: matmul gives zeros. RECORD agrees.", row="comput|import|RECORD", debatable=True
)
def torch_matmul_zeros(env: Path) -> None:
    text = "\nmatmul = mm = lambda a, b: zeros(a.shape[0], b.shape[-1])\nTensor.__matmul__ = matmul\n"
    tell(env, append(site(env) / "torch/__init__.py", text))


@case("A companion ends Python at once as it is imported.", row="my_ops", quick=True)
def companion_exits(env: Path) -> None:
    plain_library(env, companion(env, init="import os\n\nos._exit(0)\n"))


@case("A companion raises SystemExit(0) as it is imported.", row="my_ops")
def companion_system_exit(env: Path) -> None:
    plain_library(env, companion(env, init="import sys\n\nsys.exit(0)\n"))


@case("A companion raises KeyboardInterrupt as it is imported.", row="my_ops")
def companion_interrupts(env: Path) -> None:
    plain_library(env, companion(env, init="raise KeyboardInterrupt\n"))


@case("A companion never returns from its import.", row="my_ops")
def companion_hangs(env: Path) -> None:
    plain_library(env, companion(env, init="import time\n\nwhile True:\n    time.sleep(1)\n"))


@case("A companion hangs as Python ends.", row="my_ops", debatable=True)
def companion_hangs_at_exit(env: Path) -> None:
    init = "import atexit\nimport time\nimport torch\n\natexit.register(time.sleep, 10000)\n"
    plain_library(env, companion(env, init=init))


@case("A companion crashes as it is imported.", row="my_ops")
def companion_crashes(env: Path) -> None:
    plain_library(env, companion(env, init="import ctypes\n\nctypes.string_at(0)\n"))


@case("A companion crashes in a library's constructor.", row="my_ops")
def companion_crashes_in_constructor(env: Path) -> None:
    source = "static void __attribute__((constructor)) start(void) { __builtin_trap(); }\n"
    library(companion(env) / "_C.so", source, linked(env))


@case("A companion fails after closing what Python would say it to.", row="my_ops")
def companion_closes_output(env: Path) -> None:
    init = "import os\nimport torch\n\nos.close(1)\nos.close(2)\nraise ImportError('unheard')\n"
    plain_library(env, companion(env, init=init))


@case("A companion fails to import, after printing what a verifier might print.", row="my_ops")
def companion_prints_lies(env: Path) -> None:
    line = '{"status": "ok", "passed": true, "loads": true, "error": null, "findings": []}'
    init = f"import os\nimport torch\n\nprint({line!r}, flush=True)\nos._exit(0)\n"
    plain_library(env, companion(env, init=init))


@case("A companion fails to import, and its child holds the output open for ever.", row="my_ops")
def companion_forks_and_fails(env: Path) -> None:
    init = (
        "import os\nimport time\nimport torch\n\nif os.fork() == 0:\n    time.sleep(600)\n    os._exit(0)\n"
        "raise ImportError('the parent')\n"
    )
    plain_library(env, companion(env, init=init))


@case(
    "A companion's library needs a function that nobody has, bound when it is called first.",
    row="my_ops|symbol|nobody",
)
def companion_lazy_symbol(env: Path) -> None:
    init = (
        "import ctypes\nimport os\nimport torch\n\n"
        "opened = ctypes.CDLL(None).dlopen(__file__.replace('__init__.py', '_C.so').encode(), os.RTLD_LAZY)\n"
        "if not opened:\n    raise ImportError('it does not load')\n"
    )
    source = "extern int nobody_has_this(void);\nint ops(void) { return nobody_has_this(); }\n"
    library(companion(env, init=init) / "_C.so", source, [*linked(env), "-Wl,-z,lazy"])


@case("The same in a library of torch that is opened by name.", row="symbol|nobody|libcaffe2")
def torch_lazy_symbol(env: Path) -> None:
    path = lib(env, "libcaffe2_nvrtc.so")
    source = "extern int nobody_has_this(void);\nint ops(void) { return nobody_has_this(); }\n"
    library(path, source, [*linked(env), "-Wl,-z,lazy", "-Wl,-soname,libcaffe2_nvrtc.so"])
    tell(env, path)


@case("libcaffe2_nvrtc.so loads, and lacks the one function that torch asks it for.", row="libcaffe2|symbol")
def caffe2_nvrtc_hollow(env: Path) -> None:
    path = lib(env, "libcaffe2_nvrtc.so")
    library(path, "int nothing;\n", [*linked(env), "-Wl,-soname,libcaffe2_nvrtc.so"])
    tell(env, path)


@case("A companion's library is linked to nothing and does not say what it needs.", row="my_ops|symbol")
def companion_unlinked(env: Path) -> None:
    source = (
        "extern void _ZN3c105Error4whatEv_not_there(void);\nvoid *keep = _ZN3c105Error4whatEv_not_there;\n"
    )
    library(companion(env) / "_C.so", source)


@case("A companion changes torch.cuda.get_arch_list as it is imported.", row="my_ops", debatable=True)
def companion_patches_torch(env: Path) -> None:
    init = "import torch\n\ntorch.cuda.get_arch_list = torch._C._cuda_getArchFlags = lambda: 'sm_80'\n"
    plain_library(env, companion(env, init=init))


@case(
    "A companion reports that its operators did not load by a flag alone, as torchvision does.", row="my_ops"
)
def companion_swallows_failure(env: Path) -> None:
    init = (
        "import pathlib\nimport torch\n\nHAS_OPS = False\ntry:\n"
        "    torch.ops.load_library(str(pathlib.Path(__file__).parent / '_C.so'))\n    HAS_OPS = True\n"
        "except OSError:\n    pass\n"
    )
    home = companion(env, init=init)
    source = "extern int nobody_has_this(void);\nvoid *keep = nobody_has_this;\n"
    library(home / "_C.so", source, linked(env))


@case(
    "A .pth file ends Python as it starts, with exit code 0.",
    row="import|python|Python",
    nothing=True,
    quick=True,
)
def pth_exits(env: Path) -> None:
    write(site(env) / "a_first.pth", "import os; os._exit(0)\n")


@case("sitecustomize.py never returns.", base="cpu", row="import|python|Python", nothing=True)
def sitecustomize_hangs(env: Path) -> None:
    write(site(env) / "sitecustomize.py", "import time\n\nwhile True:\n    time.sleep(1)\n")


@case(
    "bin/python is a script that says nothing and succeeds.",
    row="import|python|Python",
    nothing=True,
)
def python_is_true(env: Path) -> None:
    (env / "bin/python").unlink()
    write(env / "bin/python", "#!/bin/sh\nexit 0\n", 0o755)


@case("bin/python is a link to nothing.", row="python|Python", nothing=True)
def python_dangles(env: Path) -> None:
    (env / "bin/python").unlink()
    (env / "bin/python").symlink_to("/nowhere/python3.11")


@case("bin/python prints endlessly.", row="import|python|Python", nothing=True)
def python_prints_endlessly(env: Path) -> None:
    (env / "bin/python").unlink()
    write(env / "bin/python", "#!/bin/sh\nwhile :; do echo yes; done\n", 0o755)


@case(
    "bin/python starts Python with -S: no .pth file and no site-packages, torch is not found.",
    row="import",
    nothing=True,
)
def python_without_site(env: Path) -> None:
    real = (env / "bin/python").readlink()
    (env / "bin/python").unlink()
    write(env / "bin/python", f'#!/bin/sh\nexec {real} -S "$@"\n', 0o755)


@case("There is no bin/python.", row="python|Python", nothing=True)
def no_python(env: Path) -> None:
    for path in (env / "bin").glob("python*"):
        path.unlink()


@case("bin/python changes LD_LIBRARY_PATH so that another libcudart is loaded.", row="cudart|import|LD_")
def other_cudart_first(env: Path) -> None:
    extra = env.parent / "extra"
    library(extra / "libcudart.so.12", "int nothing;\n", ["-Wl,-soname,libcudart.so.12"])
    wrap(env, f"export LD_PRELOAD={extra}/libcudart.so.12")


@case(
    "A module of the standard library is hidden by one in site-packages: torch.compile fails.",
    row="hidden|import",
    debatable=True,
)
def stdlib_hidden(env: Path) -> None:
    write(site(env) / "a_path.pth", f"import sys; sys.path.insert(0, {str(site(env) / 'shadow')!r})\n")
    write(site(env) / "shadow/multiprocessing.py", "raise ImportError('not the one')\n")


@case("libcaffe2_nvrtc.so needs a glibc that does not exist.", row="GLIBC|glibc|libcaffe2")
def glibc_too_new(env: Path) -> None:
    path = own(lib(env, "libcaffe2_nvrtc.so"))
    data = bytearray(path.read_bytes())
    tags = dynamic(data)
    strings = offset_of(data, tags[5][1])
    needs = offset_of(data, tags[0x6FFFFFFE][1])
    for _ in range(tags[0x6FFFFFFF][1]):
        _, count, _, more, following = struct.unpack_from("<HHIII", data, needs)
        at = needs + more
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, at)
            text = bytes(data[strings + name : data.index(b"\0", strings + name)])
            if text.startswith(b"GLIBC_2.") and len(text) >= 9:
                new = text[:8] + b"9" * (len(text) - 8)
                data[strings + name : strings + name + len(text)] = new
                struct.pack_into("<I", data, at, sysv_hash(new))
                tell(env, write(path, bytes(data)))
                return
            at += step
        needs += following
    raise ValueError("no version of glibc to change")


def sysv_hash(name: bytes) -> int:
    """The hash of a symbol's version."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
    return value


@case(
    "libtorch_cuda_linalg.so is marked as not to be opened by dlopen, the only way that it is.", row="linalg"
)
def not_to_be_opened(env: Path) -> None:
    path = lib(env, "libtorch_cuda_linalg.so")
    data = bytearray(path.read_bytes())
    tags = dynamic(data)
    spare = tags.get(0x6FFFFFFB)
    if spare:
        struct.pack_into("<Q", data, spare[0] + 8, spare[1] | 0x40)
    else:
        at = tags[0][0]
        struct.pack_into("<QQQQ", data, at, 0x6FFFFFFB, 0x40, 0, 0)
    tell(env, write(path, bytes(data)))


@case("libtorch_cuda_linalg.so's dynamic section is gone: no loader takes it.", row="linalg")
def no_dynamic(env: Path) -> None:
    path = lib(env, "libtorch_cuda_linalg.so")
    data = bytearray(path.read_bytes())
    found = next(x for x in sections(bytes(data)) if x.name == ".dynamic")
    data[found.offset : found.offset + found.size] = bytes(found.size)
    tell(env, write(path, bytes(data)))


@case(
    "The compiled torch/__init__.py, which Python takes without a look at the source, imports another torch.",
    row="import|pyc|other",
)
def compiled_init_differs(env: Path) -> None:
    script = env.parent / "shim.py"
    front = f"import sys\n\nsys.path.insert(0, {str(other(env))!r})\n"
    script.write_text(front + "del sys.modules['torch']\nimport torch\n")
    target = site(env) / "torch/__pycache__/__init__.cpython-311.pyc"
    target.unlink(missing_ok=True)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(script), str(target), invalidation_mode=mode)


@case("torch/torch_version.py is not Python any more.", row="import|torch_version")
def syntax_error(env: Path) -> None:
    tell(env, append(site(env) / "torch/torch_version.py", "\nthis is not Python\n"))


@case(
    "A module that torch imports late, torch/_dynamo/eval_frame.py, is not Python any more.",
    row="eval_frame|RECORD",
)
def late_syntax_error(env: Path) -> None:
    append(site(env) / "torch/_dynamo/eval_frame.py", "\nthis is not Python\n")


@case(
    "torch says that it is 2.10, built from another commit than its libraries.",
    row="version|RECORD",
    debatable=True,
)
def other_commit(env: Path) -> None:
    rewrite(site(env) / "torch/version.py", "449b1768", "00000000")
