"""Draw the picture in the README: python docs/report_svg.py result-report/report.json docs/report.svg."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from pytorch_variants.cli.verify import print_table
from pytorch_variants.findings import from_json


def draw(report: Path, picture: Path) -> None:
    """A report as a terminal of 118 columns shows it, by rich's own export."""
    console = Console(width=118, record=True, file=io.StringIO(), force_terminal=True)
    print_table(from_json(report.read_text(encoding="utf-8")), console)
    svg = console.export_svg(title="nix build .#pytorch-sm90-avx512.tests.verify")
    # The font of the one who looks, not one from the network.
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
