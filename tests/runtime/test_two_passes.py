"""A stream of two passes: words of the first at once, words of the second to stay, however the samples came."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanformer.decoder.ctc import GreedySearch
from leanformer.features.online import OnlineFbank
from leanformer.features.spec import FeatureSpec
from leanformer.runtime.partial import Partial
from leanformer.runtime.recognizer import Recognizer
from leanformer.runtime.second_pass import SecondPass
from leanformer.runtime.segmenter import Segmenter
from leanformer.runtime.session import Session
from leanformer.runtime.steps import alone
from leanformer.runtime.stream import Stream
from leanformer.runtime.transcript import Segment
from leanformer.runtime.words import Token, WordMaker
from leanformer.text.tokenizer import Tokenizer

RATE = 16_000
# As in tests/conftest.py.
CHUNK, LOOKAHEAD = 8, 3
FRAMES_PER_TOKEN, FRAMES_PER_MOVE, FRAME_SECONDS = 12, 50, 0.04
SPLIT = st.lists(st.integers(1, 20_000), min_size=1, max_size=8)
Noise = Callable[[float], np.ndarray]


@pytest.fixture(scope="module")
def recognizer(cascade_folder: Path) -> Recognizer:
    return Recognizer.load(cascade_folder)


def pieces(samples: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """The samples in pieces of these sizes, again and again."""
    start = turn = 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        yield samples[start : start + size]
        start, turn = start + size, turn + 1


def labels(first: Session, samples: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The best labels of each frame, (T,), by the first pass and by the second, of the whole recording at once."""
    fbank = OnlineFbank(FeatureSpec())
    fbank.accept(samples)
    fbank.finish()
    features = fbank.pop()
    if not len(features):
        return np.zeros(0, int), np.zeros(0, int)
    padded = np.zeros((1, -(-len(features) // 4) * 4, features.shape[1]), np.float32)
    padded[0, : len(features)] = features
    log_probs, counts, valid, _ = first.step_encoded(padded, np.array([len(features)]), first.initial_state())
    now = counts[0, : valid[0], 0]
    later = np.concatenate([now, np.zeros(LOOKAHEAD)])[LOOKAHEAD:]
    token = np.maximum(now, later) // FRAMES_PER_TOKEN
    moves = np.arange(len(now)) // FRAMES_PER_MOVE * np.sign(token)
    return log_probs[0, : valid[0]].argmax(1), ((moves - token) % size).astype(int)


def tokens(path: np.ndarray, size: int) -> list[Token]:
    """Greedy search over a path of labels."""
    search = GreedySearch()
    best = search.hypothesis(search.step(search.initial_state(), np.eye(size, dtype=np.float32)[path]))
    return [Token(token, frame) for token, frame in zip(best.tokens, best.times, strict=True)]


def timed(segments: Iterable[Segment]) -> list[list[tuple[str, float, float]]]:
    """All but the confidence, which a path of labels does not tell."""
    return [[(word.word, word.start, word.end) for word in segment.words] for segment in segments]


def spelled(found: list[Token], tokenizer: Tokenizer) -> str:
    return " ".join(word.text for word in WordMaker(tokenizer, FRAME_SECONDS).spoken(found))


@given(sizes=SPLIT)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pieces_give_the_whole_files_words(
    recognizer: Recognizer, speech: np.ndarray, sizes: list[int]
) -> None:
    stream = recognizer.stream()
    for piece in pieces(speech, [*sizes, 5_000]):
        stream.accept_waveform(piece, RATE)
    assert stream.finish() == recognizer.transcribe(speech, RATE)


@pytest.fixture(params=["two sentences", "a pause that ends none"])
def spoken(request: pytest.FixtureRequest, speech: np.ndarray, noise: Noise) -> np.ndarray:
    if request.param == "two sentences":
        return speech
    # While the second pass has not heard the end of it, the first has heard more than a second from its beginning.
    return np.concatenate([noise(1.0), np.zeros(int(0.75 * RATE), np.float32), noise(1.0)])


@pytest.mark.parametrize("chunk_ms", [40, 320, 680])
def test_final_words_and_times_are_the_second_passes(
    cascade_folder: Path, tokenizer: Tokenizer, spoken: np.ndarray, chunk_ms: int
) -> None:
    recognizer = Recognizer.load(cascade_folder, chunk_ms=chunk_ms)
    first, second = (
        tokens(path, len(tokenizer)) for path in labels(recognizer._session, spoken, len(tokenizer))
    )
    assert spelled(first, tokenizer) != spelled(second, tokenizer)
    segmenter = Segmenter(tokenizer, FRAME_SECONDS)
    segments = [segmenter.push(token) for token in second]
    transcript = recognizer.transcribe(spoken)
    segments.append(segmenter.flush(transcript.duration))
    assert timed(transcript.segments) == timed(segment for segment in segments if segment is not None)
    assert len(transcript.segments) == (2 if len(spoken) > 5 * RATE else 1)


@pytest.mark.parametrize("frames", [0, 1, 2, LOOKAHEAD, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + LOOKAHEAD, 21])
def test_an_utterance_may_be_shorter_than_the_lookahead(
    recognizer: Recognizer, tokenizer: Tokenizer, noise: Noise, frames: int
) -> None:
    # Every fourth feature frame ends an encoder frame; the last one is made of a single one.
    samples = noise((400 + 160 * max(0, 4 * frames - 4)) / RATE) if frames else noise(0.01)
    _, second = labels(recognizer._session, samples, len(tokenizer))
    assert len(second) == frames
    expected = spelled(tokens(second, len(tokenizer)), tokenizer)
    assert bool(expected) == (frames > 3)
    assert recognizer.transcribe(samples).text == expected


def test_the_tail_is_what_the_second_pass_has_not_heard(
    recognizer: Recognizer, tokenizer: Tokenizer, noise: Noise
) -> None:
    samples = noise(3.0)
    size = len(tokenizer)
    stream, seen = recognizer.stream(), set()
    for start in range(0, len(samples), 3_000):
        stream.accept_waveform(samples[start : start + 3_000], RATE)
        heard = FeatureSpec().frames(start + 3_000) // 32 * 8  # encoder frames of whole chunks of 320 ms
        covered = max(0, heard - LOOKAHEAD) // CHUNK * CHUNK
        first, second = labels(recognizer._session, samples, size)
        final = tokens(second[:covered], size)
        early = [token for token in tokens(first[:heard], size) if token.frame >= covered]
        assert stream.partial == spelled([*final, *early], tokenizer)
        seen.add((bool(final), bool(early)))
    assert len(seen) == 3  # nothing; early words alone; both


def follow(stream: Stream, samples: np.ndarray, size: int) -> list[Partial]:
    """What a stream shows after each piece, and in the end."""
    shown = []
    for piece in pieces(samples, [size]):
        stream.accept_waveform(piece, RATE)
        shown.append(stream.partial)
    stream.finish()
    return [*shown, stream.partial]


def test_what_is_stable_stays_and_what_is_not_may_change(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream()
    shown = follow(stream, speech, 1_700)
    for earlier, later in pairwise(shown):
        assert f"{later.stable} ".startswith(f"{earlier.stable} " if earlier.stable else "")
    assert len({partial.stable for partial in shown}) > 5
    assert all(partial == f"{partial.stable} {partial.tail}".strip() for partial in shown)
    # The control: the tail is taken back.
    final = stream.finish().text
    assert any(not final.startswith(partial) for partial in shown)
    assert (shown[-1], shown[-1].stable, shown[-1].tail) == (final, final, "")


def test_of_one_pass_the_last_word_may_grow_and_nothing_else(bundle_folder: Path, noise: Noise) -> None:
    stream = Recognizer.load(bundle_folder).stream()
    shown = follow(stream, noise(3.0), 1_700)
    for partial in shown[:-1]:
        assert len(partial.tail.split()) == min(1, len(partial.split()))
        assert stream.finish().text.startswith(partial)
    assert any(
        later.startswith(earlier) and later[len(earlier) :][:1].strip() for earlier, later in pairwise(shown)
    )


def test_the_first_pass_alone_is_a_bundle_of_one(
    recognizer: Recognizer, cascade_folder: Path, bundle_folder: Path, speech: np.ndarray
) -> None:
    single = Recognizer.load(bundle_folder)
    expected, shown = single.transcribe(speech), follow(single.stream(), speech, 3_000)
    alone = Recognizer.load(cascade_folder, first_pass_only=True)
    assert alone._second is None
    assert alone.transcribe(speech) == expected
    for stream in (
        recognizer.stream(first_pass_only=True),
        single.stream(first_pass_only=True),
        alone.stream(),
    ):
        assert follow(stream, speech, 3_000) == shown
        assert stream.finish() == expected
    assert recognizer.transcribe(speech) != expected


def test_taken_segments_are_complete_and_taken_once(recognizer: Recognizer, speech: np.ndarray) -> None:
    whole, stream, taken = recognizer.transcribe(speech), recognizer.stream(), []
    for piece in pieces(speech, [4_000]):
        stream.accept_waveform(piece, RATE)
        before = stream.partial
        segments = stream.take_segments()
        taken += segments
        for segment in segments:
            assert before.stable.startswith(segment.text)
            assert stream.partial == before.removeprefix(segment.text).lstrip()
    assert taken == [whole.segments[0]]
    assert stream.finish().segments == whole.segments[1:]


def test_a_second_pass_that_forgets_says_something_else(cascade_folder: Path, speech: np.ndarray) -> None:
    class Forgetful(Session):
        def step(self, frames, lengths, state, reads):  # type: ignore[no-untyped-def]
            return super().step(frames, lengths, self.initial_state(len(frames)), reads)

    recognizer = Recognizer.load(cascade_folder)
    whole = recognizer.transcribe(speech)
    assert recognizer._second is not None
    recognizer._second = Forgetful(recognizer._second.bundle, which="second")
    assert recognizer.transcribe(speech).text != whole.text


def test_frames_wait_for_their_future_and_no_longer(recognizer: Recognizer) -> None:
    assert recognizer._second is not None
    frames = np.arange(60, dtype=np.float32)[:, None]
    expected = None
    for size in (1, 5, 8, 11, 60):
        second, given, got = SecondPass(recognizer._second), 0, []
        for start in range(0, len(frames), size):
            got += alone(second.push(frames[start : start + size]))
            given = min(60, start + size)
            assert len(got) == max(0, given - LOOKAHEAD) // CHUNK
        got += alone(second.finish())
        assert [len(some) for some in got] == [8] * 7 + [4]
        assert alone(second.finish()) == []
        found = np.concatenate(got)
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found, expected)


def test_memory_does_not_grow_with_the_stream(recognizer: Recognizer, speech: np.ndarray) -> None:
    stream = recognizer.stream()

    def hear_a_while() -> int:
        stream.accept_waveform(speech, RATE)
        stream.take_segments()
        assert len(stream._flow.utterance._early.tokens) <= CHUNK + LOOKAHEAD
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        hear_a_while()
        before = hear_a_while()
        assert hear_a_while() - before < 10_000
    finally:
        tracemalloc.stop()


def test_a_partial_text_may_be_copied_and_sent() -> None:
    partial = Partial("the cat", "sat")
    for copied in (copy.deepcopy(partial), pickle.loads(pickle.dumps(partial))):
        assert (copied, copied.stable, copied.tail) == ("the cat sat", "the cat", "sat")
    assert (Partial("", "sat"), Partial("the", ""), Partial("", "")) == ("sat", "the", "")
