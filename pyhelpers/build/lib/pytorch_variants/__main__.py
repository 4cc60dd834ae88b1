"""Run the command line: python -m pytorch_variants."""

from pytorch_variants.cli import main

main()
