import pytest
import torch
from pydantic import ValidationError

from leanformer.config import Factorization, TransducerConfig
from leanformer.transducer.joiner import Joiner
from leanformer.transducer.predictor import make_predictor

VOCABULARY, DIM = 6, 5


def config(factorization: Factorization = "hat", tied: bool = False) -> TransducerConfig:
    return TransducerConfig(predictor_dim=8, joint_dim=8, tied=tied, factorization=factorization)


def make(factorization: Factorization = "hat") -> Joiner:
    torch.manual_seed(0)
    return Joiner(DIM, config(factorization), VOCABULARY)


@pytest.mark.parametrize("factorization", ["hat", "softmax"])
def test_probabilities_add_up_to_one(factorization: Factorization) -> None:
    joiner = make(factorization)
    encoder, predictor = (
        joiner.project_encoder(torch.randn(2, 3, 1, DIM)),
        joiner.project_predictor(torch.randn(2, 1, 4, 8)),
    )
    log_probs = joiner.log_probs(encoder, predictor)
    assert log_probs.shape == (2, 3, 4, VOCABULARY)
    assert torch.allclose(log_probs.exp().sum(dim=-1), torch.ones(2, 3, 4))
    logits = joiner(encoder, predictor)
    expected = logits[..., 0].sigmoid() if factorization == "hat" else logits.softmax(dim=-1)[..., 0]
    assert torch.allclose(log_probs[..., 0].exp(), expected)


def test_given_that_it_is_a_label_hat_is_the_softmax_of_labels() -> None:
    joiner = make()
    encoder, predictor = torch.randn(4, 8), torch.randn(4, 8)
    log_probs = joiner.log_probs(encoder, predictor)
    given = log_probs[:, 1:] - torch.log1p(-log_probs[:, :1].exp())
    assert torch.allclose(given, joiner(encoder, predictor)[:, 1:].log_softmax(dim=-1), atol=1e-5)


def test_a_sure_blank_or_label_stays_finite() -> None:
    joiner = make()
    with torch.no_grad():
        joiner.output.bias[0] = 200.0
    assert joiner.log_probs(torch.randn(3, 8), torch.randn(3, 8)).isfinite().all()
    with torch.no_grad():
        joiner.output.bias[0] = -200.0
    assert joiner.log_probs(torch.randn(3, 8), torch.randn(3, 8)).isfinite().all()


@pytest.mark.parametrize("factorization", ["hat", "softmax"])
def test_the_internal_language_model_is_the_joiner_without_encoder(factorization: Factorization) -> None:
    joiner = make(factorization)
    predictor = joiner.project_predictor(torch.randn(3, 8))
    silent = joiner.project_encoder(torch.zeros(3, DIM))
    assert not silent.any()
    log_probs = joiner.log_probs(silent, predictor)[:, 1:]
    found = joiner.label_log_probs(predictor)
    assert found.shape == (3, VOCABULARY - 1)
    assert torch.allclose(found, log_probs.log_softmax(dim=-1), atol=1e-6)


def test_tied_weights_are_one_parameter() -> None:
    predictor = make_predictor(config(tied=True), VOCABULARY)
    joiner = Joiner(DIM, config(tied=True), VOCABULARY, predictor.embedding)
    assert joiner.output.weight is predictor.embedding.weight
    y = predictor(torch.tensor([[0, 2]]), predictor.initial_state(1))[0]
    joiner(torch.randn(1, 2, 8), joiner.project_predictor(y)).logsumexp(dim=-1).sum().backward()
    gradient = predictor.embedding.weight.grad
    assert gradient is not None
    assert gradient[5].any()  # never an input, always an output


def test_tied_logits_begin_as_loud_as_others() -> None:
    torch.manual_seed(0)
    wide = TransducerConfig(tied=True)
    joiner = Joiner(DIM, wide, 400, make_predictor(wide, 400).embedding)
    logits = joiner(torch.randn(50, 256), torch.zeros(256))
    assert 0.3 < logits.std().item() < 1.2


def test_tied_weights_need_one_width() -> None:
    with pytest.raises(ValidationError, match="must equal joint_dim 32"):
        TransducerConfig(predictor_dim=16, joint_dim=32)
    assert TransducerConfig(predictor_dim=16, joint_dim=32, tied=False).joint_dim == 32


def test_half_precision_logits_make_full_precision_probabilities() -> None:
    joiner = make()
    with torch.autocast("cpu", torch.bfloat16):
        assert joiner.log_probs(torch.randn(3, 8), torch.randn(3, 8)).dtype == torch.float32
        assert joiner.label_log_probs(torch.randn(3, 8)).dtype == torch.float32
