"""What a person sees of a run: a bar on a terminal, else a line now and then.

step   200/11000  loss 5.821  ctc 5.580  phone 3.045  gradient_norm 3.69  rate 7.5e-04  187x real time  51 min left
step   500/11000  dev: WER 98.9 %, ctc 5.400 (best 98.9 % at step 500)
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from leanformer.train.checkpoint import Saved
from leanformer.train.figure import WER, DevFigure

_LOG = logging.getLogger(__name__)
MOST_STEPS_BETWEEN_LINES = 100
FEWEST_LINES = 20
SAMPLE_RATE = 16_000
_BAR_INTERVAL_SECONDS = 0.5


@dataclass
class Figures:
    """Where a run stands."""

    max_steps: int
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0
    times_real_time: float | None = None
    seconds_left: float | None = None
    dev: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int = 0
    figure: DevFigure = WER
    """Which of `dev` the run is judged by; `best` is the best of it."""

    @property
    def heading(self) -> str:
        """The step, aligned."""
        return f"step {self.step:>{len(str(self.max_steps))}}/{self.max_steps}"

    def train_line(self) -> str:
        """The figures of training, in one line."""
        told = [self.heading, *(f"{name} {value:#.4g}" for name, value in self.metrics.items())]
        told.append(f"rate {self.rate:.1e}")
        if self.times_real_time is not None:
            told.append(f"{self.times_real_time:.0f}x real time")
        if self.seconds_left is not None:
            told.append(f"{duration(self.seconds_left)} left")
        return "  ".join(told)

    def dev_line(self) -> str:
        """The figures of a dev pass, in one line."""
        figure = self.figure
        others = "".join(f", {name} {value:#.4g}" for name, value in self.dev.items() if name != figure.name)
        best = "" if self.best is None else f" (best {figure.told(self.best)} at step {self.best_step})"
        return f"{self.heading}  dev: {figure.title} {figure.told(self.dev[figure.name])}{others}{best}"

    def short(self) -> str:
        """What stands beside a bar."""
        told = [f"loss {self.metrics['loss']:.3f}"] if "loss" in self.metrics else []
        figure = self.figure
        if self.best is not None and figure.name in self.dev:
            now = figure.told(self.dev[figure.name])
            told.append(f"dev {figure.title} {now} (best {figure.told(self.best)})")
        if self.times_real_time is not None:
            told.append(f"{self.times_real_time:.0f}x real time")
        if self.seconds_left is not None:
            told.append(f"{duration(self.seconds_left)} left")
        return "  ".join(told)


class Display(Protocol):
    """Shows figures to a person."""

    def start(self, figures: Figures) -> None:
        """Training begins."""

    def step(self, figures: Figures) -> None:
        """A step was made; the figures may be a little old."""

    def line(self, figures: Figures) -> None:
        """It is time for a line."""

    def dev(self, figures: Figures) -> None:
        """A dev pass ended."""

    def stop(self) -> None:
        """Training ended, however it did."""


class Lines:
    """Plain lines in the log."""

    def start(self, figures: Figures) -> None:
        """Nothing to do."""

    def step(self, figures: Figures) -> None:
        """Nothing to show."""

    def line(self, figures: Figures) -> None:
        """Show the figures of training."""
        _LOG.info("%s", figures.train_line())

    def dev(self, figures: Figures) -> None:
        """Show the figures of the dev pass."""
        _LOG.info("%s", figures.dev_line())

    def stop(self) -> None:
        """Nothing to do."""


class Bar:
    """A progress bar on standard error; dev passes leave a line above it."""

    def __init__(self, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
        )
        # Standard error goes through the bar, so that warnings stand above it.
        self._progress = Progress(*columns, console=console or Console(stderr=True), redirect_stdout=False)
        self._task: Any = None

    def start(self, figures: Figures) -> None:
        """Draw the bar."""
        self._task = self._progress.add_task(
            "training", total=figures.max_steps, completed=figures.step, told=""
        )
        self._progress.start()

    def step(self, figures: Figures) -> None:
        """Move on."""
        self._progress.update(self._task, completed=figures.step, told=figures.short())

    def line(self, figures: Figures) -> None:
        """The bar says it."""

    def dev(self, figures: Figures) -> None:
        """Leave a line above the bar."""
        self.step(figures)
        self._progress.console.print(figures.dev_line(), highlight=False)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class Monitor(Callback):
    """Measures a run, hands the figures to a display, and logs how fast it trains.

    Args:
        display: where the figures go.
        best: the best checkpoint so far of a run that is resumed.
        figure: of the dev passes, by which the run is judged.
    """

    def __init__(self, display: Display, best: Saved | None = None, figure: DevFigure = WER) -> None:
        self.display = display
        self.figures = Figures(0, figure=figure)
        if best is not None:
            self.figures.best, self.figures.best_step = best.score, best.step
        self._every = MOST_STEPS_BETWEEN_LINES
        self._first_step = 0
        self._started = self._window_started = self._drawn = 0.0
        self._audio_samples: Any = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clocks."""
        self.figures.max_steps, self.figures.step = trainer.max_steps, trainer.global_step
        self._every = max(1, min(MOST_STEPS_BETWEEN_LINES, trainer.max_steps // FEWEST_LINES))
        self._first_step = trainer.global_step
        self._started = time.monotonic()
        self._open_window()
        self.display.start(self.figures)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the audio; show and log when it is time."""
        figures, now = self.figures, time.monotonic()
        self._audio_samples = (
            self._audio_samples + batch.lengths.sum()
        )  # a tensor: reading it would wait for a GPU
        figures.step = trainer.global_step
        is_line = figures.step % self._every == 0
        if not is_line and now - self._drawn < _BAR_INTERVAL_SECONDS:
            return
        self._drawn = now
        self._measure(trainer, now)
        self.display.step(figures)
        if is_line:
            self.display.line(figures)
            pl_module.log("train/times_real_time", figures.times_real_time)
            self._open_window()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Stop counting: a dev pass is no training."""
        self._paused = time.monotonic()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Show the figures of the dev pass."""
        self._window_started += time.monotonic() - self._paused
        figures = self.figures
        measured = trainer.callback_metrics
        figures.dev = {k.removeprefix("dev/"): float(v) for k, v in measured.items() if k.startswith("dev/")}
        figures.dev[figures.figure.name] = score = float(measured[figures.figure.logged])
        if figures.best is None or score <= figures.best:
            figures.best, figures.best_step = score, trainer.global_step
        self.display.dev(figures)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Let go of the terminal."""
        self.display.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Let go of the terminal."""
        self.display.stop()

    def _open_window(self) -> None:
        self._window_started = time.monotonic()
        self._audio_samples = 0

    def _measure(self, trainer: Any, now: float) -> None:
        figures = self.figures
        shown = {k: v for k, v in trainer.callback_metrics.items() if k == "loss" or k.startswith("train/")}
        shown.pop("train/times_real_time", None)
        ordered = sorted(shown, key=lambda name: name != "loss")
        figures.metrics = {name.removeprefix("train/"): float(shown[name]) for name in ordered}
        figures.rate = trainer.optimizers[0].param_groups[0]["lr"]
        figures.times_real_time = (
            float(self._audio_samples) / SAMPLE_RATE / max(1e-9, now - self._window_started)
        )
        made = figures.step - self._first_step
        figures.seconds_left = (now - self._started) / max(1, made) * (figures.max_steps - figures.step)


def duration(seconds: float) -> str:
    """A time for a person: "45 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
