"""Two PyTorch builds beside each other on this machine's GPU: the same numbers in, results and times out.

    python benchmarks/beside_gpu.py --out beside.json compiled=/path/to/python official=python3

Each NAME=PYTHON is run in a process of its own. The inputs come from NumPy, so that they are equal whatever
the release. For every operator the table has the median time of both, and how far the first one's result is
from the other's, as a part of the largest number in it. Below it, a small GPT is trained for some steps.

Exit code: 0 all results agree, 1 one does not or failed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
# Sums of as many products as these operators take differ by so much when their order does.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
# Two builds drift apart as they learn, each by its own rounding.
LOSS_TOLERANCE = 0.02
RUNS = 30
KEPT = 4096
STEPS = 20


def operators(torch: Any, given: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    """What is compared, by name. `given(shape)` makes a tensor of 32-bit numbers on the GPU."""
    functional = torch.nn.functional
    square = given(4096, 4096)
    half = square.bfloat16()
    wide = given(4096, 8192)
    image = given(32, 64, 56, 56)
    filters = given(128, 64, 3, 3) / 24
    sequence = given(8, 12, 1024, 64)
    indices = given(1 << 20).abs().mul(1e4).long() % 4096
    small = given(256, 256)
    positive = small @ small.T + 256 * torch.eye(256, device=small.device)
    return {
        "add": lambda: square + square,
        "exp": lambda: square.exp(),
        "gelu": lambda: functional.gelu(square),
        "sum": lambda: square.sum(1),
        "cumsum": lambda: wide.cumsum(1),
        "sort": lambda: wide.sort(1).values,
        "topk": lambda: wide.topk(64, 1).values,
        "nonzero": lambda: (square > 3).nonzero(),
        "unique": lambda: indices.unique(),
        "index_select": lambda: square.index_select(0, indices[:65536]),
        "index_add": lambda: torch.zeros_like(square).index_add(0, indices[:65536], square[indices[:65536]]),
        "softmax": lambda: wide.softmax(1),
        "layer_norm": lambda: functional.layer_norm(wide, (8192,)),
        "batch_norm": lambda: functional.batch_norm(image, None, None, training=True),
        "cross_entropy": lambda: functional.cross_entropy(wide, indices[:4096], reduction="none"),
        "matmul, float32": lambda: square @ square,
        "matmul, bfloat16": lambda: half @ half,
        "conv2d": lambda: functional.conv2d(image, filters, padding=1),
        "max_pool2d": lambda: functional.max_pool2d(image, 3, 2),
        "interpolate": lambda: functional.interpolate(image, scale_factor=2, mode="bilinear"),
        "attention, float32": lambda: functional.scaled_dot_product_attention(
            sequence, sequence, sequence, is_causal=True
        ),
        "attention, bfloat16": lambda: functional.scaled_dot_product_attention(
            *[sequence.bfloat16()] * 3, is_causal=True
        ),
        "fft": lambda: torch.fft.rfft2(square).abs(),
        "cholesky": lambda: torch.linalg.cholesky(positive),
        "svdvals": lambda: torch.linalg.svdvals(small),
        "solve": lambda: torch.linalg.solve(positive, small),
        "sparse product": lambda: square.relu().sub(2).relu().to_sparse_csr() @ square[:, :256],
    }


def operator_rows(torch: Any, numpy: Any, kept: Path) -> Json:
    """Median seconds of each operator, or its error; a part of each result is written below `kept`."""
    generator = numpy.random.default_rng(1)
    # Convolutions round to 10 bits by default, where all else keeps 23.
    torch.backends.cudnn.allow_tf32 = False

    def given(*shape: int) -> Any:
        return torch.from_numpy(generator.standard_normal(shape, dtype=numpy.float32)).cuda()

    rows: Json = {}
    for name, run in operators(torch, given).items():
        try:
            result = run()
            times = []
            for _ in range(RUNS):
                torch.cuda.synchronize()
                begin = time.perf_counter()
                run()
                torch.cuda.synchronize()
                times.append(time.perf_counter() - begin)
        except Exception as error:
            rows[name] = {"error": str(error).splitlines()[0]}
            continue
        flat = result.detach().double().flatten()
        step = max(1, flat.numel() // KEPT)
        numpy.save(kept / f"{name}.npy", flat[::step].cpu().numpy())
        rows[name] = {"seconds": statistics.median(times), "numbers": flat.numel()}
    return rows


def train(torch: Any, numpy: Any) -> Json:
    """The losses of a GPT of 12 layers in bfloat16, its tokens a second, and the most memory that it took."""
    width, heads, layers, length, batch, words = 768, 12, 12, 1024, 8, 8192
    generator = numpy.random.default_rng(2)
    functional = torch.nn.functional

    class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
            self.attention, self.joined = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
            self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            parts = self.attention(self.before(x)).view(*x.shape[:2], 3, heads, width // heads)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.joined(attended.transpose(1, 2).flatten(2))
            return x + self.down(functional.gelu(self.up(self.between(x))))

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(words, width)
            self.places = torch.nn.Embedding(length, width)
            self.blocks = torch.nn.Sequential(*[Block() for _ in range(layers)])
            self.last = torch.nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
            return self.last(self.blocks(x)) @ self.words.weight.T

    model = Model()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                drawn = generator.standard_normal(tuple(parameter.shape), dtype=numpy.float32)
                parameter.copy_(torch.from_numpy(drawn) * 0.02)
    model.cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    # Each word follows from the one before, so that there is something to learn.
    first = generator.integers(0, words, (batch, 1))
    tokens = torch.from_numpy((first * 3 + 7 * numpy.arange(length + 1)) % words).cuda()
    losses, times = [], []
    torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(tokens[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - begin)
    return {
        "losses": losses,
        "tokens_per_second": batch * length / statistics.median(times[2:]),
        "most_memory_mb": torch.cuda.max_memory_allocated() // 1_000_000,
    }


def child(kept: Path) -> None:
    """All of one build, as JSON on standard output."""
    import numpy
    import torch

    report: Json = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name(),
        "architectures": torch.cuda.get_arch_list(),
        "operators": operator_rows(torch, numpy, kept),
    }
    try:
        report["training"] = train(torch, numpy)
    except Exception as error:
        report["training"] = {"error": str(error).splitlines()[0]}
    print(json.dumps(report))


def distance(one: Path, other: Path) -> float:
    """The largest difference, as a part of the largest number; infinite if the shapes differ."""
    import numpy

    a, b = numpy.load(one), numpy.load(other)
    if a.shape != b.shape:
        return float("inf")
    return float(abs(a - b).max() / max(abs(b).max(), 1e-30)) if a.size else 0.0


def table(reports: dict[str, Json], kept: Path) -> tuple[list[str], bool]:
    """The lines of the table, and whether all agrees."""
    (name, one), (other_name, other) = list(reports.items())[:2]
    lines = [
        f"| operator | {name}: {one['torch']} | {other_name}: {other['torch']} | difference |",
        "|---|---|---|---|",
    ]
    good = True
    for operator, row in one["operators"].items():
        beside = other["operators"][operator]
        cells = [r["error"] if "error" in r else f"{r['seconds'] * 1e6:.0f} µs" for r in (row, beside)]
        if "error" in row or "error" in beside:
            # What the last one cannot do either says nothing about the first.
            good = good and "error" in beside
            lines.append(f"| {operator} | {cells[0]} | {cells[1]} | |")
            continue
        apart = distance(kept / name / f"{operator}.npy", kept / other_name / f"{operator}.npy")
        good = good and apart <= TOLERANCE["bfloat16" if "bfloat16" in operator else "float32"]
        lines.append(f"| {operator} | {cells[0]} | {cells[1]} | {apart:.1e} |")
    training = [r["training"] for r in (one, other)]
    lines += ["", f"| GPT, {STEPS} steps | {name} | {other_name} |", "|---|---|---|"]
    if any("error" in t for t in training):
        return [*lines, "| failed | " + " | ".join(t.get("error", "") for t in training) + " |"], False
    for label, value in (
        ("first loss", lambda t: f"{t['losses'][0]:.4f}"),
        ("last loss", lambda t: f"{t['losses'][-1]:.4f}"),
        ("tokens a second", lambda t: f"{t['tokens_per_second']:,.0f}"),
        ("most memory, MB", lambda t: f"{t['most_memory_mb']:,}"),
    ):
        lines.append(f"| {label} | " + " | ".join(map(value, training)) + " |")
    apart = max(abs(a - b) / b for a, b in zip(*(t["losses"] for t in training), strict=True))
    return lines, good and apart <= LOSS_TOLERANCE


def main() -> None:
    """Run each build, print the table, and write everything to --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("builds", nargs="*", metavar="NAME=PYTHON")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return
    if len(arguments.builds) != 2 or not all("=" in build for build in arguments.builds):
        parser.error("write two builds, as in compiled=result/bin/python official=python3")
    with tempfile.TemporaryDirectory() as scratch:
        reports: dict[str, Json] = {}
        for build in arguments.builds:
            name, python = build.split("=", 1)
            kept = Path(scratch) / name
            kept.mkdir()
            command = [*python.split(), __file__, "--child", str(kept)]
            answer = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if answer.returncode:
                sys.exit(f"{name}: {python} ended with {answer.returncode}")
            reports[name] = json.loads(answer.stdout.splitlines()[-1])
        lines, good = table(reports, Path(scratch))
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text(json.dumps(reports, indent=1))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
