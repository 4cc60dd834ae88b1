"""The pages that installers read, as the simple repository API has them.

https://packaging.python.org/en/latest/specifications/simple-repository-api/ — in HTML alone: a static server
cannot answer one address in two formats, and every installer reads this one.
"""

import html
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from packaging.version import Version

from pytorch_variants.files import write_text
from pytorch_variants.index.catalogue import File, Wheel
from pytorch_variants.index.variant import VARIANTS, label, variants_json

_PAGE = """<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><meta name="pypi:repository-version" content="1.0"><title>{title}</title></head>
<body>
{body}
</body>
</html>
"""


def _link(href: str, text: str, **attributes: str) -> str:
    named = {name.replace("_", "-"): value for name, value in attributes.items() if value}
    more = "".join(f' {name}="{html.escape(value)}"' for name, value in named.items())
    return f'<a href="{html.escape(href)}"{more}>{html.escape(text)}</a><br>'


def _page(title: str, lines: Iterable[str]) -> str:
    return _PAGE.format(title=html.escape(title), body="\n".join(lines))


def _file_link(file: File, requires_python: str) -> str:
    name, digest = PurePosixPath(file.path).name, f"sha256={file.metadata}"
    return _link(
        f"{quote(name)}#sha256={file.sha256}",
        name,
        data_requires_python=requires_python,
        data_core_metadata=digest,
        # What pip before 23.2 asks for: https://peps.python.org/pep-0714/
        data_dist_info_metadata=digest,
    )


def _write_project(directory: Path, package: str, wheels: Sequence[Wheel], variants: bool) -> None:
    """A package's page in one index, and of variants what their labels stand for."""
    lines = []
    for version, same in groupby(wheels, key=lambda wheel: wheel.version):
        of_version = list(same)
        files = [(wheel.variant if variants else wheel.plain, wheel.requires_python) for wheel in of_version]
        if variants:
            distribution = PurePosixPath(of_version[0].variant.path).name.split("-")[0]
            name = f"{distribution}-{version}-variants.json"
            write_text(directory / name, variants_json({wheel.gpu: wheel.cuda for wheel in of_version}))
            # Without a hash: a GPU that is added later changes the file.
            lines.append(_link(quote(name), name))
        lines += [_file_link(*file) for file in files]
    write_text(directory / "index.html", _page(f"Links for {package}", lines))


def write_pages(directory: Path, wheels: Sequence[Wheel]) -> None:
    """Write all pages, those of packages that have no wheel any more too."""
    ordered = sorted(
        wheels, key=lambda wheel: (wheel.package, Version(wheel.version), wheel.gpu, wheel.source)
    )
    gpus = sorted({wheel.gpu for wheel in wheels})
    there = [path.name for path in directory.glob("sm[0-9]*") if path.is_dir()]
    for index in dict.fromkeys([VARIANTS, *map(label, gpus), *there]):
        variants = index == VARIANTS
        of_index = [wheel for wheel in ordered if variants or label(wheel.gpu) == index]
        packages = {wheel.package for wheel in of_index}
        packages |= {path.name for path in (directory / index).glob("*") if path.is_dir()}
        (directory / index).mkdir(exist_ok=True)
        for package in packages:
            of_package = [wheel for wheel in of_index if wheel.package == package]
            _write_project(directory / index / package, package, of_package, variants)
        links = [_link(f"{package}/", package) for package in sorted(packages)]
        write_text(directory / index / "index.html", _page("Simple index", links))
    said = [_link(f"{VARIANTS}/", f"{VARIANTS}: for uv --preview-features wheel-variants --index")]
    said += [_link(f"{label(gpu)}/", f"{label(gpu)}: for pip --extra-index-url") for gpu in gpus]
    write_text(directory / "index.html", _page("Wheels for single GPUs", said))
