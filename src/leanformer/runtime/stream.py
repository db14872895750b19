"""One speaker's stream: samples in, words out, in any pieces.

    samples -> resampler -> filter bank -> whole chunks of frames -> session step -> search -> segments

With a second pass, the words of the first are shown until those of the second are there, which stay:

    session step -> search -> tail of the partial text
                 -> second pass, later -> search -> segments

The model only ever sees whole chunks, cut by counting frames from the stream's beginning, so the text does
not depend on the pieces in which the samples came. What is held between two pieces has a fixed size, but for
the segments that nobody has taken yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.samples import StreamResampler, as_float_mono, check_rate
from leanformer.decoder.search import Search
from leanformer.errors import AudioError, LeanformerError
from leanformer.features.online import OnlineFbank
from leanformer.runtime.partial import Partial
from leanformer.runtime.reader import Reader
from leanformer.runtime.searching import search_kind
from leanformer.runtime.second_pass import SecondPass
from leanformer.runtime.segmenter import Segmenter
from leanformer.runtime.session import FloatArray, Session
from leanformer.runtime.transcript import Segment, Transcript
from leanformer.runtime.words import Token
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
    ) -> None:
        manifest = session.bundle.manifest
        spec = manifest.features
        self._session = session
        self._second = None if second is None else SecondPass(second, search.reads)
        self._reads = search.reads
        self._rate = spec.sample_rate
        self._resampler: StreamResampler | None = None
        self._rate_in = 0
        self._samples_in = 0
        self._fbank = OnlineFbank(spec)
        self._chunk = np.zeros((1, round(chunk_ms / spec.shift_ms), spec.num_mel_bins), np.float32)
        self._filled = 0
        self._state = session.initial_state()
        self._early, self._final = Reader(search), Reader(search)
        self._segmenter = Segmenter(
            tokenizer,
            manifest.subsampling_factor * spec.shift_ms / 1000,
            manifest.words.times,
            manifest.words.calibration(search_kind(search)),
        )
        self._segments: list[Segment] = []
        self._transcript: Transcript | None = None

    def accept_waveform(self, samples: NDArray[Any], sample_rate: int) -> None:
        """Hear the next piece.

        Args:
            samples: (S,) or (S, channels), floats in [-1, 1] or int16; S may be 0.
            sample_rate: samples a second, the same for the whole stream.

        Raises:
            AudioError: samples of another kind, NaN or infinite, or a rate that is absurd or has changed.
            LeanformerError: the stream was finished.
        """
        if self._transcript is not None:
            raise LeanformerError("this stream is finished: call recognizer.stream() for a new one")
        samples = np.atleast_1d(samples)
        self._open_resampler(sample_rate)
        piece = int(_PIECE_SECONDS * sample_rate)
        for start in range(0, len(samples), piece):
            mono = as_float_mono(samples[start : start + piece], _NAME)
            self._samples_in += len(mono)
            self._hear(mono)

    @property
    def duration(self) -> float:
        """Seconds of audio heard so far."""
        return self._samples_in / self._rate_in if self._rate_in else 0.0

    @property
    def partial(self) -> Partial:
        """The text so far, without the segments already taken: what is `stable`, and a `tail` that may change.

        The tail is the last word, which may still grow, and with a second pass all that it has not heard yet.
        """
        early = [token for token in self._early.tokens if token.frame >= self._final.frames]
        open_text = self._segmenter.partial([*self._final.tokens, *early])
        stable = (*(segment.text for segment in self._segments), open_text.stable)
        return Partial(" ".join(text for text in stable if text), open_text.tail)

    def take_segments(self) -> tuple[Segment, ...]:
        """Give the segments that are complete, and forget them: `partial` and `finish` leave them out.

        Whoever writes a long stream's text as it goes keeps the stream's memory constant with this.
        """
        taken = tuple(self._segments)
        self._segments = []
        return taken

    def finish(self) -> Transcript:
        """Hear what is still buffered and return the transcript of all segments not taken.

        A finished stream accepts nothing more; finishing it again returns the same transcript.
        """
        if self._transcript is None:
            if self._resampler is not None:
                self._hear(np.zeros(0, np.float32), last=True)
            self._fbank.finish()
            self._buffer(self._fbank.pop())
            if self._filled:
                self._step()
            if self._second is not None:
                self._settle(self._second.finish())
            self._push(self._final.finish())
            duration = round(self.duration, 3)
            self._close(self._segmenter.flush(duration))
            self._transcript = Transcript(tuple(self._segments), duration)
        return self._transcript

    def _open_resampler(self, sample_rate: int) -> None:
        if self._resampler is None:
            check_rate(sample_rate, _NAME)
            self._resampler, self._rate_in = StreamResampler(sample_rate, self._rate), sample_rate
        elif sample_rate != self._rate_in:
            raise AudioError(
                f"{_NAME}: the rate changed from {self._rate_in} to {sample_rate} Hz within a stream; "
                "keep one rate, or begin a new stream"
            )

    def _hear(self, mono: NDArray[np.float32], last: bool = False) -> None:
        assert self._resampler is not None
        self._fbank.accept(self._resampler.push(mono, last=last))
        self._buffer(self._fbank.pop())

    def _buffer(self, frames: NDArray[np.float32]) -> None:
        """Put (n, F) frames into the chunk, and run the model whenever it is full."""
        size = self._chunk.shape[1]
        while len(frames):
            taken = frames[: size - self._filled]
            self._chunk[0, self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            frames = frames[len(taken) :]
            if self._filled == size:
                self._step()

    def _step(self) -> None:
        """Run the model on the frames in the chunk; the last chunk of a stream need not be full."""
        self._chunk[:, self._filled :] = 0
        self._filled, size = 0, np.array([self._filled], np.int64)
        if self._second is None:
            found, valid, self._state = self._session.step(self._chunk, size, self._state, self._reads)
            self._settle([found[0, : valid[0]]])
            return
        log_probs, encoded, valid, self._state = self._session.step_encoded(self._chunk, size, self._state)
        self._early.read((log_probs if self._reads == "log_probs" else encoded)[0, : valid[0]])
        self._settle(self._second.push(encoded[0, : valid[0]]))

    def _settle(self, frames: Sequence[FloatArray]) -> None:
        """Read what the last pass gave, each (T, V or D); the words of the first at these frames are of no more use."""
        for some in frames:
            self._final.read(some)
            self._push(self._final.take())
        self._early.take(before=self._final.frames)
        if not self._final.tokens:
            self._close(self._segmenter.idle(self._final.frames))

    def _push(self, tokens: Sequence[Token]) -> None:
        """Take tokens that will not change."""
        for token in tokens:
            self._close(self._segmenter.push(token))

    def _close(self, segment: Segment | None) -> None:
        if segment is not None:
            self._segments.append(segment)
