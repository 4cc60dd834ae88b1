"""Which PyTorch a machine's hardware needs, and proof that a build is that one.

The names in `__all__` are the public API: docs/python-api.md explains them and says what is promised. Each is
imported when it is first asked for, so that no program waits for what it does not use. The modules below are
internal.
"""

from typing import TYPE_CHECKING

# The one place of the version: pyproject.toml, the Nix package and --version take it from here.
__version__ = "0.1.0"

if TYPE_CHECKING:
    from pytorch_variants.errors import UserError
    from pytorch_variants.findings import Finding, Origin, Policy, Report
    from pytorch_variants.hardware.compatibility import runs_on
    from pytorch_variants.hardware.spelling import parse_cpu, parse_gpu
    from pytorch_variants.hardware.table import Cpu, Gpu
    from pytorch_variants.machine.advise import Advice, detect
    from pytorch_variants.names.lookup import Match, lookup
    from pytorch_variants.names.variant import Variant, parse_name
    from pytorch_variants.retarget import Account, RetargetOptions, retarget_path
    from pytorch_variants.retarget.library import Retargeted
    from pytorch_variants.verify.inspect import Answer, Inspected, Inspection, inspect_path
    from pytorch_variants.verify.static import verify as verify_environment
else:
    # The imports above, for when they are needed: where each is, and its name there if that is another.
    # None has the name of a subpackage, whose import would take its place.
    _PLACES = {
        "UserError": "errors",
        "Gpu": "hardware.table",
        "parse_gpu": "hardware.spelling",
        "Cpu": "hardware.table",
        "parse_cpu": "hardware.spelling",
        "Variant": "names.variant",
        "parse_name": "names.variant",
        "Match": "names.lookup",
        "lookup": "names.lookup",
        "runs_on": "hardware.compatibility",
        "Advice": "machine.advise",
        "detect": "machine.advise",
        "RetargetOptions": "retarget",
        "Account": "retarget",
        "Retargeted": "retarget.library",
        "retarget_path": "retarget",
        "Answer": "verify.inspect",
        "Inspected": "verify.inspect",
        "Inspection": "verify.inspect",
        "inspect_path": "verify.inspect",
        "Origin": "findings",
        "Policy": "findings",
        "Finding": "findings",
        "Report": "findings",
        "verify_environment": "verify.static:verify",
    }

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, _, attribute = _PLACES[name].partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), attribute or name)
        globals()[name] = found
        return found

    def __dir__():
        return [*globals(), *__all__]


__all__ = [
    "Account",
    "Advice",
    "Answer",
    "Cpu",
    "Finding",
    "Gpu",
    "Inspected",
    "Inspection",
    "Match",
    "Origin",
    "Policy",
    "Report",
    "RetargetOptions",
    "Retargeted",
    "UserError",
    "Variant",
    "detect",
    "inspect_path",
    "lookup",
    "parse_cpu",
    "parse_gpu",
    "parse_name",
    "retarget_path",
    "runs_on",
    "verify_environment",
]
