"""The command line's frame: errors in one line, streams of every kind, help, start-up without ballast."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import tomllib
from pathlib import Path

import pytest
from commands import Outcome, call, is_refused, program
from hypothesis import example, given
from hypothesis import strategies as st

import pytorch_variants
from pytorch_variants.findings import Origin, Policy, Report
from pytorch_variants.names.variant import Variant

COMMANDS = ("lookup", "detect", "list", "inspect", "verify", "retarget", "index")
ANYTHING = st.text(st.characters(exclude_categories=()))

TEXTS = tomllib.loads(Path(__file__).with_name("bad_inputs.toml").read_text())
NO_TEXTS = ("\udcff", "a" * 10_000, "5" * 5000)
BAD = [
    *(("lookup", "--", text) for text in (*TEXTS["names"], *NO_TEXTS)),
    *(("detect", f"--gpu={text}") for text in (*TEXTS["names"], *NO_TEXTS)),
    *(("list", f"--gpu={text}") for text in (*TEXTS["names"], *NO_TEXTS)),
    *(("list", f"--cpu={text}") for text in (*TEXTS["instruction_sets"], *NO_TEXTS)),
    *(("detect", "--gpu=H100", f"--driver={text}") for text in (*TEXTS["drivers"], *NO_TEXTS)),
    *(("detect", f"--driver={text}") for text in (*TEXTS["drivers"], *NO_TEXTS)),
    *(("list", f"--cuda={text}") for text in (*TEXTS["cudas"], *NO_TEXTS)),
    *(("list", f"--system={text}") for text in (*TEXTS["systems"], *NO_TEXTS)),
    *(tuple(line.split()) for line in TEXTS["calls"]),
    *((text,) for text in ("", *NO_TEXTS)),
]


def test_there_are_enough_bad_inputs() -> None:
    assert len(set(BAD)) >= 400


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_input_is_refused_in_one_line(command: str) -> None:
    for arguments in BAD:
        if arguments[0] == command or arguments[0] not in COMMANDS:
            assert is_refused(call(*arguments)), (arguments, call(*arguments))


def ends_well(outcome: Outcome) -> bool:
    return is_refused(outcome) or (outcome.code in (0, 1) and not outcome.err)


@given(ANYTHING)
def test_any_text_is_looked_up_or_refused(text: str) -> None:
    assert ends_well(call("lookup", "--", text))


@given(ANYTHING, ANYTHING)
def test_any_text_is_detected_for_or_refused(gpu: str, driver: str) -> None:
    assert ends_well(call("detect", f"--gpu={gpu}"))
    assert ends_well(call("detect", "--gpu=H100", f"--driver={driver}"))


@given(ANYTHING, ANYTHING, ANYTHING)
def test_any_text_is_listed_or_refused(cpu: str, cuda: str, system: str) -> None:
    assert ends_well(call("list", f"--cpu={cpu}"))
    assert ends_well(call("list", f"--cuda={cuda}"))
    assert ends_well(call("list", f"--system={system}"))


@given(st.lists(ANYTHING, max_size=4))
# Found by chance: the current directory, and a file that is not there.
@example(["inspect", ""])
@example(["inspect", "nowhere"])
def test_any_arguments_are_taken_or_refused(arguments: list[str]) -> None:
    # What a completion does is the shell's affair.
    outcome = call(*arguments)
    assert ends_well(outcome), outcome


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x00" * 4096,
        b"\xff\xfe\xfa" * 100,
        b"processor : 0\n",
        b"model name : x\n",
        b"flags\n",
        b"FLAGS : avx avx2\n",
        b"\x7fELF\x02\x01\x01",
        b'{"flags": ["avx"]}',
        "Flags: ävx".encode("latin-1"),
    ],
    ids=ascii,
)
def test_a_broken_cpuinfo_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_bytes(content)
    assert is_refused(call("detect", "--cpuinfo", file))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_cpuinfo_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-cpuinfo"
    file.write_bytes(content)
    assert ends_well(call("detect", "--cpuinfo", file))
    file.write_bytes(b"model name: \xff\nflags: avx " + content)
    assert ends_well(call("detect", "--cpuinfo", file))


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path in (
        *(
            tmp_path,
            tmp_path / "nowhere",
            tmp_path / "file" / "below",
            tmp_path / "loop",
            tmp_path / "dangling",
        ),
        # These cannot be read by anybody, root included; the last one has no end.
        *("/proc/self/mem", "/proc/self/clear_refs", "a" * 5000, "", "/dev/null", "/dev/zero"),
    ):
        assert is_refused(call("detect", "--cpuinfo", path)), path


@pytest.mark.parametrize(
    "command", [("detect",), ("plan", "pytorch-sm90-avx512")], ids=lambda words: words[0]
)
def test_a_package_set_that_is_none_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "flake.nix").touch()
    for name in ("nonsense", "embedded", str(tmp_path)):
        outcome = call(*command, "--nixpkgs", name, "--flake", tmp_path)
        assert is_refused(outcome)
        assert f"--nixpkgs {name}: no nixpkgs there" in outcome.err


def test_files_that_the_other_commands_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = call("retarget", tmp_path / "file", "--gpu", "H100", "--in-place")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "not an ELF file" in outcome.err


def test_bytes_that_are_no_text() -> None:
    for arguments in (
        (b"lookup", b"\xff"),
        (b"detect", b"--cpuinfo", b"/\xff"),
        (b"\xfe",),
        (b"list", b"--cpu=\xff"),
    ):
        result = program(*arguments)
        assert result.returncode == 2
        assert result.stdout == b""
        assert result.stderr.count(b"\n") == 1
        assert rb"\udc" in result.stderr


@pytest.mark.parametrize(
    "command",
    [("list",), ("lookup", *["sm80", "sm90"] * 40), ("list", "--github-matrix"), ("--help",)],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_closed_pipe_ends_it_quietly(command: tuple[str, ...], unbuffered: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pytorch_variants", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    # As of a program that the signal SIGPIPE ended.
    assert process.wait() == 141


def test_an_interruption_ends_it_quietly(tmp_path: Path) -> None:
    """As Control-C does, while it waits for a file."""
    fifo = tmp_path / "cpuinfo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytorch_variants", "detect", "--gpu=H100", f"--cpuinfo={fifo}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell is started deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # Waits until the other side reads.
    with fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (130, "", "")


@pytest.mark.parametrize("command", ["list", "lookup H100", "list --json", "--help"])
def test_head_gets_its_line(command: str) -> None:
    result = subprocess.run(
        f"{sys.executable} -m pytorch_variants {command} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_a_full_disk_is_said_in_one_line() -> None:
    for command in ("list", "lookup H100", "list --json"):
        result = subprocess.run(
            f"{sys.executable} -m pytorch_variants {command} >/dev/full",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 2
        assert result.stderr == "pytorch-variants: standard output: No space left on device\n"


def test_closed_streams() -> None:
    for command, code in (("lookup H100 >&-", 0), ("list --json >&-", 0), ("lookup H10 2>&-", 2)):
        result = subprocess.run(
            f"{sys.executable} -m pytorch_variants {command}", shell=True, capture_output=True, check=False
        )
        assert (result.returncode, result.stderr) == (code, b"")


def on_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """What a terminal of some width is sent."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytorch_variants", *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(child)
    received = b""
    # The kernel answers EIO when the last writer has gone.
    while chunk := read(parent):
        received += chunk
    os.close(parent)
    assert process.wait() == 0, received
    return received.decode().replace("\r\n", "\n")


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("columns", [20, 40, 80, 120, 200])
def test_lines_fit_the_terminal(columns: int) -> None:
    for command in (("lookup", "L40S", "avx512"), ("list",)):
        text = on_terminal(columns, *command, NO_COLOR="1")
        assert all(len(line) <= max(columns, 32) for line in text.splitlines())
    matrix = on_terminal(columns, "list", NO_COLOR="1")
    assert ("✓" in matrix) == (columns >= 120)


