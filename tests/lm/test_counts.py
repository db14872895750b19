"""Counts, smoothing and lookups against their definitions, spelled out for a short text."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from leanformer.decoder.ngram import NGram
from leanformer.lm.counts import Level, count_ngrams
from leanformer.lm.kneser_ney import smooth
from leanformer.lm.pack import pack
from leanformer.lm.prune import kept, worths

VOCABULARY = 6
TEXT = np.random.default_rng(4).choice(np.arange(1, VOCABULARY), 400, p=[0.4, 0.3, 0.15, 0.1, 0.05])
TEXT = TEXT.astype(np.uint16)


def spelled(levels: list[Level]) -> list[list[tuple[int, ...]]]:
    """The n-grams of each level."""
    found: list[list[tuple[int, ...]]] = [[()]]
    for level in levels:
        found.append([(*found[-1][p], int(t)) for p, t in zip(level.parent, level.token, strict=True)])
    return found[1:]


def occurrences(order: int) -> list[tuple[int, ...]]:
    return [tuple(TEXT[place : place + order].tolist()) for place in range(len(TEXT) - order + 1)]


@pytest.mark.parametrize("cutoffs", [(1, 1, 1, 1), (1, 1, 2, 3)])
def test_counts(cutoffs: tuple[int, ...]) -> None:
    levels = count_ngrams(TEXT, VOCABULARY, cutoffs)
    names = spelled(levels)
    for order, (level, ngrams, cutoff) in enumerate(zip(levels, names, cutoffs, strict=True), start=1):
        counted = Counter(occurrences(order))
        wanted = {ngram: count for ngram, count in counted.items() if count >= cutoff}
        found = dict(zip(ngrams, level.count.tolist(), strict=True))
        assert {ngram: count for ngram, count in found.items() if count} == wanted
        if order > 1:
            assert [names[order - 2][place] for place in level.suffix] == [ngram[1:] for ngram in ngrams]
            assert ngrams == sorted(ngrams)
        if order < len(cutoffs):
            before = Counter(ngram[1:] for ngram in set(occurrences(order + 1)))
            assert level.weight.tolist() == [max(before[n], 1) if counted[n] else 0 for n in ngrams]


def test_what_was_left_out_counts_for_its_parent() -> None:
    *_, all_of_them = count_ngrams(TEXT, VOCABULARY, (1, 1, 1))
    *_, frequent = count_ngrams(TEXT, VOCABULARY, (1, 1, 9))
    assert len(frequent.token) < len(all_of_them.token)
    np.testing.assert_array_equal(frequent.totals, all_of_them.totals)
    assert frequent.frequencies == all_of_them.frequencies


def model(cutoffs: tuple[int, ...], threshold: float = -np.inf) -> NGram:
    smoothed = smooth(count_ngrams(TEXT, VOCABULARY, cutoffs))
    return pack(smoothed, kept(smoothed, worths(smoothed), threshold))


def contexts(ngram: NGram) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCABULARY, (60, ngram.order - 1))


@pytest.mark.parametrize("cutoffs", [(1,), (1, 1), (1, 1, 1, 1), (1, 1, 2, 4)])
@pytest.mark.parametrize("threshold", [-np.inf, 0.5, 5.0, np.inf])
def test_all_next_tokens_together_are_certain(cutoffs: tuple[int, ...], threshold: float) -> None:
    ngram = model(cutoffs, threshold)
    sums = np.exp(ngram.log_probs(contexts(ngram)))[:, 1:].sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=2e-3)  # codes of 8 bits


def test_kneser_ney_by_hand() -> None:
    # a b a c a b: two bigrams begin with a, "ab" twice and "ac" once; too little text for discounts of its own.
    tokens = np.array([1, 2, 1, 3, 1, 2], np.uint16)
    smoothed = smooth(count_ngrams(tokens, 4, (1, 1)))
    ngram = pack(smoothed, kept(smoothed, worths(smoothed), -np.inf))
    unigram = [(2 - 1) / 4, (1 - 0.5) / 4, (1 - 0.5) / 4]
    rest = 1 - sum(unigram)
    of_b = unigram[1] + rest / 3
    expected = (2 - 1.0) / 3 + (1.0 + 0.5) / 3 * of_b
    assert np.exp(ngram.log_probs(np.array([[1]]))[0, 2]) == pytest.approx(expected, rel=1e-5)


def slowly(ngram: NGram, context: tuple[int, ...], token: int) -> float:
    """The definition in the docstring of `NGram`, by walking the trie."""
    begin = ngram.vocabulary_size + np.concatenate(([0], np.cumsum(ngram.children, dtype=np.int64)))

    def find(tokens: tuple[int, ...]) -> int | None:
        if 0 in tokens:
            return None
        node = tokens[0]
        for one in tokens[1:]:
            places = [p for p in range(begin[node], begin[node + 1]) if ngram.token[p] == one]
            if not places:
                return None
            node = places[0]
        return int(node)

    if (place := find((*context, token))) is not None:
        return float(ngram.log_prob_table[len(context), ngram.log_prob[place]])
    node = find(context)
    node = node if node is not None and ngram.children[node] else None
    backoff = 0.0 if node is None else float(ngram.backoff_table[len(context) - 1, ngram.backoff[node]])
    return backoff + slowly(ngram, context[1:], token)


@pytest.mark.parametrize("threshold", [-np.inf, 2.0])
def test_lookups_back_off_as_defined(threshold: float) -> None:
    ngram = model((1, 1, 1, 1), threshold)
    asked = contexts(ngram)
    rows = ngram.log_probs(asked)
    for context, row in zip(asked.tolist(), rows, strict=True):
        expected = [slowly(ngram, tuple(context), token) for token in range(1, VOCABULARY)]
        np.testing.assert_allclose(row[1:], expected, rtol=1e-6)


def test_pruning_takes_what_is_worth_least() -> None:
    sizes, likelihoods = [], []
    for threshold in (-np.inf, 1.0, 3.0, 10.0):
        ngram = model((1, 1, 1), threshold)
        pairs = np.lib.stride_tricks.sliding_window_view(TEXT.astype(np.int64), 3)
        rows = ngram.log_probs(pairs[:, :2])
        sizes.append(sum(ngram.levels))
        likelihoods.append(rows[np.arange(len(pairs)), pairs[:, 2]].sum())
    assert sizes == sorted(sizes, reverse=True)
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert sizes[-1] < sizes[0] / 2
