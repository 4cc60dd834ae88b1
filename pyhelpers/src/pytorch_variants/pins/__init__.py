"""What the flake is pinned to: looking, updating, checking."""

from pytorch_variants.errors import UserError


def missing(program: str) -> UserError:
    """What to say where a package is missing that new pins alone need."""
    return UserError(
        f"lock update needs {program}, which is not installed: pip install 'pytorch-variants[pins]'"
    )
