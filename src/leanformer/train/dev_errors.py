"""Word errors on dev data while training, by each decoder and pass that a model has."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jiwer import process_words
from numpy.typing import NDArray
from torch import Tensor

from leanformer.decoder.ctc import GreedySearch
from leanformer.decoder.search import Search as Searching
from leanformer.decoder.transducer import Memory, TransducerGreedySearch
from leanformer.decoder.transducer import Transducer as Search
from leanformer.model import BLANK_ID, Outputs, SpeechModel
from leanformer.text.tokenizer import Tokenizer
from leanformer.transducer.transducer import Transducer

Array = NDArray[np.float32]


class DevErrors:
    """Counts word errors by name: `ctc` and `transducer`, and with `first_` before them those of the first of two
    passes.
    """

    def __init__(self, model: SpeechModel, tokenizer: Tokenizer, with_ctc: bool) -> None:
        self.tokenizer = tokenizer
        self.searches: dict[str, Searching[Any]] = {"ctc": GreedySearch(BLANK_ID)} if with_ctc else {}
        if model.transducer is not None:
            self.searches["transducer"] = TransducerGreedySearch(as_search(model.transducer))
        self.errors: dict[str, int] = {}
        self.words = 0

    def add(self, out: Outputs, targets: Tensor, target_lengths: Tensor) -> None:
        """Count those of one batch; rows with nothing said are left out."""
        for row in range(len(targets)):
            count, size = int(target_lengths[row]), int(out.lengths[row])
            if count == 0:
                continue
            wanted = self.tokenizer.decode(targets[row, :count].tolist())
            self.words += len(wanted.split())
            for name, tokens in self._heard(out, row, size):
                measured = process_words(wanted, self.tokenizer.decode(tokens))
                wrong = measured.substitutions + measured.deletions + measured.insertions
                self.errors[name] = self.errors.get(name, 0) + wrong

    def take(self) -> dict[str, float]:
        """The word error rates since the last time, by name; the first is what the model is chosen by."""
        rates = {name: errors / max(1, self.words) for name, errors in self.errors.items()}
        self.errors, self.words = {}, 0
        return rates

    def _heard(self, out: Outputs, row: int, size: int) -> Iterator[tuple[str, list[int]]]:
        passes: dict[str, tuple[Tensor, Tensor | None]] = {"": (out.log_probs, out.encoded)}
        if out.second is not None:
            passes = {"": (out.second, out.second_encoded), "first_": (out.log_probs, out.encoded)}
        for prefix, (log_probs, encoded) in passes.items():
            read = {"log_probs": log_probs, "encoder_out": encoded}
            for name, search in self.searches.items():
                frames = read[search.reads]
                assert frames is not None
                state = search.step(search.initial_state(), frames[row, :size].float().cpu().numpy())
                yield f"{prefix}{name}", list(search.hypothesis(state).tokens)


def as_search(transducer: Transducer) -> Search:
    """A transducer as the runtime's searches want it: the same, from arrays to arrays."""
    return Search(_Predictor(transducer), _Joiner(transducer))


class _Predictor:
    def __init__(self, transducer: Transducer) -> None:
        self.predictor = transducer.predictor
        self.state_type: Any = type(self.predictor.initial_state(1))

    def initial_state(self) -> Memory:
        return tuple(tensor.cpu().numpy() for tensor in vars(self.predictor.initial_state(1)).values())

    @torch.no_grad()
    def step(self, tokens: NDArray[np.int64], state: Memory) -> tuple[Array, Memory]:
        device = self.predictor.embedding.weight.device
        given = self.state_type(*(torch.from_numpy(array).to(device) for array in state))
        y, following = self.predictor(torch.from_numpy(tokens)[:, None].to(device), given)
        return y[:, 0].float().cpu().numpy(), tuple(t.cpu().numpy() for t in vars(following).values())


class _Joiner:
    def __init__(self, transducer: Transducer) -> None:
        self.joiner = transducer.joiner

    @torch.no_grad()
    def log_probs(self, encoder: Array, predictor: Array) -> Array:
        device = self.joiner.output.weight.device
        given = (torch.from_numpy(array).to(device) for array in (encoder, predictor))
        frames, said = next(given), next(given)
        projected = self.joiner.project_encoder(frames), self.joiner.project_predictor(said)
        scores: Array = self.joiner.log_probs(*projected).float().cpu().numpy()
        return scores

    @torch.no_grad()
    def label_log_probs(self, predictor: Array) -> Array:
        said = torch.from_numpy(predictor).to(self.joiner.output.weight.device)
        scores: Array = self.joiner.label_log_probs(self.joiner.project_predictor(said)).float().cpu().numpy()
        return scores
