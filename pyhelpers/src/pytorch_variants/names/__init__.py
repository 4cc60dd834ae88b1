"""Names of variants: reading one, all of them, and what a text stands for."""
