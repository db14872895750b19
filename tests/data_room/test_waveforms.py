import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from leanformer.data import shards
from leanformer.data.corpora import load_corpus
from leanformer.data.waveforms import WaveformCache, default_cache_folder
from leanformer.errors import DataError


@pytest.fixture
def corpus(tmp_path: Path, small_corpus: Path) -> Path:
    """A copy of the small corpus that a test may harm."""
    return Path(shutil.copytree(small_corpus, tmp_path / "tones"))


@pytest.fixture
def cache(tmp_path: Path) -> WaveformCache:
    return WaveformCache(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded, as it happens."""
    files: list[str] = []
    real = shards.try_decode

    def watch(source: shards.Source, speeds: tuple[float, ...]) -> shards.Decoded:
        files.append(source.path)
        return real(source, speeds)

    monkeypatch.setattr(shards, "try_decode", watch)
    return files


def pitch(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * 16_000 / len(samples)


def test_samples_are_the_files_in_the_order_of_the_cuts(corpus: Path, cache: WaveformCache) -> None:
    cuts = load_corpus(corpus, "train")
    waveforms = cache.open(CutSet.from_cuts(reversed(list(cuts))))
    assert waveforms.ids == tuple(f"tones/u{i:02}" for i in reversed(range(10)))
    for row, name in enumerate(waveforms.ids):
        expected, _ = soundfile.read(corpus / "clips" / f"{name.split('/')[1]}.wav", dtype="int16")
        assert waveforms.lengths[row, 0] == len(expected)
        assert np.abs(waveforms.read(row).astype(int) - expected).max() <= 1


def test_speed_changes_tempo_and_pitch(corpus: Path, cache: WaveformCache) -> None:
    waveforms = cache.open(load_corpus(corpus, "dev"), speeds=(1.0, 0.9, 1.1))
    plain, slow, fast = (waveforms.read(1, speed) for speed in range(3))
    assert len(slow) == pytest.approx(len(plain) / 0.9, abs=2)
    assert len(fast) == pytest.approx(len(plain) / 1.1, abs=2)
    assert pitch(plain) == pytest.approx(750, abs=1)
    assert pitch(slow) == pytest.approx(675, abs=1)
    assert pitch(fast) == pytest.approx(825, abs=1)


def test_other_rates_and_channels_become_16_khz_mono(
    tmp_path: Path, cache: WaveformCache, tone: Callable[..., np.ndarray]
) -> None:
    (tmp_path / "mine").mkdir()
    stereo = np.stack([tone(1.0, 500.0, 44_100), tone(1.0, 500.0, 44_100)], axis=1)
    soundfile.write(tmp_path / "mine" / "a.flac", stereo, 44_100)
    (tmp_path / "mine" / "a.txt").write_text("hello")
    waveforms = cache.open(load_corpus(tmp_path / "mine"), speeds=(1.0, 0.9))
    assert waveforms.lengths.tolist() == [[16_000, 17_778]]
    assert pitch(waveforms.read(0)) == pytest.approx(500, abs=1)
    assert pitch(waveforms.read(0, 1)) == pytest.approx(450, abs=1)


def test_nothing_is_decoded_twice(corpus: Path, cache: WaveformCache, decoded: list[str]) -> None:
    first = cache.open(load_corpus(corpus), speeds=(1.0, 1.1))
    assert len(decoded) == 12
    again = cache.open(load_corpus(corpus), speeds=(1.0, 1.1))
    part = cache.open(load_corpus(corpus, "dev"), speeds=(1.1,))
    assert len(decoded) == 12
    np.testing.assert_array_equal(again.read(3, 1), first.read(3, 1))
    np.testing.assert_array_equal(part.read(0), first.read(10, 1))


def test_a_new_speed_is_added_alone(corpus: Path, cache: WaveformCache, decoded: list[str]) -> None:
    cache.open(load_corpus(corpus))
    names = {path.name: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    waveforms = cache.open(load_corpus(corpus), speeds=(1.0, 0.9))
    assert len(decoded) == 24
    assert waveforms.lengths[0].tolist() == [4800, 5333]
    assert names.items() <= {path.name: path.stat().st_mtime_ns for path in cache.folder.iterdir()}.items()


def test_a_changed_file_is_decoded_anew(
    corpus: Path, cache: WaveformCache, write_clip: Callable[..., Path]
) -> None:
    cache.open(load_corpus(corpus, "dev"))
    write_clip(corpus / "clips" / "u10.wav", 0.4)
    assert cache.open(load_corpus(corpus, "dev")).lengths[0, 0] == 6400


def test_an_interrupted_build_leaves_nothing_and_starts_over(
    corpus: Path, cache: WaveformCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, seen = load_corpus(corpus, "train"), []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.open(cuts, progress=stop)
    assert seen[-1] == (5, 10)
    assert list(cache.folder.iterdir()) == []
    assert len(cache.open(cuts)) == 10


def test_killed_builds_do_not_count(corpus: Path, cache: WaveformCache, decoded: list[str]) -> None:
    """After kill -9 there may be part files, samples without an index, or a cut-off file."""
    cuts = load_corpus(corpus, "train")
    cache.open(cuts)
    (samples,) = cache.folder.glob("*.i16")
    index = samples.with_name(samples.name + ".json")
    whole, entries = samples.read_bytes(), index.read_bytes()
    for harm in ("no index", "half an index", "half the samples"):
        decoded.clear()
        samples.unlink()
        samples.write_bytes(whole[: len(whole) // 2] if harm == "half the samples" else whole)
        index.write_bytes(entries[: len(entries) // 2] if harm == "half an index" else entries)
        if harm == "no index":
            index.unlink()
        waveforms = cache.open(cuts)
        assert len(decoded) == 10, harm
        assert b"".join(waveforms.read(row).tobytes() for row in range(10)) == whole


def test_broken_recordings_are_left_out_and_told(corpus: Path, cache: WaveformCache) -> None:
    (corpus / "clips" / "u10.wav").write_text("no sound at all")
    cuts = load_corpus(corpus, "dev")
    for _ in range(2):  # once as it decodes, once from the cache
        waveforms = cache.open(cuts)
        assert waveforms.ids == ("tones/u11",)
        assert list(waveforms.broken) == ["tones/u10"]
        assert "u10.wav" in waveforms.broken["tones/u10"]
    (corpus / "clips" / "u11.wav").write_bytes(b"")
    with pytest.raises(DataError, match="none of 2 recordings"):
        cache.open(cuts)


def test_two_of_an_id_are_refused(corpus: Path, cache: WaveformCache) -> None:
    cuts = list(load_corpus(corpus, "dev"))
    with pytest.raises(DataError, match="tones/u10: two utterances"):
        cache.open(CutSet.from_cuts([*cuts, cuts[0]]))


def test_a_full_disk_is_one_clear_line(
    corpus: Path, cache: WaveformCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "_publish", full)
    with pytest.raises(DataError, match=r"cannot write the waveform cache.*No space left.*XDG_CACHE_HOME"):
        cache.open(load_corpus(corpus, "dev"))
    assert list(cache.folder.iterdir()) == []


def test_default_folder_is_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "leanformer"
