"""Several reads of a memory, against the recursion of the paper written out."""
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def read_often(layer, query, memory, mask, linear=None):
    """Section 2.2, a row and a network at a time."""
    batch, members, _ = query.shape
    found = query.astype("float64")
    attention = np.zeros((batch, layer.hops, members, memory.shape[1]))
    linear = np.broadcast_to(False if linear is None else linear, (batch, 1, members))
    for row, member in np.ndindex(batch, members):
        there = np.flatnonzero(mask[row])
        u = found[row, member]
        for k in range(1, layer.hops + 1):
            a, c = (k - 1, k) if layer.tying == "adjacent" else (0, 1)
            inputs, outputs = (memory[row, there, table, member].astype("float64") for table in (a, c))
            p = inputs @ u
            p = mask[row, there] * (p if linear[row, 0, member] else np.exp(p) / (mask[row, there] @ np.exp(p)))
            attention[row, k - 1, member, there] = p
            o = p @ outputs
            u = u + o if layer.tying == "adjacent" else u @ layer.kernel.numpy()[:, member].astype("float64") + o
            u = np.maximum(u, 0) if layer.nonlinear else u
        found[row, member] = u
    return found, attention


def some_inputs(tables, batch=4, memories=7, members=2, units=6, seed=0):
    """Returns the arguments; the second memory is full and the last one empty."""
    random = np.random.default_rng(seed)
    mask = random.random((batch, memories)) < 0.6
    mask[1], mask[-1] = True, False
    return {"query": random.normal(scale=0.6, size=(batch, members, units)).astype("float32"),
            "memory": random.normal(scale=0.6, size=(batch, memories, tables, members, units)).astype("float32"),
            "mask": mask}


def run(layer, inputs, linear=None):
    """Returns the outputs as numpy arrays."""
    return [np.asarray(x) for x in layer(*inputs.values(), linear=linear)]


@pytest.mark.parametrize("hops, tying, nonlinear, copies, linear", [
    (2, "adjacent", False, 1, None), (2, "adjacent", False, 9, ()), (2, "adjacent", True, 9, (0, 2)),
    (3, "layer_wise", False, 1, (0, 2)), (3, "layer_wise", True, 9, None)])
def test_contract(hops, tying, nonlinear, copies, linear, tmp_path):
    inputs = some_inputs(tables=3 if tying == "adjacent" else 2, batch=5, memories=8, members=4)
    if copies > 1:
        inputs["mask"] = inputs["mask"] * np.linspace(1, copies, 8, dtype="float32")
    if linear is not None:  # once per row, which broadcasts: check_layer takes the first axis of everything for the batch
        inputs["linear"] = np.tile(np.isin(np.arange(4), linear), (5, 1, 1))
    check_layer(lambda **options: layers.MemoryHops(hops, tying, nonlinear, **options), inputs, read_often, tmp_path,
                masks={"mask": "memory"}, constant=["mask"] if copies > 1 else ())


