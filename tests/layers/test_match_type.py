"""Which kinds of things a response names that the dialogue has named too."""
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer

TYPES = [0, 1, 1, 3, 0, 2]
CANDIDATES = [[1, 2, 5], [], [3], [4, 2, 3, 6], [5, 4, 6, 6, 1]]


def plain(layer, entities):
    """Goes through candidates, types and entities one by one."""
    found = np.zeros((len(entities), len(CANDIDATES), 4))
    for row, dialogue in enumerate(entities):
        for place, candidate in enumerate(CANDIDATES):
            for entity in candidate:
                if entity in dialogue:
                    found[row, place, TYPES[entity - 1]] = 1
    return found


def test_contract(tmp_path):
    entities = np.array([[0, 2, 0, 0, 6, 0, 2], [5, 0, 4, 1, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0]], "int32")
    check_layer(lambda **options: layers.MatchType(TYPES, CANDIDATES, **options), {"entities": entities}, plain, tmp_path,
                discrete=True)


def test_order_and_repetition_play_no_part():
    layer = layers.MatchType(TYPES, CANDIDATES)
    one, other = layer(np.array([[1, 2, 6]])), layer(np.array([[6, 6, 0, 2, 1, 1]]))
    np.testing.assert_array_equal(one, other)


def test_a_candidate_that_names_nothing_matches_nothing():
    everything = np.arange(1, len(TYPES) + 1)[None]
    assert not np.asarray(layers.MatchType(TYPES, CANDIDATES)(everything))[:, 1].any()


@pytest.mark.parametrize(("types", "candidates", "words"), [
    ([], [[]], "at least one entity"),
    ([0], [], "one candidate"),
    ([0, -1], [[1]], "0 or more"),
    ([0, 1], [[3]], "1 to 2, got 3"),
    ([0, 1], [[0]], "1 to 2, got 0"),
])
def test_bad_arguments(types, candidates, words):
    with pytest.raises(ValueError, match=words):
        layers.MatchType(types, candidates)
