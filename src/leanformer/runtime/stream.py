"""One speaker's stream: samples in, words out, in any pieces.

    samples -> resampler -> flow: filter bank -> utterances -> tokens -> segments

The model only ever sees whole chunks, cut by counting frames from an utterance's beginning, and utterances are cut by
counting samples from the stream's, so the text does not depend on the pieces in which the samples came. What is held
between two pieces has a fixed size, but for the segments and endpoints that nobody has taken yet, and the samples that
wait for their batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.samples import StreamResampler, as_float_mono, check_rate
from leanformer.decoder.search import Search
from leanformer.errors import AudioError, LeanformerError
from leanformer.runtime.batch import Batch
from leanformer.runtime.endpoint import Endpointing
from leanformer.runtime.events import Endpoint, Event, Final, PartialText
from leanformer.runtime.flow import Cut, Flow, Found, Unbroken
from leanformer.runtime.partial import NOTHING, Partial
from leanformer.runtime.searching import search_kind
from leanformer.runtime.segmenter import LONGEST_SECONDS, Segmenter
from leanformer.runtime.session import Session
from leanformer.runtime.steps import Steps
from leanformer.runtime.text_form import TextForm
from leanformer.runtime.transcript import Segment, Transcript
from leanformer.runtime.utterance import Utterance
from leanformer.runtime.words import Token
from leanformer.runtime.work import Work, advance
from leanformer.text.tokenizer import Tokenizer

_PIECE_SECONDS = 1  # a long array is worked through in pieces, so that only one piece is held twice
_NAME = "the samples"


class Stream:
    """Made by `Recognizer.stream()`. Not for several threads at once; make a stream for each."""

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        search: Search[Any],
        chunk_ms: int,
        second: Session | None = None,
        endpoint: Endpointing | None = None,
        batch: Batch | None = None,
        text_form: TextForm | None = None,
    ) -> None:
        manifest = session.bundle.manifest
        spec, factor = manifest.features, manifest.subsampling_factor
        self._rate = spec.sample_rate
        self._resampler: StreamResampler | None = None
        self._rate_in = 0
        self._samples_in = 0
        begin = partial(Utterance, session, search, round(chunk_ms / spec.shift_ms), second)
        self._flow: Flow = Unbroken(begin, spec) if endpoint is None else Cut(begin, spec, factor, endpoint)
        longest = LONGEST_SECONDS if endpoint is None else endpoint.longest
        self._segmenter = Segmenter(
            tokenizer,
            factor * spec.shift_ms / 1000,
            manifest.words.times,
            manifest.words.calibration(search_kind(search)),
            longest,
            text_form,
        )
        self._done: list[Segment | Endpoint] = []
        self._told = NOTHING
        self._ended = False
        self._transcript: Transcript | None = None
        self._work, self._batch = Work(), batch
        if batch is not None:
            batch.join(self._work)

    def accept_waveform(self, samples: NDArray[Any], sample_rate: int) -> None:
        """Hear the next piece; in a batch, queue it for `batch.step`.

        Args:
            samples: (S,) or (S, channels), floats in [-1, 1] or int16; S may be 0.
            sample_rate: samples a second, the same for the whole stream.

        Raises:
            AudioError: samples of another kind, NaN or infinite, or a rate that is absurd or has changed.
            LeanformerError: the stream was finished.
        """
        if self._ended:
            raise LeanformerError("this stream is finished: call recognizer.stream() for a new one")
        samples = np.atleast_1d(samples)
        self._open_resampler(sample_rate)
        piece = int(_PIECE_SECONDS * sample_rate)
        for start in range(0, len(samples), piece):
            # A copy: the caller may fill the same array again before the batch steps.
            mono = as_float_mono(samples[start : start + piece], _NAME).copy()
            self._samples_in += len(mono)
            self._do(self._hear(mono))

    @property
    def duration(self) -> float:
        """Seconds of audio accepted so far."""
        return self._samples_in / self._rate_in if self._rate_in else 0.0

    @property
    def partial(self) -> Partial:
        """The text so far, without the segments already taken: what is `stable`, and a `tail` that may change.

        The tail is the last word, which may still grow, and with a second pass all that it has not heard yet.
        """
        open_text = self._segmenter.partial(self._flow.utterance.tokens)
        stable = (*(segment.text for segment in self._segments), open_text.stable)
        return Partial(" ".join(text for text in stable if text), open_text.tail)

    def take_segments(self) -> tuple[Segment, ...]:
        """Give the segments that are complete, and forget them: `partial` and `finish` leave them out.

        Whoever writes a long stream's text as it goes keeps the stream's memory constant with this.
        """
        taken = tuple(self._segments)
        self._done = []
        return taken

    def take_events(self) -> tuple[Event, ...]:
        """Give what has happened since the last call, and forget it, as `take_segments` does.

        Segments that are complete and endpoints, in order; then the text of the open segment, if it has changed.
        """
        events: list[Event] = [Final(one) if isinstance(one, Segment) else one for one in self._done]
        self._done = []
        if any(isinstance(event, Final) for event in events):
            self._told = (
                NOTHING  # what was told of is now complete; what is open may begin with the same words
            )
        if (text := self.partial) != self._told:
            events.append(PartialText(text, round(self.duration, 3)))
        self._told = text
        return tuple(events)

    @property
    def waiting(self) -> bool:
        """Whether it has something to hear that waits for `batch.step`; never without a batch."""
        return self._work.step is not None

    def end(self) -> None:
        """Say that no more samples follow. In a batch, `batch.step` then hears what is left."""
        if not self._ended:
            self._ended = True
            self._do(self._finish())

    def finish(self) -> Transcript:
        """Hear what is still buffered and return the transcript of all segments not taken.

        A finished stream accepts nothing more; finishing it again returns the same transcript. In a batch, all streams
        move on until this one has heard everything.
        """
        if self._transcript is None:
            self.end()
            while self.waiting:
                self._step()
            self._work.check()
            self._transcript = Transcript(self._segments, round(self.duration, 3))
        return self._transcript

    def close(self) -> None:
        """Leave in the middle: what was not heard yet is forgotten. Segments that are complete are still there."""
        self._ended = True
        self._work.clear()

    @property
    def _segments(self) -> tuple[Segment, ...]:
        return tuple(one for one in self._done if isinstance(one, Segment))

    def _open_resampler(self, sample_rate: int) -> None:
        if self._resampler is None:
            check_rate(sample_rate, _NAME)
            self._resampler, self._rate_in = StreamResampler(sample_rate, self._rate), sample_rate
        elif sample_rate != self._rate_in:
            raise AudioError(
                f"{_NAME}: the rate changed from {self._rate_in} to {sample_rate} Hz within a stream; "
                "keep one rate, or begin a new stream"
            )

    def _do(self, steps: Steps[None]) -> None:
        self._work.add(steps)
        while self._batch is None and self.waiting:
            self._step()
        self._work.check()

    def _step(self) -> None:
        if self._batch is None:
            advance([self._work])
        else:
            self._batch.step()

    def _hear(self, mono: NDArray[np.float32], last: bool = False) -> Steps[None]:
        assert self._resampler is not None
        yield from self._flow.hear(self._resampler.push(mono, last=last), self._follow)

    def _finish(self) -> Steps[None]:
        if self._resampler is not None:
            yield from self._hear(np.zeros(0, np.float32), last=True)
        yield from self._flow.finish(self._follow)
        self._close(self._segmenter.flush(round(self.duration, 3)))

    def _follow(self, found: Found) -> None:
        if isinstance(found, Endpoint):
            self._close(self._segmenter.flush())
            self._done.append(found)
        else:
            self._push(found)

    def _push(self, tokens: Sequence[Token]) -> None:
        """Take tokens that will not change."""
        for token in tokens:
            self._close(self._segmenter.push(token))
        if not self._flow.utterance.open:
            self._close(self._segmenter.idle(self._flow.utterance.read))

    def _close(self, segment: Segment | None) -> None:
        if segment is not None:
            self._done.append(segment)
