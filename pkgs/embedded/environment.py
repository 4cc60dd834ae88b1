"""Link packages into a virtual environment: environment.py OUT SITE_PACKAGES MAKE_VENV SITE...

Every directory is real and every file a symbolic link, since the wheels' libraries find each other by
paths relative to the directory that they were loaded from ($ORIGIN).
"""

import os
import sys
from configparser import ConfigParser
from pathlib import Path

# Guarded as pip's are: from Python 3.14 on, worker processes import the script anew.
SCRIPT = """#!{python}
import sys
from {module} import {attribute}
if __name__ == "__main__":
    sys.exit({function}())
"""


def link_tree(source: Path, target: Path) -> None:
    for directory, _, files in os.walk(source):
        into = target / Path(directory).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for file in files:
            try:
                (into / file).symlink_to(Path(directory) / file)
            except FileExistsError:
                # Namespace packages of NVIDIA's each bring the same empty __init__.py.
                if (into / file).read_bytes() != (Path(directory) / file).read_bytes():
                    sys.exit(f"{into / file}: two packages bring this file, {source} is one of them")


def write_scripts(site: Path, python: Path) -> None:
    for file in sorted(site.glob("*.dist-info/entry_points.txt")):
        entries = ConfigParser(delimiters=("=",), strict=False)
        entries.optionxform = str  # type: ignore[assignment, method-assign]
        entries.read_string(file.read_text())
        for name, target in entries["console_scripts"].items() if "console_scripts" in entries else ():
            module, function = (part.strip() for part in target.split("[")[0].split(":"))
            script = python.parent / name
            script.write_text(
                SCRIPT.format(
                    python=python,
                    module=module,
                    attribute=function.split(".")[0],
                    function=function,
                )
            )
            script.chmod(0o755)


def write_constraints(site: Path, out: Path, companions: str) -> None:
    """What pip is not to replace beside this PyTorch, and the packages that are compiled for it."""
    found = [file.name.removesuffix(".dist-info").split("-") for file in site.glob("*.dist-info")]
    kept = [f"{name}=={version}" for name, version in found if name in ("torch", "triton")]
    (out / "constraints.txt").write_text("\n".join([*sorted(kept), *companions.split(), ""]))


def main(out: Path, site_packages: str, make_venv: Path, sites: list[Path]) -> None:
    site = out / site_packages
    for source in sites:
        link_tree(source, site)
    binaries = out / "bin"
    binaries.mkdir()
    interpreter = Path(sys.executable).resolve()
    for name in ("python", "python3", interpreter.name):
        (binaries / name).symlink_to(interpreter)
    (out / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
    write_scripts(site, binaries / "python")
    if companions := os.environ.get("COMPANIONS"):
        write_constraints(site, out, companions)
        script = binaries / "make-venv"
        script.write_text(f"#!{binaries / 'python'}\n{make_venv.read_text()}")
        script.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), [Path(site) for site in sys.argv[4:]])
