"""Speech in, text out: the front door of the runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanformer.audio.blocks import read_blocks
from leanformer.decoder.biasing import Hotword
from leanformer.decoder.search import Search
from leanformer.errors import AudioError, BundleError, ConfigError
from leanformer.runtime.batch import Batch
from leanformer.runtime.bundle import DEFAULT, Bundle, Precision
from leanformer.runtime.endpoint import Endpointing
from leanformer.runtime.events import Event, PartialText
from leanformer.runtime.language_model import Fusion
from leanformer.runtime.searching import (
    find_transducer,
    make_search,
    search_kind,
    usual_search,
    with_hotwords,
)
from leanformer.runtime.session import Session
from leanformer.runtime.stream import Stream
from leanformer.runtime.text_form import TextForm
from leanformer.runtime.transcript import Segment, Transcript
from leanformer.text.tokenizer import Tokenizer

DEFAULT_ENDPOINT = Endpointing()


class Recognizer:
    """A loaded model. Its streams share the weights and may run in different threads."""

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        search: Search[Any],
        chunk_ms: int | None = None,
        second: Session | None = None,
        text_form: TextForm | None = None,
    ) -> None:
        """Put the parts together; `Recognizer.load` does this for a bundle. Without `second`, there is one pass.

        Raises:
            BundleError: the tokenizer is not the model's.
            ConfigError: a chunk size that the model cannot run at.
        """
        manifest = session.bundle.manifest
        if len(tokenizer) != manifest.vocabulary_size or manifest.blank_id != tokenizer.blank_id:
            raise BundleError(
                f"{session.bundle.tokenizer_path}: {len(tokenizer)} pieces, but the model was trained with "
                f"{manifest.vocabulary_size}; put the model's own tokenizer there, or export it again"
            )
        chunk_ms = manifest.default_chunk_ms if chunk_ms is None else chunk_ms
        if not manifest.step_ms <= chunk_ms <= manifest.max_chunk_ms or chunk_ms % manifest.step_ms:
            raise ConfigError(
                f"chunk of {chunk_ms} ms: model {manifest.name!r} takes multiples of {manifest.step_ms} ms, "
                f"up to {manifest.max_chunk_ms} ms (default {manifest.default_chunk_ms})"
            )
        self._session, self._tokenizer, self._search, self._second = session, tokenizer, search, second
        self._text_form = text_form
        self.chunk_ms = chunk_ms

    @classmethod
    def load(  # noqa: PLR0913 - keywords that a user may want, each on its own
        cls,
        model: str | Path = DEFAULT,
        *,
        precision: Precision | None = None,
        threads: int = 1,
        chunk_ms: int | None = None,
        first_pass_only: bool = False,
        depth: int | None = None,
        decoder: str | None = None,
        beam: int | None = None,
        lm: str | Path | Fusion | None = None,
        hotwords: Sequence[Hotword] | Path | None = None,
        text_form: TextForm | None = None,
    ) -> Recognizer:
        """Load a bundle.

        Args:
            model: the bundle's folder, or "default" for the model that ships with Leanformer.
            precision: "int8" or "fp32"; None takes int8 if the bundle has it.
            threads: threads inside one step of the model; more pay off for large models only.
            chunk_ms: milliseconds of speech the model sees at a time: longer is more accurate, and later.
                None takes what the model was chosen for.
            first_pass_only: leave the second pass out, if there is one: final words come sooner and are worse.
            depth: how many layers of the first pass to run, of the depths that the bundle was exported for: fewer take
                less time, and hear worse. None runs all.
            decoder: "ctc" or "transducer"; None takes the first that the bundle was trained for.
            beam: how many hypotheses to keep; 1 is the greedy search. None takes 8 where there is a language model
                or hotwords, else 1.
            lm: a language model's file, or "default" for the one that ships with Leanformer; a `Fusion` says
                how much it counts, too. None takes "default" with the default model; "none" takes none.
            hotwords: for all streams: phrases, or (phrase, weight), or the path of a file of them.
            text_form: a function that puts text into the form in which it is to be read (`runtime/text_form.py`).

        Raises:
            BundleError: the bundle cannot be used.
            ConfigError: a value that this model cannot run at.
            TokenizerError: the bundle's tokenizer is broken.
        """
        bundle = Bundle.open(model).at_depth(depth, first_pass_only)
        tokenizer = Tokenizer.load(bundle.tokenizer_path)
        beam, lm = usual_search(model, beam, lm, decoder, bool(hotwords))
        search = make_search(tokenizer, beam, lm, find_transducer(bundle, decoder, threads))
        search = with_hotwords(search, hotwords, tokenizer)
        first, second = Session(bundle, precision, threads), None
        if bundle.manifest.second is not None and not first_pass_only:
            second = Session(bundle, precision, threads, "second")
        return cls(first, tokenizer, search, chunk_ms, second, text_form)

    @property
    def name(self) -> str:
        """The model's name and precision, such as "lean-12 int8"."""
        return f"{self._session.bundle.manifest.name} {self._session.precision}"

    @property
    def sample_rate(self) -> int:
        """The rate in Hz that needs no resampling."""
        return self._session.bundle.manifest.features.sample_rate

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's word-pieces."""
        return self._tokenizer

    @property
    def calibrated(self) -> bool:
        """Whether the confidence of words was fitted for this model and kind of search (`leanformer tune --words`)."""
        return search_kind(self._search) in self._session.bundle.manifest.words.confidence

    def with_search(self, search: Search[Any]) -> Recognizer:
        """The same model with another search; the weights are shared."""
        return Recognizer(
            self._session, self._tokenizer, search, self.chunk_ms, self._second, self._text_form
        )

    def stream(
        self,
        *,
        first_pass_only: bool = False,
        hotwords: Sequence[Hotword] = (),
        endpoint: Endpointing | None = None,
        batch: Batch | None = None,
    ) -> Stream:
        """A new stream: it holds only its own state. It may do without the second pass, if there is one.

        Args:
            first_pass_only: words come sooner, and are worse.
            hotwords: phrases to expect in this stream, beside those of all streams, or (phrase, weight).
            endpoint: when the speaker has finished, and the model begins anew; None for a stream without such ends.
            batch: steps this stream together with others (`runtime/batch.py`); None for one that steps by itself.

        Raises:
            ConfigError: hotwords without a beam search, or one that the model cannot write; a voice detector for
                another sample rate.
        """
        second = None if first_pass_only else self._second
        search = with_hotwords(self._search, hotwords, self._tokenizer)
        return Stream(
            self._session,
            self._tokenizer,
            search,
            self.chunk_ms,
            second,
            endpoint,
            batch,
            self._text_form,
        )

    def transcribe(
        self,
        audio: str | Path | NDArray[Any],
        sample_rate: int | None = None,
        *,
        endpoint: Endpointing | None = None,
    ) -> Transcript:
        """Transcribe a file or an array; memory does not grow with its length, but for the text.

        Args:
            audio: path of any file that libsndfile reads, or samples as for `Stream.accept_waveform`.
            sample_rate: of an array; None means the model's own rate. A file brings its own.
            endpoint: as for `stream`: recordings of minutes and hours are understood better with it.

        Raises:
            AudioError: the file cannot be read, or the samples cannot be used.
        """
        stream = self.stream(endpoint=endpoint)
        if isinstance(audio, str | Path):
            for block in read_blocks(audio, sample_rate=self.sample_rate):
                stream.accept_waveform(block, self.sample_rate)
        else:
            samples = np.asarray(audio)
            if samples.size == 0:
                raise AudioError("the array has no samples: expected (S,) or (S, channels) with S > 0")
            stream.accept_waveform(samples, sample_rate or self.sample_rate)
        return stream.finish()

    def segments(
        self,
        blocks: Iterable[NDArray[Any]],
        sample_rate: int | None = None,
        *,
        endpoint: Endpointing | None = None,
    ) -> Iterator[Segment]:
        """Transcribe blocks of samples as they come, and give each segment as soon as it is complete.

        Args:
            blocks: pieces of one recording, of any size, as for `Stream.accept_waveform`.
            sample_rate: of the blocks; None means the model's own rate.
            endpoint: as for `stream`.
        """
        # Not through `events`, which spells the open text after each block.
        stream = self.stream(endpoint=endpoint)
        for block in blocks:
            stream.accept_waveform(block, sample_rate or self.sample_rate)
            yield from stream.take_segments()
        yield from stream.finish().segments

    def events(
        self,
        blocks: Iterable[NDArray[Any]],
        sample_rate: int | None = None,
        *,
        endpoint: Endpointing | None = DEFAULT_ENDPOINT,
    ) -> Iterator[Event]:
        """Transcribe blocks of samples as they come, and tell what happens: changed text, segments, endpoints.

        Args:
            blocks: pieces of one recording, of any size, as for `Stream.accept_waveform`.
            sample_rate: of the blocks; None means the model's own rate.
            endpoint: as for `stream`; None for no endpoints.
        """
        stream = self.stream(endpoint=endpoint)
        for block in blocks:
            stream.accept_waveform(block, sample_rate or self.sample_rate)
            yield from stream.take_events()
        stream.finish()
        yield from (event for event in stream.take_events() if not isinstance(event, PartialText))
