"""Where the bytes of a retargeted library go, in files that a linker lays out otherwise than usual."""

import shutil
import subprocess
from pathlib import Path

import pytest
from binaries import LIBRARIES, cubins, cuda_library, cuobjdump, nvcc_library, run_library, tool

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.retarget.library import retarget_file

LAST = "SECTIONS { .nv_fatbin ALIGN(0x1000) : { *(.nv_fatbin) } } INSERT AFTER .bss\n"


@pytest.mark.slow
def test_gpu_code_in_the_last_segment(tmp_path: Path) -> None:
    """No segment follows it, but sections do that the loader never maps."""
    script = tmp_path / "last.ld"
    script.write_text(LAST)
    path = nvcc_library("last", *LIBRARIES["uncompressed"], "-Xlinker", f"-T,{script}")
    target = tmp_path / "out.so"
    assert retarget_file(path, target, frozenset({90})).after <= path.stat().st_size - 4096
    with open_elf(path) as before, open_elf(target) as after:
        for name in (".comment", ".symtab", ".strtab", ".shstrtab"):
            old, new = before.section(name), after.section(name)
            assert old
            assert new
            if name != ".symtab":
                assert after.contents(new) == before.contents(old)
    strings = subprocess.run(
        [tool("readelf"), "-p", ".comment", target], capture_output=True, text=True, check=True
    )
    assert "GCC" in strings.stdout
    assert run_library(target) == run_library(path)
    assert cubins(target) == cuobjdump(target)


def test_what_is_appended_to_a_library_stays(tmp_path: Path) -> None:
    """As a signature, or an archive that a program reads from its own end."""
    path, plain, target = tmp_path / "appended.so", tmp_path / "plain.so", tmp_path / "out.so"
    shutil.copy(cuda_library("many"), path)
    retarget_file(path, plain, frozenset({90}))
    tail = bytes(range(1, 256)) * 33
    path.write_bytes(path.read_bytes() + tail)
    retarget_file(path, target, frozenset({90}))
    assert target.read_bytes() == plain.read_bytes() + tail
