"""The operators that a PyTorch is tried with: one for each library and kind of kernel behind it.

Each is held against the same computation in float64 on the CPU. The error is the largest absolute
difference over the largest absolute value of the reference. What is allowed is n eps: n is the number of
terms that one result sums up, eps the spacing of the type's numbers at 1. That is the textbook bound of a
sum's rounding (Higham, Accuracy and Stability of Numerical Algorithms, 4.2), which real sums stay far
below; a kernel that is wrong is off by something like 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EPS32, EPS_TF32, EPS16 = 2**-23, 2**-10, 2**-7  # float32, TF32, bfloat16


@dataclass(frozen=True)
class Operator:
    """`function` of float32 `inputs` on the CPU, and the error that its types allow; 0 means equal.

    `repeatable`: the same input gives the same bits.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    tolerance: float
    tf32: bool = False
    repeatable: bool = True


def operators(torch: Any) -> dict[str, Operator]:
    """Every operator by name; the inputs are the same each time."""
    functional, linalg = torch.nn.functional, torch.linalg
    generator = torch.Generator().manual_seed(20)

    def random(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator)

    def bf16(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(*inputs: Any) -> Any:
            # The reference is computed from the same rounded inputs.
            rounded = [x.to(torch.bfloat16) for x in inputs]
            return function(*(rounded if inputs[0].dtype == torch.float32 else [x.double() for x in rounded]))

        return apply

    square = (random(1024, 1024), random(1024, 1024))
    heads = tuple(random(4, 8, 256, 64) for _ in range(3))
    image, filters = random(8, 32, 64, 64), random(64, 32, 3, 3)
    rows = random(512, 4096)
    small = square[0][:128, :128]
    positive = small @ small.T + 128 * torch.eye(128)
    order = torch.randperm(512, generator=generator)
    convolution = 32 * 3 * 3

    def attention(q: Any, k: Any, v: Any) -> Any:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    return {
        "matmul fp32": Operator(torch.matmul, square, 1024 * EPS32),
        "matmul tf32": Operator(torch.matmul, square, 4 * EPS_TF32, tf32=True),
        "matmul bf16": Operator(bf16(torch.matmul), square, 2 * EPS16),
        "conv2d": Operator(
            lambda x, w: functional.conv2d(x, w, padding=1), (image, filters), convolution * EPS32
        ),
        "conv2d bf16": Operator(
            bf16(lambda x, w: functional.conv2d(x, w, padding=1)), (image, filters), 2 * EPS16
        ),
        "attention": Operator(functional.scaled_dot_product_attention, heads, 256 * EPS32),
        "attention bf16": Operator(bf16(functional.scaled_dot_product_attention), heads, 4 * EPS16),
        "causal attention bf16": Operator(bf16(attention), heads, 4 * EPS16),
        "sum": Operator(lambda x: x.sum(-1), (rows,), 4096 * EPS32),
        "mean and variance": Operator(lambda x: torch.stack(torch.var_mean(x, -1)), (rows,), 4096 * EPS32),
        "argmax": Operator(lambda x: x.argmax(-1), (rows,), 0.0),
        "cumsum": Operator(lambda x: torch.cumsum(x, -1), (rows,), 4096 * EPS32),
        "softmax": Operator(lambda x: torch.softmax(x, -1), (rows,), 4096 * EPS32),
        "layer norm": Operator(lambda x: functional.layer_norm(x, (4096,)), (rows,), 4096 * EPS32),
        "gelu": Operator(functional.gelu, (rows,), 16 * EPS32),
        "sort": Operator(lambda x: torch.sort(x, dim=-1).values, (rows,), 0.0),
        "topk": Operator(lambda x: torch.topk(x, 32, dim=-1).values, (rows,), 0.0),
        "indexing": Operator(lambda x: x[order.to(x.device)] * 2, (rows,), 0.0),
        "index_add": Operator(
            lambda x: torch.zeros_like(x[:8]).index_add(0, order.to(x.device) % 8, x), (rows,), 512 * EPS32
        ),
        "fft": Operator(lambda x: torch.view_as_real(torch.fft.rfft(x)), (rows,), 4096 * EPS32),
        "sparse matmul": Operator(
            lambda x, y: (x * (x > 1)).to_sparse_csr() @ y, square, 1024 * EPS32, repeatable=False
        ),
        # LAPACK's bounds: a modest multiple of the number of rows times the machine epsilon.
        "svdvals": Operator(linalg.svdvals, (small,), 4 * 128 * EPS32),
        "cholesky": Operator(linalg.cholesky, (positive,), 4 * 128 * EPS32),
        "solve": Operator(linalg.solve, (positive, small), 4 * 128 * EPS32),
        "eigvalsh": Operator(linalg.eigvalsh, (positive,), 4 * 128 * EPS32),
    }


def distance(result: Any, reference: Any) -> float:
    """The error of a result on the CPU, as the module's text defines it."""
    if result.shape != reference.shape:
        return float("inf")
    error = ((result.double() - reference).abs().max() / reference.abs().max()).item()
    return float("inf") if error != error else float(error)


def use_tf32(torch: Any, wanted: bool) -> None:
    """Let float32 products be computed from 10-bit mantissas, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
