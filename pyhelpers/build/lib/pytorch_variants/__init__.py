"""Which PyTorch a machine's hardware needs, and proof that a build is that one."""

__version__ = "0.1.0"
