"""Verification on the machine itself: its GPU is the variant's, and what is computed there is right."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    Finding,
    Origin,
    Report,
    expect,
    note,
    ok,
    wrong,
)
from pytorch_variants.names.variant import Variant, refuse_unbuilt
from pytorch_variants.verify.environment import converse, find_interpreter

# Inductor's first compilation is the longest part of it.
_PATIENCE = 1200.0

# The kernel's module is there, whatever is found of the driver's libraries.
_MODULE = Path("/proc/driver/nvidia/version")


def _test(name: str, result: Mapping[str, Any]) -> Finding:
    if "error" in result:
        return wrong(name, "runs", (), detail=result["error"])
    if "skipped" in result:
        return note(name, "runs", "not run", detail=result["skipped"])
    tolerance, error = result["tolerance"], result["distance"]
    expected = f"within {tolerance:.1e} of float64" if tolerance else "equal to float64"
    found = f"{error:.1e}" if tolerance else f"{error:g} off"
    return (ok if error <= tolerance else wrong)(name, expected, found, result.get("detail", ""))


def _notes(answer: Mapping[str, Any]) -> Iterator[Finding]:
    yield note("import", (), f"{answer['import_s']} s")
    yield note("first kernel", (), f"{answer['first_kernel_s']} s", "with the device's initialisation")
    used = answer["memory_mb"]
    memory = [f"{used['resident']} MB resident"]
    if "device" in used:
        memory += [f"{used['tensors']} MB of tensors at most", f"{used['device']} MB in use on the GPU"]
    yield note("memory", (), memory)


def _cuda_build(answer: Mapping[str, Any]) -> Finding:
    return expect("CUDA build", "yes", "yes" if answer["cuda"] else "no", "torch.version.cuda")


def _device(variant: Variant, answer: Mapping[str, Any]) -> Finding:
    targets = tuple(f"sm_{gpu.number}" for gpu in variant.gpus)
    found = f"sm_{answer['capability'].replace('.', '')}"
    if found in targets:
        return ok("GPU", targets, found, answer["device"])
    return wrong("GPU", targets, found, answer["device"], f"built for {' '.join(targets)}, this is {found}")


def verify_runtime(environment: Path, variant: Variant, origin: Origin) -> Report:
    """Run a variant's kernels on this machine: on its GPU, or on the CPU for a build without CUDA.

    `environment` is a directory with bin/python that imports torch. Raises UserError where nothing can be
    checked: no GPU, no driver, no such Python.
    """
    refuse_unbuilt(variant)
    device = "cuda" if variant.gpus else "cpu"
    capabilities = [gpu.capability for gpu in variant.gpus]
    question = {"device": device, "capabilities": capabilities}
    said = converse(find_interpreter(environment), "gpu", question, _PATIENCE)
    answer = said.facts
    if said.end:
        findings = [wrong("runs", "to its end", (), detail=said.end)]
    elif "unavailable" in answer:
        way_out = "run it on the machine that has it"
        if _MODULE.exists():
            way_out = "NVIDIA's driver is loaded, so let its libraries be found: see The driver in the README"
        raise UserError(f"no GPU to check on: {answer['unavailable']}; {way_out}")
    else:
        findings = [] if device == "cpu" else [_cuda_build(answer)]
        if "capability" in answer:
            findings.append(_device(variant, answer))
        if "tests" in answer:
            findings += [_test(name, result) for name, result in answer["tests"].items()]
        if "memory_mb" in answer:
            findings += _notes(answer)
    return Report(variant.name, origin, tuple(findings))
