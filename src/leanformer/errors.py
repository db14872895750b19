"""Every error that Leanformer raises on purpose.

    LeanformerError                 what a caller may catch; its text is one clear line
    ├── ConfigError                 a recipe or config value is wrong
    ├── AudioError                  a sound file or stream cannot be used
    ├── DataError                   a corpus, manifest or transcript cannot be used
    ├── TokenizerError              a tokenizer is missing, broken or cannot spell a text
    ├── CheckpointError             a checkpoint is missing, truncated or of another model
    ├── BundleError                 an exported bundle is incomplete, altered or of an unknown version
    ├── CompressError               a model cannot be changed as a compress pass would
    ├── DesignError                 no model fits a budget
    ├── ExportError                 an export did not come out as it must
    └── MissingExtraError           an optional dependency is not installed

A message names the file or value, what was expected, and what to do about it. The command line prints
it on stderr without a traceback and exits with code 1.
"""


class LeanformerError(Exception):
    """Base of all errors that Leanformer raises on purpose."""


class ConfigError(LeanformerError):
    """A recipe or config value has the wrong name, type or range."""


class AudioError(LeanformerError):
    """A sound file or stream cannot be read, or its samples cannot be used."""


class DataError(LeanformerError):
    """A corpus, manifest or transcript cannot be used."""


class TokenizerError(LeanformerError):
    """A tokenizer is missing, broken, or cannot spell a text."""


class CheckpointError(LeanformerError):
    """A checkpoint is missing, truncated, or belongs to another model."""


class BundleError(LeanformerError):
    """An exported bundle lacks a part, was altered, or has an unknown version."""


class CompressError(LeanformerError):
    """A model cannot be changed as a compress pass would."""


class DesignError(LeanformerError):
    """No model that is known to the search fits a budget."""


class ExportError(LeanformerError):
    """An export did not come out as it must."""


class MissingExtraError(LeanformerError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: this command needs `pip install 'leanformer[{extra}]'`"
        )