@pytest.mark.parametrize("tying", ["adjacent", "layer_wise"])
def test_linear_says_which_networks_have_no_softmax(tying):
    layer = layers.MemoryHops(2, tying)
    inputs = some_inputs(layer.tables)
    soft = run(layer, inputs)
    mixed = run(layer, inputs, np.array([False, True]))
    for a, b, attention_axis, expected in zip(soft, mixed, (1, 2), read_often(layer, **inputs, linear=[False, True])):
        np.testing.assert_array_equal(np.take(a, 0, attention_axis), np.take(b, 0, attention_axis))
        np.testing.assert_allclose(b, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(soft[1][:-1].sum(axis=-1), np.ones((3, 2, 2)), rtol=1e-5)


def test_one_hop_is_a_memory_hop_beside_the_query():
    inputs = some_inputs(tables=2)
    query, memory, mask = inputs.values()
    found, attention = run(layers.MemoryHops(1), inputs)
    output, p = layers.MemoryHop()(query, memory[:, :, 0], memory[:, :, 1], mask)
    np.testing.assert_allclose(found, query + output, rtol=1e-6)
    np.testing.assert_array_equal(attention[:, 0], p)


def test_layer_wise_hops_share_their_tables_and_kernel():
    """Adjacent tying of equal tables is layer-wise tying whose kernel does nothing."""
    inputs = some_inputs(tables=1)
    layer_wise = layers.MemoryHops(3, "layer_wise")
    layer_wise.build((None, 2, 6), (None, 7, 2, 2, 6))
    layer_wise.kernel.assign(np.tile(np.eye(6)[:, None], (1, 2, 1)))
    found = [run(layer, inputs | {"memory": np.repeat(inputs["memory"], layer.tables, axis=2)})
             for layer in (layers.MemoryHops(3), layer_wise)]
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_hop_asks_for_what_the_last_one_found():
    """Memory m is written under the vector m and says m + 1, less m so that the query moves on: a chain is followed."""
    vectors = 30 * np.eye(6, dtype="float32")
    order = [3, 0, 4, 1, 2]  # of the memories, which have none
    memory = np.zeros((1, 5, 2, 1, 6), "float32")
    for place, m in enumerate(order):
        memory[0, place, 0, 0], memory[0, place, 1, 0] = vectors[m], vectors[m + 1] - vectors[m]
    layer = layers.MemoryHops(4, "layer_wise")
    layer.build((None, 1, 6), (None, 5, 2, 1, 6))
    layer.kernel.assign(np.eye(6)[:, None])
    found, attention = run(layer, {"query": vectors[:1, None], "memory": memory, "mask": np.ones((1, 5), bool)})
    assert [order[place] for place in attention[0, :, 0].argmax(axis=-1)] == [0, 1, 2, 3]
    np.testing.assert_allclose(found[0, 0], vectors[4], atol=1e-4)


@pytest.mark.parametrize("nonlinear", [False, True])
@pytest.mark.parametrize("tying", ["adjacent", "layer_wise"])
def test_an_empty_memory_leaves_the_query(tying, nonlinear):
    layer = layers.MemoryHops(2, tying, nonlinear)
    inputs = some_inputs(layer.tables)
    found, attention = run(layer, inputs)
    expected = inputs["query"][-1]
    for _ in range(2):
        if tying == "layer_wise":
            expected = np.stack([u @ kernel for u, kernel in zip(expected, layer.kernel.numpy().swapaxes(0, 1))])
        expected = np.maximum(expected, 0) if nonlinear else expected
    np.testing.assert_allclose(found[-1], expected, rtol=1e-5, atol=1e-6)
    assert not attention[-1].any()
    assert (found >= 0).all() or not nonlinear


@pytest.mark.parametrize("tying", ["adjacent", "layer_wise"])
def test_members_do_not_influence_each_other(tying):
    layer = layers.MemoryHops(3, tying)
    inputs, others = (some_inputs(layer.tables, members=3, seed=seed) for seed in (0, 1))
    before = run(layer, inputs)
    changed = inputs | {name: np.concatenate([inputs[name][..., :2, :], others[name][..., 2:, :]], axis=-2)
                        for name in ("query", "memory")}
    if tying == "layer_wise":
        layer.kernel.assign(layer.kernel.numpy() + np.arange(3)[:, None] // 2)  # the last member's only
    after = run(layer, changed)
    for a, b, axis in zip(before, after, (1, 2)):
        a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
        np.testing.assert_allclose(a[:2], b[:2], rtol=1e-6, atol=1e-7)
        assert (a[2, :-1] != b[2, :-1]).any()


def test_a_member_is_the_network_that_it_would_be_alone():
    layer = layers.MemoryHops(2, "layer_wise")
    inputs = some_inputs(tables=2, members=3)
    together = run(layer, inputs)
    for member in range(3):
        alone = layers.MemoryHops(2, "layer_wise")
        alone.build((None, 1, 6), (None, 7, 2, 1, 6))
        alone.kernel.assign(layer.kernel.numpy()[:, member:member + 1])
        part = {"query": inputs["query"][:, member:member + 1], "memory": inputs["memory"][..., member:member + 1, :],
                "mask": inputs["mask"]}
        for whole, found, axis in zip(together, run(alone, part), (1, 2)):
            np.testing.assert_allclose(np.take(whole, [member], axis), found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings, sentence", [
    (dict(hops=0), "at least 1, got 0"), (dict(hops=2, tying="none"), "adjacent or layer_wise, got 'none'")], ids=str)
def test_arguments_are_checked(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        layers.MemoryHops(**settings)


@pytest.mark.parametrize("tying, tables, needed", [("adjacent", 2, 4), ("layer_wise", 4, 2)])
def test_the_number_of_tables_is_checked(tying, tables, needed):
    layer = layers.MemoryHops(3, tying)
    assert layer.tables == needed
    with pytest.raises(ValueError, match=f"3 hops with {tying} tying need {needed} tables, got {tables}"):
        run(layer, some_inputs(tables))