def test_colours() -> None:
    assert "\x1b[1m" in on_terminal(80, "lookup", "H100")
    assert "\x1b[2m" in on_terminal(80, "lookup", "H100")
    assert "\x1b" not in on_terminal(80, "lookup", "H100", NO_COLOR="1")
    assert b"\x1b" not in program("lookup", "H100").stdout


def test_a_terminal_that_shows_ascii_only() -> None:
    result = program("detect", "--help", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert result.returncode == 0
    result.stdout.decode("ascii")
    assert " x " in on_terminal(120, "list", PYTHONIOENCODING="ascii")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_is_a_call_of_the_command(command: str) -> None:
    outcome = call(command, "--help")
    assert outcome.code == 0
    assert f"Example: pytorch-variants {command} " in " ".join(outcome.out.split())
    assert "--json" in outcome.out
    assert "Arguments:" in outcome.out or command in ("detect", "list")


def test_no_arguments_show_the_help() -> None:
    assert call() == call("--help")
    assert all(command in call().out for command in COMMANDS)


COMPLETIONS = [
    ("pytorch-variants lo", "lookup"),
    ("pytorch-variants lookup H1", "H100"),
    ("pytorch-variants lookup rtx", "RTX 4090"),
    ("pytorch-variants list --cpu amx", "amx"),
    ("pytorch-variants retarget x --gpu sm9", "sm90"),
    ("pytorch-variants lock up", "update"),
]


@pytest.mark.parametrize(("line", "word"), COMPLETIONS)
def test_bash_completes(line: str, word: str, tmp_path: Path) -> None:
    """By the function that the printed code defines, called as bash calls it."""
    program_file = tmp_path / "pytorch-variants"
    program_file.write_text(f'#!/bin/sh\nexec {sys.executable} -m pytorch_variants "$@"\n')
    program_file.chmod(0o755)
    words = line.split(" ")
    script = f"""
eval "$(pytorch-variants --show-completion bash)"
COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
read -ra registered <<<"$(complete -p pytorch-variants)"
for i in "${{!registered[@]}}"; do [ "${{registered[i]}}" = -F ] && function=${{registered[i+1]}}; done
$function pytorch-variants
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    result = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert word in result.stdout.splitlines()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(("line", "word"), COMPLETIONS)
def test_other_shells_are_told(line: str, word: str, shell: str) -> None:
    """By what the code that is printed for them asks for."""
    code = call("--show-completion", shell).out
    assert f"_PYTORCH_VARIANTS_COMPLETE={shell}_complete" in code
    # fish says the word that is being written, and the words before it.
    words = line.rpartition(" ")[0] if shell == "fish" else line
    last = line.rpartition(" ")[2] if shell == "fish" else str(line.count(" "))
    result = program(
        _PYTORCH_VARIANTS_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=last
    ).stdout.decode()
    # What fish shows beside a word follows a tab.
    found = [entry.partition("\t")[0] for entry in result.splitlines()]
    assert (f"plain,{word}" if shell == "fish" else word) in found


def test_the_version() -> None:
    assert call("--version").out == f"pytorch-variants {pytorch_variants.__version__}\n"


def test_no_command_waits_for_what_it_does_not_use() -> None:
    """rich is for people, NVML and the disassembler are for those commands that ask them."""
    script = """
import sys
from pytorch_variants.cli import run
assert run(sys.argv[1:]) == 0
heavy = ("rich", "pynvml", "capstone", "packaging", "pydantic", "xml")
print([name for name in heavy if name in sys.modules])
"""
    for arguments, loaded in (
        (("list", "--github-matrix"), []),
        (("lookup", "H100", "--json"), []),
        (("lookup", "H100"), ["rich"]),
        (("list",), ["rich"]),
    ):
        output = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
        ).stdout
        assert output.splitlines()[-1] == str(loaded)


@pytest.mark.parametrize(
    ("arguments", "origin"),
    [
        (("pytorch-sm90-avx512",), Origin.SOURCE),
        (("pytorch-cpu-avx2",), Origin.SOURCE),
        (("pytorch-bin-sm90",), Origin.WHEEL),
        (("pytorch-bin-cuda13_0-sm90",), Origin.WHEEL),
        (("pytorch-sm90-avx512", "--origin", "wheel"), Origin.WHEEL),
        (("pytorch-bin-sm90", "--origin", "source"), Origin.SOURCE),
    ],
)
def test_a_name_says_how_a_build_was_made(
    arguments: tuple[str, ...], origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(environment: Path, variant: Variant, made: Origin, *_: object) -> Report:
        return Report(variant.name, made, (), Policy())

    monkeypatch.setattr("pytorch_variants.verify.static.verify", verify)
    assert json.loads(call("verify", tmp_path, "--variant", *arguments, "--json").out)["origin"] == origin
