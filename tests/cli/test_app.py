"""Exit codes, one-line errors, and verbs that cost nothing until they are called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from leanformer.cli import app as app_module
from leanformer.cli.app import VERBS, Verb, main
from leanformer.cli.outcome import UsageError
from leanformer.errors import DataError

# A verb that prints, for a process of its own.
PROBE = """
from leanformer.cli import app
from leanformer.cli.app import Verb, main
sys.modules["leanformer.cli.attempt"] = module = type(sys)("leanformer.cli.attempt")
module.attempt = lambda: print("something")
app.VERBS = (Verb("attempt", "Try something."),)
"""


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes `leanformer attempt` do what it is told to."""

    def make(action: Callable[[], object], extra: str | None = None) -> None:
        module = type(sys)("leanformer.cli.attempt")
        module.attempt = action  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "leanformer.cli.attempt", module)
        monkeypatch.setattr(app_module, "VERBS", (*VERBS, Verb("attempt", "Try something.", extra)))

    return make


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def buffered() -> dict[str, str]:
    """The environment without a setting that would hide failures of Python's last flush."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from leanformer.cli.app import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("clips/a.wav: no transcript;\nadd one"), 1, "clips/a.wav: no transcript; add one"),
        (UsageError("--a and --b exclude each other"), 2, "--a and --b exclude each other"),
        (OSError(28, "No space left on device", "out.txt"), 1, "out.txt: No space left on device"),
    ],
)
def test_errors_are_one_line(
    verb: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    message: str,
) -> None:
    verb(raising(error))
    assert main(["attempt"]) == code
    assert capsys.readouterr().err == f"leanformer: error: {message}\n"


def test_interruption_is_quiet(verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    verb(raising(KeyboardInterrupt()))
    assert main(["attempt"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_mistake_of_ours_keeps_its_traceback(verb: Callable[..., None]) -> None:
    verb(raising(ZeroDivisionError("x")))
    with pytest.raises(ZeroDivisionError):
        main(["attempt"])


def test_what_a_verb_returns_is_the_exit_code(verb: Callable[..., None]) -> None:
    verb(lambda: 1)
    assert main(["attempt"]) == 1
    verb(lambda: None)
    assert main(["attempt"]) == 0


def test_a_missing_extra_is_named_with_its_cure(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda: __import__("package_of_no_one.part"), extra="train")
    assert main(["attempt"]) == 1
    message = "package_of_no_one is not installed: this command needs `pip install 'leanformer[train]'`"
    assert capsys.readouterr().err == f"leanformer: error: {message}\n"


def test_a_broken_import_is_no_missing_extra(verb: Callable[..., None]) -> None:
    verb(lambda: __import__("leanformer.nothing"), extra="train")
    with pytest.raises(ModuleNotFoundError, match=r"leanformer\.nothing"):
        main(["attempt"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trnscribe"], "unknown command 'trnscribe': did you mean 'transcribe'?"),
        (["qqq"], "unknown command 'qqq': the commands are transcribe, mic, evaluate, "),
        (["transcribe"], "requires an argument. See `leanformer transcribe --help`."),
        (["transcribe", "a.wav", "--frmat", "json"], "Unknown option: --frmat. Did you mean --format?"),
        (["transcribe", "a.wav", "--jobs", "0"], "Invalid value \"0\" for --jobs"),
        (["transcribe", "a.wav", "--format", "doc"], "Invalid value"),
    ],
)  # fmt: skip
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_help_lists_all_verbs_and_imports_none() -> None:
    code = (
        "import sys; from leanformer.cli.app import main; main(['--help']);"
        "print(*[name for name in sys.modules if name.startswith('leanformer.')], 'numpy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    help_text, loaded = out.rstrip().rsplit("\n", 1)
    assert all(verb.name in help_text for verb in VERBS)
    assert set(loaded.split()) == {
        "leanformer.cli", "leanformer.cli.app", "leanformer.cli.outcome", "leanformer.errors", "False"
    }  # fmt: skip


def test_an_unknown_verb_does_not_import_the_others() -> None:
    # Cyclopts' own message would, and then fail in an installation without extras.
    code = "import sys; from leanformer.cli.app import main; main(['qqq']); print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.count(".")) == (0, 2)


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = f"import sys\n{PROBE}\nsys.exit(main(['attempt']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, env=buffered(), check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_standard_output() -> None:
    code = f"import sys\n{PROBE}\nsys.exit(main(['attempt']))"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=buffered(),
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "leanformer: error: No space left on device\n")
