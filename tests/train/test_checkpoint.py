"""Checkpoints: names, damage, and disks that are full."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from leanformer.errors import CheckpointError
from leanformer.train.checkpoint import (
    best_checkpoint,
    file_name,
    is_whole,
    latest_checkpoint,
    list_checkpoints,
    load_trained,
    read_checkpoint,
    remove_unfinished,
    set_aside_newer,
    superfluous,
    write_checkpoint,
)

CONTENT = {
    "recipe": {},
    "tokenizer": b"\x00\xff",
    "state_dict": {"w": torch.arange(5000.0)},
    "global_step": 7,
}


def save(folder: Path, *names: str) -> list[Path]:
    for name in names:
        write_checkpoint(CONTENT, folder / name)
    return [folder / name for name in names]


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a writing process, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_name_says_step_and_word_error_rate(tmp_path: Path) -> None:
    assert file_name(12) == "step0000012.ckpt"
    assert file_name(12_345_678, 1.23456) == "step12345678-wer1.2346.ckpt"
    names = [
        "step0000003.ckpt",
        "step0000012-wer0.5000.ckpt",
        "step0000012.ckpt",
        "best-step9-wer0.400-v1.ckpt",
        "x.ckpt",
    ]
    for name in names:
        (tmp_path / name).touch()
    found = [(saved.step, saved.score) for saved in list_checkpoints(tmp_path)]
    assert found == [(12, 0.5), (12, None), (9, 0.4), (3, None), (-1, None)]


def test_the_last_two_and_the_best_two_are_kept(tmp_path: Path) -> None:
    for step, wer in ((1, 0.5), (2, 0.3), (3, 0.9), (4, 0.4), (5, None), (6, 0.8), (7, None)):
        (tmp_path / file_name(step, wer)).touch()
    (tmp_path / "mine.ckpt").touch()
    assert [saved.step for saved in superfluous(list_checkpoints(tmp_path))] == [5, 3, 1]


def test_reads_what_was_written(tmp_path: Path) -> None:
    (path,) = save(tmp_path, file_name(7))
    stored = read_checkpoint(path)
    assert torch.equal(stored["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert (stored["tokenizer"], stored["global_step"]) == (b"\x00\xff", 7)
    assert [path.name for path in tmp_path.iterdir()] == ["step0000007.ckpt"]


@pytest.mark.parametrize("part", [0.0, 0.3, 0.97, 0.9999])
def test_a_truncated_file_is_noticed(tmp_path: Path, part: float) -> None:
    (path,) = save(tmp_path, file_name(7))
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert not is_whole(path)
    with pytest.raises(CheckpointError, match="truncated or damaged; use an earlier"):
        read_checkpoint(path)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    (path,) = save(tmp_path, file_name(7))
    intact = path.read_bytes()
    noticed = 0
    for place in range(0, len(intact), 211):
        flip(path, place, place % 8)
        try:
            stored = read_checkpoint(path)
        except CheckpointError:
            noticed += 1
        else:  # it fell into padding
            assert torch.equal(stored["state_dict"]["w"], CONTENT["state_dict"]["w"])
            assert (stored["tokenizer"], stored["global_step"]) == (b"\x00\xff", 7)
        path.write_bytes(intact)
    assert noticed > 0.8 * len(intact) / 211


def test_the_one_before_a_damaged_one_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, newer, newest = save(tmp_path, file_name(3), file_name(5), file_name(9, 0.5))
    newest.write_bytes(newest.read_bytes()[:-100])
    flip(newer, newer.stat().st_size // 2)
    with caplog.at_level(logging.WARNING):
        assert latest_checkpoint(tmp_path) == older
    assert [record.message.split(" ")[0] for record in caplog.records] == [str(newest), str(newer)]
    assert best_checkpoint(tmp_path) == older


def test_damaged_ones_do_not_push_out_the_coming_ones(tmp_path: Path) -> None:
    older, newer, newest = save(tmp_path, file_name(3), file_name(5), file_name(9))
    set_aside_newer(tmp_path, older)
    assert [saved.path for saved in list_checkpoints(tmp_path)] == [older]
    assert not newer.exists()
    assert newest.with_name(newest.name + ".damaged").exists()


def test_the_best_has_the_lowest_word_error_rate(tmp_path: Path) -> None:
    save(tmp_path, file_name(3, 0.7), file_name(5, 0.6), file_name(7, 0.65), file_name(8))
    assert best_checkpoint(tmp_path) == tmp_path / file_name(5, 0.6)
    assert latest_checkpoint(tmp_path) == tmp_path / file_name(8)


def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (before,) = save(tmp_path, file_name(3))
    content = before.read_bytes()
    with (
        no_file_larger_than(8000),
        pytest.raises(CheckpointError, match=r"step0000005.*cannot write.*make room"),
    ):
        write_checkpoint(CONTENT, tmp_path / file_name(5))
    with no_file_larger_than(8000), pytest.raises(CheckpointError):
        write_checkpoint(CONTENT, before)  # over an older one of the same name
    assert [path.name for path in tmp_path.iterdir()] == [before.name]
    assert before.read_bytes() == content


def test_what_a_killed_process_was_writing_is_no_checkpoint(tmp_path: Path) -> None:
    (path,) = save(tmp_path, file_name(3))
    (tmp_path / (file_name(5) + ".part")).write_bytes(path.read_bytes())
    assert latest_checkpoint(tmp_path) == path
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code of a checkpoint ran",))


def test_reading_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(CONTENT | {"more": Harmful()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of `leanformer train`"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert capsys.readouterr().out == ""
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert capsys.readouterr().out != "", "the control: it would have run"


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        load_trained(tmp_path)
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of"):
        read_checkpoint(tmp_path / "other.ckpt")
    torch.save(CONTENT, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match="another version"):
        load_trained(tmp_path / "empty.ckpt")
