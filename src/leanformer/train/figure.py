"""The one figure of a dev pass by which a run's checkpoints are ranked: the lower, the better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DevFigure:
    """What a run is judged by: `name` in file names and logs, `title` and `form` (a format) for people."""

    name: str
    title: str
    form: str

    @property
    def logged(self) -> str:
        """Under which name a dev pass logs it."""
        return f"dev_{self.name}"

    def told(self, value: float) -> str:
        """A value of it for a person."""
        return format(value, self.form)


WER = DevFigure("wer", "WER", ".1%")
LOSS = DevFigure("loss", "loss", ".4f")
"""Of pre-training, which has no words to get wrong."""
FIGURES = (WER, LOSS)
