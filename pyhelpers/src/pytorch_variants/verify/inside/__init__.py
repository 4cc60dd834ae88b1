"""Programs that the Python of a built environment runs: they import torch and the standard library alone."""
