"""`--text-form MODULE:FUNCTION`: a function of the user's, found by name."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from leanformer.cli.outcome import UsageError
from leanformer.runtime.text_form import TextForm


def find_text_form(name: str) -> TextForm:
    """The function that "package.module:function" names; the folder one stands in counts as installed.

    Raises:
        UsageError: there is no such module or function, or the module cannot be imported.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise UsageError(f"--text-form {name}: expected MODULE:FUNCTION, such as my_text:capitals")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last: what is installed is not hidden by what lies about
    try:
        found = getattr(import_module(module), function, None)
    except Exception as error:
        raise UsageError(
            f"--text-form {name}: module {module!r} cannot be imported ({type(error).__name__}: {error}); "
            f"expected {module.replace('.', '/')}.py here, or an installed module"
        ) from error
    if not callable(found):
        raise UsageError(f"--text-form {name}: module {module!r} has no function {function!r}")
    form: TextForm = found
    return form
