import pytest
from conftest import Nix
from hypothesis import given
from hypothesis import strategies as st
from test_hardware import nix_string

from pytorch_variants.errors import UserError
from pytorch_variants.names import parse_name, short_names

WRONG = [
    "",
    "pytorch",
    "pytorch-sm90",
    "pytorch-sm91-avx512",
    "pytorch-sm90-avx521",
    "pytorch-cpu-",
    "pytorch-sm90f-avx2",
    "pytorch-python2-sm90-avx2",
    "pytorch-cuda12-sm90-avx2",
    "tensorflow-sm90-avx2",
    "PyTorch-sm90-avx2",
    "pytorch-sm87-avx2",
    "pytorch-sm90-sm87-avx2",
]


@given(
    python=st.sampled_from([None, "3.11", "3.13"]),
    cuda=st.sampled_from([None, "12.8", "13.0"]),
    short=st.sampled_from(short_names()),
)
def test_spelled_out_names_are_read_back(python: str | None, cuda: str | None, short: str) -> None:
    package, rest = short.split("-", 1)
    parts = [
        package,
        *([f"python{python.replace('.', '')}"] if python else []),
        *([f"cuda{cuda.replace('.', '_')}"] if cuda else []),
        rest,
    ]
    variant = parse_name("-".join(parts))
    assert (variant.python, variant.cuda) == (python, cuda)
    assert short == f"pytorch-{variant.gpus[0].name if variant.gpus else 'cpu'}-{variant.cpu.name}"


def test_several_architectures() -> None:
    variant = parse_name("pytorch-sm80-sm86-sm90a-x86-64-v3")
    assert [gpu.target for gpu in variant.gpus] == ["8.0", "8.6", "9.0a"]
    assert variant.cpu.name == "x86-64-v3"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_names_say_what_to_write(name: str) -> None:
    with pytest.raises(UserError, match=r"nearest: pytorch-|write sm"):
        parse_name(name)


def test_nix_reads_the_same(nix: Nix) -> None:
    names = [*short_names(), "pytorch-python312-cuda13_0-sm80-sm90a-x86-64-v4", *WRONG]
    function = """name: let p = lib.parseName name; v = {
        inherit (p) package python cuda; cpu = p.cpu.name; gpus = map (g: g.target) p.gpus;
      }; forced = builtins.tryEval (builtins.deepSeq v v);
      in if forced.success then forced.value else null"""
    in_nix = nix.lib(f"map ({function}) [ {' '.join(map(nix_string, names))} ]")
    for name, found in zip(names, in_nix, strict=True):
        if name in WRONG:
            assert found is None, name
        else:
            variant = parse_name(name)
            assert found == {
                "package": variant.package,
                "python": variant.python,
                "cuda": variant.cuda,
                "cpu": variant.cpu.name,
                "gpus": [gpu.target for gpu in variant.gpus],
            }
