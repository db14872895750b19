import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from leanformer.config import TransducerConfig
from leanformer.layers.streaming import stack, tree_map, unstack
from leanformer.transducer.predictor import START_ID, Predictor, make_predictor, predictor_input

VOCABULARY = 9
CONFIGS = (
    TransducerConfig(context=1, predictor_dim=6, joint_dim=6),
    TransducerConfig(context=2, predictor_dim=6, joint_dim=6),
    TransducerConfig(context=3, predictor_dim=6, joint_dim=6),
    TransducerConfig(predictor="lstm", predictor_dim=6, joint_dim=6),
)
each = pytest.mark.parametrize("config", CONFIGS, ids=["context 1", "context 2", "context 3", "LSTM"])


def make(config: TransducerConfig) -> Predictor:
    torch.manual_seed(0)
    return make_predictor(config, VOCABULARY).eval()


def tokens(batch: int = 2, size: int = 7, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCABULARY, (batch, size), generator=torch.Generator().manual_seed(seed))


@each
@settings(max_examples=8)
@given(sizes=st.lists(st.integers(0, 3), max_size=5))
def test_steps_are_one_pass(config: TransducerConfig, sizes: list[int]) -> None:
    predictor, said = make(config), tokens()
    whole, last = predictor(said, predictor.initial_state(2))
    state, parts = predictor.initial_state(2), []
    for size in [*sizes, *[1] * said.shape[1]]:
        if size and said.shape[1]:
            part, state = predictor(said[:, :size], state)
            parts.append(part)
            said = said[:, size:]
    assert whole.shape == (2, 7, 6)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)
    tree_map(torch.testing.assert_close, state, last)


@each
def test_an_output_depends_on_its_token_and_those_before(config: TransducerConfig) -> None:
    predictor, said = make(config), tokens()
    reach = config.context if config.predictor == "stateless" else 7
    before = predictor(said, predictor.initial_state(2))[0]
    said[:, 2] = (said[:, 2] + 1) % VOCABULARY
    after = predictor(said, predictor.initial_state(2))[0]
    changed = (before != after).any(dim=2)
    assert changed.tolist() == [[2 <= u < 2 + reach for u in range(7)]] * 2


@each
def test_before_the_first_token_there_is_the_start(config: TransducerConfig) -> None:
    """A stateless predictor cannot tell one start from several; an LSTM can."""
    predictor, said = make(config), tokens()
    given = torch.cat([torch.full((2, 3), START_ID), said], dim=1)
    found = predictor(given, predictor.initial_state(2))[0][:, 3:]
    expected = predictor(said, predictor.initial_state(2))[0]
    assert torch.allclose(found, expected) == (config.predictor == "stateless")


@each
def test_streams_do_not_hear_one_another(config: TransducerConfig) -> None:
    predictor, said = make(config), tokens(batch=3)
    states = [predictor(row[None, :4], predictor.initial_state(1))[1] for row in said]
    batched = predictor(said[:, 4:], stack(states))[0]
    alone = [
        predictor(row[None, 4:], state)[0] for row, state in zip(said, unstack(stack(states)), strict=True)
    ]
    assert torch.allclose(batched, torch.cat(alone), atol=1e-6)


@each
def test_a_step_leaves_the_old_state_as_it_was(config: TransducerConfig) -> None:
    predictor = make(config)
    state = predictor(tokens(), predictor.initial_state(2))[1]
    kept = tree_map(torch.clone, state)
    predictor(tokens(seed=1), state)
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), state, kept)


@each
def test_the_state_keeps_its_type_under_autocast(config: TransducerConfig) -> None:
    predictor = make(config)
    before = predictor.initial_state(2)
    with torch.autocast("cpu", torch.bfloat16):
        after = predictor(tokens(), before)[1]
    assert vars(tree_map(lambda x: x.dtype, before)) == vars(tree_map(lambda x: x.dtype, after))


@each
def test_all_weights_learn(config: TransducerConfig) -> None:
    predictor = make(config)
    y = predictor(tokens(), predictor.initial_state(2))[0]
    for gradient in torch.autograd.grad((y * torch.randn_like(y)).sum(), list(predictor.parameters())):
        assert gradient.any()


@each
def test_dropout_is_for_training(config: TransducerConfig) -> None:
    predictor = make(config)
    first, second = (predictor(tokens(), predictor.initial_state(2))[0] for _ in range(2))
    assert torch.equal(first, second)
    predictor.train()
    first, second = (predictor(tokens(), predictor.initial_state(2))[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_the_input_is_the_start_and_the_targets() -> None:
    targets = torch.tensor([[3, 4, 5], [6, -1, 10_000], [-1, -1, -1]])
    found = predictor_input(targets, torch.tensor([3, 1, 0]))
    assert found.tolist() == [[0, 3, 4, 5], [0, 6, 0, 0], [0, 0, 0, 0]]
