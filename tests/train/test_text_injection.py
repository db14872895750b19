"""Text injection: the bank gives back what was heard, and tokens are placed where their sounds end."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leanformer.data.phones import PHONES, phone_id
from leanformer.data.sentences import Lexicon, Sentences
from leanformer.model import NUM_PHONES
from leanformer.text.tokenizer import Tokenizer, train_tokenizer
from leanformer.train.objective import placed_loss
from leanformer.train.recipe import TextConfig
from leanformer.train.text_injection import LONGEST_SLOTS, STRETCHES, PosteriorBank, TextSpeaker, _rising

LINES = ["the cat sat on the mat", "a dog ran to the red house", "we see the sea"] * 5


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(LINES, 40, "bpe")


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def one_hot_bank(slots: int = 3) -> PosteriorBank:
    """Every phone once, `slots` slots long, heard without any doubt."""
    bank = PosteriorBank()
    labels = np.repeat(np.arange(1, len(PHONES) + 1), slots)[None]
    bank.add(np.eye(NUM_PHONES, dtype=np.float32)[labels], labels)
    return bank


def make_speaker(text_file: Path, tokenizer: Tokenizer, **config: int) -> TextSpeaker:
    speaker = TextSpeaker(TextConfig(files=("x",), **config), Sentences([text_file]), tokenizer, 2)
    speaker.bank = one_hot_bank()
    return speaker


def test_a_bank_is_ready_once_every_phone_was_heard() -> None:
    bank = PosteriorBank()
    assert not bank.is_ready()
    assert one_hot_bank().is_ready()


def test_a_bank_speaks_the_phones_in_order() -> None:
    wanted = [phone_id(name) for name in ("K", "AE", "T")]
    spoken = one_hot_bank().speak(wanted, np.random.default_rng(0))
    assert spoken.argmax(axis=1).tolist() == [phone for phone in wanted for _ in range(3)]


def test_clarity_mixes_what_was_heard_with_what_was_meant() -> None:
    bank = PosteriorBank()
    heard = np.full((1, 2, NUM_PHONES), 1.0 / NUM_PHONES, np.float32)
    bank.add(heard, np.array([[7, 7]]))
    for clarity in (0.0, 0.4, 1.0):
        spoken = bank.speak([7], np.random.default_rng(0), clarity)
        np.testing.assert_allclose(spoken.sum(axis=1), 1.0, atol=1e-2)  # the bank keeps half precision
        np.testing.assert_allclose(spoken[:, 7], clarity + (1 - clarity) / NUM_PHONES, atol=1e-3)


def test_a_bank_keeps_no_stretch_across_labels_and_cuts_the_longest() -> None:
    bank = PosteriorBank()
    labels = np.array([[2, 2, 0, 2, 3] + [4] * (LONGEST_SLOTS + 5)])
    bank.add(np.zeros((*labels.shape, NUM_PHONES), np.float32), labels)
    assert bank.added[[0, 2, 3, 4]].tolist() == [0, 2, 1, 1]
    assert bank.slots[2, :2].tolist() == [2, 1]
    assert bank.slots[4, 0] == LONGEST_SLOTS


def test_a_bank_forgets_the_oldest() -> None:
    bank = PosteriorBank()
    for value in range(STRETCHES + 1):
        bank.add(np.full((1, 1, NUM_PHONES), value, np.float32), np.array([[5]]))
    kept = bank.stretches[5, :, 0, 0]
    assert 0.0 not in kept
    assert float(STRETCHES) in kept


def test_a_bank_goes_through_a_checkpoint() -> None:
    bank, copy = one_hot_bank(), PosteriorBank()
    copy.load_state_dict(bank.state_dict())
    for name, value in vars(bank).items():
        np.testing.assert_array_equal(value, getattr(copy, name))


def test_a_batch_spells_what_it_says(text_file: Path, tokenizer: Tokenizer) -> None:
    """Each word's last token stands in the frame in which the word's last phone ends."""
    speaker = make_speaker(text_file, tokenizer, rows=3, frames=60)
    batch = speaker.batch((1, 2))
    lexicon = Lexicon()
    for row in range(3):
        count = int(batch.target_lengths[row])
        words = tokenizer.decode(batch.targets[row, :count].tolist()).split()
        heard = batch.posteriors[row].flatten(0, 1).argmax(dim=1)[: 2 * int(batch.lengths[row])].tolist()
        phones = [heard[i] for i in range(0, len(heard), 3)]  # every phone lasts three slots
        spoken = [p for p in phones if PHONES[p - 1] != "SIL" and p]
        variants = [
            [[phone_id(s.rstrip("012")) for s in v] for v in lexicon._entries[word]] for word in words
        ]
        assert _spells(spoken, variants)


def _spells(spoken: list[int], variants: list[list[list[int]]]) -> bool:
    if not variants:
        return not spoken
    return any(spoken[: len(v)] == v and _spells(spoken[len(v) :], variants[1:]) for v in variants[0])


def test_places_rise_and_stay_within_the_row(text_file: Path, tokenizer: Tokenizer) -> None:
    batch = make_speaker(text_file, tokenizer, rows=8, frames=40).batch((0,))
    for places, count, length in zip(batch.places, batch.target_lengths, batch.lengths, strict=True):
        used = places[: int(count)]
        assert (used.diff() > 0).all()
        assert int(used.max()) < int(length)


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(20, 40))
def test_rising(places: list[int], frames: int) -> None:
    pushed = _rising(np.sort(np.asarray(places, np.int64)), frames)
    assert (np.diff(pushed) > 0).all()
    assert all(0 <= place < frames for place in pushed)


def test_batches_are_functions_of_their_seed(text_file: Path, tokenizer: Tokenizer) -> None:
    speaker = make_speaker(text_file, tokenizer, rows=2, frames=50)
    first, same, other = speaker.batch((0, 1)), speaker.batch((0, 1)), speaker.batch((0, 2))
    assert torch.equal(first.posteriors, same.posteriors)
    assert torch.equal(first.targets, same.targets)
    assert not torch.equal(first.posteriors, other.posteriors)


def test_the_placed_loss_is_least_on_the_path() -> None:
    targets, places = torch.tensor([[3, 5, 0]]), torch.tensor([[1, 4, 0]])
    lengths, target_lengths = torch.tensor([6]), torch.tensor([2])
    path = torch.tensor([[0, 3, 0, 0, 5, 0, 7]])  # the frame after the end may hold anything
    good = torch.nn.functional.one_hot(path, 8).float().mul(50).log_softmax(dim=-1)
    assert placed_loss(good, lengths, targets, target_lengths, places) < 1e-6
    bad = good.clone()
    bad[0, 4] = good[0, 3]
    assert placed_loss(bad, lengths, targets, target_lengths, places) > 5.0


def test_a_batch_is_as_clear_as_it_is_asked_to_be(text_file: Path, tokenizer: Tokenizer) -> None:
    config = TextConfig(files=("x",), clarity=(1.0, 1.0))
    speaker = TextSpeaker(config, Sentences([text_file]), tokenizer, 2)
    labels = np.arange(1, len(PHONES) + 1)[None]
    speaker.bank.add(np.full((1, len(PHONES), NUM_PHONES), 1 / NUM_PHONES, np.float32), labels)
    for clarity in (0.0, 0.5, 1.0):
        heard = speaker.batch((1,), clarity).posteriors.amax(dim=-1)
        expected = clarity + (1 - clarity) / NUM_PHONES
        assert heard[heard > 0].numpy() == pytest.approx(expected, abs=1e-3)
