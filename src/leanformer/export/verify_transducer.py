"""Do the graphs of a transducer do what the model does? Torch against the runtime, over what a search asks of them."""

from collections.abc import Sequence

import numpy as np
import torch

from leanformer.export.speech import Clip
from leanformer.export.steps import Step
from leanformer.export.verify import FP32_TOLERANCE, Check, encode_offline
from leanformer.runtime.bundle import Bundle
from leanformer.runtime.transducer import JoinerSession, PredictorSession

TOKENS = 12
"""Said by each hypothesis, at random."""


@torch.no_grad()
def verify_transducer(step: Step, bundle: Bundle, clips: Sequence[Clip], chunk_frames: int) -> list[Check]:
    """Scores of random hypotheses, one for each clip, on that clip's frames."""
    transducer = step.model.transducer
    assert transducer is not None
    predictor, joiner = PredictorSession(bundle), JoinerSession(bundle)
    frames = [encode_offline(step, clip, chunk_frames)[0] for clip in clips]
    generator = np.random.default_rng(0)
    count = min(len(frame) for frame in frames)
    theirs = transducer.predictor.initial_state(len(frames))
    ours = tuple(np.repeat(array, len(frames), axis=0) for array in predictor.initial_state())
    largest = 0.0
    for place in range(TOKENS):
        tokens = generator.integers(0, bundle.manifest.vocabulary_size, len(frames))
        heard = torch.stack([frame[place * count // TOKENS] for frame in frames])
        outputs, theirs = transducer.predictor(torch.from_numpy(tokens)[:, None], theirs)
        spoken = transducer.joiner.project_predictor(outputs[:, 0])
        expected = (
            transducer.joiner.log_probs(transducer.joiner.project_encoder(heard), spoken),
            transducer.joiner.label_log_probs(spoken),
        )
        said, ours = predictor.step(tokens, ours)
        found = joiner.log_probs(heard.numpy(), said), joiner.label_log_probs(said)
        differences = (abs(one.numpy() - other).max() for one, other in zip(expected, found, strict=True))
        largest = max(largest, *map(float, differences))
    return [Check("transducer_max", "torch - transducer's graphs, largest", largest, at_most=FP32_TOLERANCE)]
