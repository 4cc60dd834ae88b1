"""What was read from one library: plain data, on which every check decides without opening a file again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytorch_variants.verify.cpu import CpuFacts
from pytorch_variants.verify.gpu import GpuFacts
from pytorch_variants.verify.linkage import LinkFacts

# Whose it is: torch's; a package's that is built on torch; somebody else's that one of these needs; NVIDIA's,
# of which the linkage alone is read; anybody else's, which has nothing to do with torch.
Role = Literal["torch", "companion", "needed", "nvidia", "other"]


@dataclass(frozen=True)
class Candidate:
    """A file to read: where it is, what rows call it, whose it is and in which package.

    It is an ELF file, or with `bare` GPU code by itself.
    """

    path: Path
    name: str
    role: Role
    package: str
    bare: bool = False


@dataclass(frozen=True)
class LibraryFacts:
    """One ELF file. `error` says in a line why it could not be read; the other facts are empty then.

    `path` is as the loader forms it, with the links of its directories resolved; `name` is relative to
    site-packages where it lies there, as in torch/lib/libc10.so. `machine` is the ELF header's: "x86_64".
    """

    path: Path
    name: str
    role: Role
    package: str
    size: int = 0
    machine: str = ""
    link: LinkFacts = field(default_factory=LinkFacts)
    gpu: GpuFacts = field(default_factory=GpuFacts)
    cpu: CpuFacts = field(default_factory=CpuFacts)
    error: str | None = None
