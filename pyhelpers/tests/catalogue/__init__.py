"""Wrong and honest environments, to try a verifier against.

Each case changes a fresh copy of a real environment. A wrong one must not pass, an honest one must not fail.
The cases were written without sight of the verifier.

    cd pyhelpers/tests
    python -m catalogue.bases BASES --environment result
    python -m catalogue --bases BASES --verify 'pytorch-variants verify'

Beside what the tests need anyway (gcc, nvcc of NVIDIA's wheels, patchelf) it needs Debian's binutils.
"""
