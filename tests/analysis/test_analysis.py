"""Both verbs, on checkpoints of both kinds: what they read, write, and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import MonoCut, SupervisionSegment

from leanformer.analysis.probe import INPUT, collect, divide
from leanformer.analysis.speech import batches
from leanformer.analysis.subject import layer_outputs, load_subject
from leanformer.cli.app import main
from leanformer.data.alignment import AlignmentTable
from leanformer.data.subset import shuffled, until_seconds
from leanformer.pretrain.prepare import read_audio

from .conftest import DATA


@pytest.mark.parametrize("kind", ["pretrained", "trained"])
def test_layers_are_those_that_the_model_runs(kind: str, request: pytest.FixtureRequest) -> None:
    subject = load_subject(request.getfixturevalue(kind))
    features, lengths = torch.randn(2, 60, 80) * 4 + 10, torch.tensor([60, 41])
    outputs, out_lengths = layer_outputs(subject, features, lengths, full=False)
    assert sorted(outputs) == [1, 2, 3]
    assert out_lengths.tolist() == [15, 11]
    encoder = subject.model.encoder
    state = encoder.initial_state(2, subject.context(15, full=False))
    with torch.no_grad():
        expected, _, _ = encoder(subject.model.normalize(features), lengths, state)
    assert torch.equal(outputs[3], expected), "taps included"
    whole, _ = layer_outputs(subject, features, lengths, full=True)
    assert not torch.equal(whole[3], outputs[3])


def test_the_order_of_cuts_is_theirs_alone() -> None:
    cuts = list(read_audio([DATA], ("dev",)))
    assert [cut.id for cut in shuffled(cuts, 0)] == [cut.id for cut in shuffled(cuts[::-1], 0)]
    assert len({tuple(cut.id for cut in shuffled(cuts, seed)) for seed in range(5)}) > 1
    assert len(until_seconds(cuts, cuts[0].duration)) == 1


def test_no_speaker_is_on_both_sides() -> None:
    cuts = [
        MonoCut(str(n), 0, 1.0, 0, [SupervisionSegment(str(n), str(n), 0, 1.0, speaker=f"s{n % 7}")])
        for n in range(60)
    ]
    train, test = divide(cuts)
    assert len(train) + len(test) == 60
    assert 12 <= len(test) <= 25
    speakers = [{cut.supervisions[0].speaker for cut in side} for side in (train, test)]
    assert not speakers[0] & speakers[1]


def test_labels_are_the_phones_in_the_middle_of_frames(pretrained: Path, alignments: Path) -> None:
    subject, phones = load_subject(pretrained), AlignmentTable.load(alignments)
    cuts = list(read_audio([DATA], ("dev",)))
    frames = collect(subject, cuts, phones, [INPUT, 2], full=False)
    assert frames.features[INPUT].shape == (len(frames.labels), 320)
    assert frames.features[2].shape == (len(frames.labels), 16)
    for place, cut in enumerate(cuts):
        known = phones[cut.id][2::4]
        found = frames.labels[torch.from_numpy(frames.utterances == place)].numpy()
        assert np.array_equal(found, known[: len(found)])
        assert len(found) >= len(known) - 1
    (batch,) = [one for one in batches(cuts[:1], phones)]
    assert batch.phones is not None


def test_consistency_writes_figures_and_picture(
    pretrained: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "c.json", tmp_path / "c.png"
    arguments = [str(pretrained), str(trained.parent), "--data", str(DATA), "--frames", "400"]
    assert main(["consistency", *arguments, "--json", str(out), "--plot", str(picture)]) == 0
    found = json.loads(out.read_text())
    assert list(found) == [str(pretrained), str(trained.parent)]
    for one in found.values():
        assert (one["depths"], one["frames"], one["step"]) == ([1, 2, 3], 400, 7)
        assert np.allclose(np.diag(one["cka"]), 1.0)
        assert np.allclose(np.diag(one["frechet"]), 0.0, atol=1e-6)
        assert np.allclose(one["cka"], np.transpose(one["cka"]))
        assert one["mean_frechet"] == pytest.approx(np.asarray(one["frechet"])[np.triu_indices(3, 1)].mean())
        assert all(0.0 < floor < 0.5 for floor in one["frechet_floor"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("mean CKA") == 2


def test_probe_reads_every_depth(
    pretrained: Path, alignments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.json"
    arguments = [str(pretrained), "--alignments", str(alignments), "--data", str(DATA)]
    assert main(["probe", *arguments, "--depths", "3", "1", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert [one["depth"] for one in (found["input"], *found["depths"])] == [0, 1, 3]
    assert sum(found["test"]) == found["test_frames"]
    assert len(found["units"]) == len(found["test"])
    for one in found["depths"]:
        assert 0.0 <= one["accuracy"] <= 1.0
        assert one["accuracy"] == pytest.approx(1 - sum(one["wrong"]) / found["test_frames"])
    assert 0.2 < found["majority"] < 0.5
    assert "depth  1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["consistency", "{path}", "--frames", "20"],
            "20 encoder frames are too few to compare features of 16",
        ),
        (["consistency", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
        (["consistency", "{path}", "--split", "test"], "nothing to use in split 'test'"),
        (["probe", "{path}", "--alignments", "{phones}", "--depths", "4"], "has layers 1 to 3"),
        (["probe", "{path}", "--alignments", "none.jsonl"], "cannot read the alignment"),
        (["probe", "{path}", "--alignments", "{empty}"], "0 recordings with aligned phones are too few"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    pretrained: Path,
    alignments: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.jsonl").touch()
    named = {"path": pretrained, "phones": alignments, "empty": tmp_path / "empty.jsonl"}
    assert main([*(one.format(**named) for one in arguments), "--data", str(DATA)]) == 1
    assert message in capsys.readouterr().err
