"""Static verification: is a build what its name says? Reads files and imports torch; needs no GPU."""

from collections.abc import Iterator
from pathlib import Path

from pytorch_variants.findings import (
    COMPILED,
    Finding,
    Report,
)
from pytorch_variants.names.variant import Variant
from pytorch_variants.verify.cpu import check_instructions
from pytorch_variants.verify.environment import (
    Environment,
    ask,
    find_environment,
)
from pytorch_variants.verify.gpu import (
    check_companion_code,
    check_gpu_code,
)
from pytorch_variants.verify.imports import check_import
from pytorch_variants.verify.linkage import (
    Linkage,
    check_companions,
    check_cuda,
    check_linkage,
    check_one_torch,
    read_linkage,
)

__all__ = ["COMPILED", "check_files", "verify"]


def check_files(environment: Environment, variant: Variant, origin: str) -> Iterator[Finding]:
    """The rows that are read from the machine code alone; nothing is run."""
    yield from check_gpu_code(environment.torch, variant, origin)
    yield from check_instructions(environment.torch, variant.cpu, origin)


def _companion_code(linkage: Linkage, variant: Variant, origin: str) -> Iterator[Finding]:
    for package, items in linkage.companions.items():
        for item in items:
            yield from check_companion_code(item.path, package, variant, origin)


def _check_imports(environment: Environment, variant: Variant, origin: str) -> Iterator[Finding]:
    linkage = read_linkage(environment)
    question = {
        "names": linkage.unknown,
        "cuda": linkage.cuda,
        "modules": list(linkage.companions),
        "companions": [str(item.path) for items in linkage.companions.values() for item in items],
    }
    answer = ask(environment.python, "imports", question)
    if isinstance(answer, str):
        yield Finding("wrong", "import torch", "imports", answer)
        answer = {}
    else:
        yield from check_import(variant, origin, answer)
    yield from check_linkage(linkage, answer.get("missing"))
    yield from check_one_torch(environment, linkage, answer.get("loaded", []))
    yield from check_cuda(answer.get("cuda_libraries", {}), answer.get("cuda", variant.cuda))
    yield from check_companions(environment, linkage, answer)
    yield from _companion_code(linkage, variant, origin)


def verify(environment: Path, variant: Variant, origin: str = COMPILED) -> Report:
    """Hold an environment's torch against what a variant's name says.

    `environment` is a directory with bin/python and lib/python3.X/site-packages/torch. `origin` says how
    the build was made; one that is not compiled from source is not asked for its CPU flags. Raises
    UserError where there is nothing to check.
    """
    found = find_environment(environment)
    return Report(
        variant=variant.name,
        origin=origin,
        findings=(*check_files(found, variant, origin), *_check_imports(found, variant, origin)),
    )
