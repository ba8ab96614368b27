"""One read of a key-value memory, against the sums of the paper written out."""
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def read(layer, query, keys, values, mask):
    """Section 3.1, a row and a network at a time."""
    kernel = np.asarray(layer.kernel, "float64")
    following, attention = np.zeros(query.shape), np.zeros((*query.shape[:-1], keys.shape[1]))
    for row, *network in np.ndindex(query.shape[:-1]):
        there = np.flatnonzero(mask[row])
        q = query[(row, *network)].astype("float64")
        p = np.exp([q @ keys[(row, m, *network)] for m in there])
        for m, share in zip(there, p / p.sum()):
            attention[(row, *network, m)] = share
            q = q + share * values[(row, m, *network)]
        following[(row, *network)] = q @ kernel[tuple(network)]
    return following, attention


def some_inputs(middle=(), batch=4, memories=7, units=5):
    """Returns the arguments; the last memory is empty."""
    random = np.random.default_rng(0)
    mask = random.random((batch, memories)) < 0.6
    mask[1], mask[-1] = True, False
    return {"query": random.normal(size=(batch, *middle, units)).astype("float32"),
            "keys": random.normal(size=(batch, memories, *middle, units)).astype("float32"),
            "values": random.normal(size=(batch, memories, *middle, units)).astype("float32"), "mask": mask}


@pytest.mark.parametrize("masked", ["keys", "values"])
@pytest.mark.parametrize("middle", [(), (3,)])
def test_contract(middle, masked, tmp_path):
    check_layer(lambda **options: layers.KeyValueHop(**options), some_inputs(middle), read, tmp_path, masks={"mask": masked})


def test_an_empty_memory_leaves_the_query_and_a_new_hop_adds():
    inputs = some_inputs()
    query, attention = (np.asarray(x) for x in layers.KeyValueHop()(*inputs.values()))
    np.testing.assert_array_equal(query[-1], inputs["query"][-1])  # R starts as the identity
    assert not attention[-1].any()
    output, _ = layers.MemoryHop()(*inputs.values())
    np.testing.assert_allclose(query, inputs["query"] + np.asarray(output), rtol=1e-5, atol=1e-6)


def test_a_value_is_read_by_its_key():
    """With keys and values apart, the values say nothing about where is read."""
    inputs = some_inputs()
    _, attention = layers.KeyValueHop()(*inputs.values())
    _, same = layers.KeyValueHop()(*(inputs | {"values": -inputs["values"]}).values())
    np.testing.assert_array_equal(attention, same)


def test_networks_have_a_matrix_each():
    layer = layers.KeyValueHop()
    inputs = some_inputs((3,))
    before, _ = layer(*inputs.values())
    assert layer.kernel.shape == (3, 5, 5)
    kernel = layer.kernel.numpy()
    kernel[1] *= 2
    layer.kernel.assign(kernel)
    after, _ = layer(*inputs.values())
    np.testing.assert_allclose(after, np.asarray(before) * [[[1.0], [2], [1]]], rtol=1e-5)
