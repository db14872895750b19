"""A part of the training speech: the same for the same seed, of all speakers, and each part within the larger ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, SupervisionSegment

from leanformer.data.subset import only_hours
from leanformer.errors import ConfigError, DataError
from leanformer.train.overrides import load_recipe
from leanformer.train.prepare import read_train
from leanformer.train.recipe import CorporaConfig

DATA = Path(__file__).parents[1] / "data"
HOUR = 3600.0


def speech(speakers: int = 10, each: int = 30) -> CutSet:
    """Recordings of 36 s, speaker by speaker: 0.01 h each."""
    return CutSet.from_cuts(
        MonoCut(
            f"{s}-{n}", 0, 36.0, 0, [SupervisionSegment(f"{s}-{n}", f"{s}-{n}", 0, 36.0, speaker=f"s{s}")]
        )
        for s in range(speakers)
        for n in range(each)
    )


def ids(cuts: CutSet) -> set[str]:
    return {cut.id for cut in cuts}


def test_one_hour_is_part_of_two() -> None:
    one, two = (only_hours(speech(), hours, seed=0) for hours in (1.0, 2.0))
    assert ids(one) < ids(two)
    for hours, chosen in ((1.0, one), (2.0, two)):
        assert hours <= sum(cut.duration for cut in chosen) / HOUR < hours + 0.0101


def test_all_speakers_are_in_it_and_the_order_of_files_does_not_matter() -> None:
    chosen = only_hours(speech(), 1.0, seed=0)
    assert {cut.supervisions[0].speaker for cut in chosen} == {f"s{s}" for s in range(10)}
    backwards = CutSet.from_cuts(list(speech())[::-1])
    assert [cut.id for cut in only_hours(backwards, 1.0, seed=0)] == [cut.id for cut in chosen]
    assert ids(only_hours(speech(), 1.0, seed=1)) != ids(chosen)


def test_a_recipe_says_how_many_hours() -> None:
    everything = read_train([DATA], CorporaConfig(train_split="dev"))
    some = read_train([DATA], CorporaConfig(train_split="dev", train_hours=0.004))
    assert 0 < len(list(some)) < len(list(everything)) == 5
    assert ids(some) < ids(everything)


def test_more_than_there_is_and_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"4 h of speech are asked for, but there are 3\.00 h; lower corpora\.train_hours"
    ):
        only_hours(speech(), 4.0, seed=0)
    (tmp_path / "r.toml").write_text('name = "x"\n')
    with pytest.raises(ConfigError, match=r"`corpora\.train_hours` = 0: it should be greater than 0"):
        load_recipe(tmp_path / "r.toml", ["corpora.train_hours=0"])
