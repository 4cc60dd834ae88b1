"""Which PyTorch a machine's hardware needs, and proof that a build is that one.

The names in `__all__` are the public API: docs/python-api.md explains them and what they give, and says what
is promised. Each is imported when it is first asked for, so that no program waits for what it does not use.
The modules below are internal.
"""

from typing import TYPE_CHECKING

# The one place of the version: pyproject.toml, the Nix package and --version take it from here.
__version__ = "0.1.0"

if TYPE_CHECKING:
    from pytorch_variants.errors import UserError
    from pytorch_variants.findings import Origin, Policy, Report
    from pytorch_variants.hardware.compatibility import runs_on
    from pytorch_variants.hardware.spelling import parse_cpu, parse_gpu
    from pytorch_variants.machine.advise import detect
    from pytorch_variants.names.lookup import lookup
    from pytorch_variants.names.variant import Variant, parse_name
    from pytorch_variants.retarget import RetargetOptions, retarget_path
    from pytorch_variants.verify.inspect import inspect_path
    from pytorch_variants.verify.static import verify as verify_environment
else:
    # The imports above, for when they are needed: where each is, and its name there if that is another.
    # None has the name of a subpackage, whose import would take its place.
    _PLACES = {
        "UserError": "errors",
        "parse_gpu": "hardware.spelling",
        "parse_cpu": "hardware.spelling",
        "Variant": "names.variant",
        "parse_name": "names.variant",
        "lookup": "names.lookup",
        "runs_on": "hardware.compatibility",
        "detect": "machine.advise",
        "RetargetOptions": "retarget",
        "retarget_path": "retarget",
        "inspect_path": "verify.inspect",
        "Origin": "findings",
        "Policy": "findings",
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
    "Origin",
    "Policy",
    "Report",
    "RetargetOptions",
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
