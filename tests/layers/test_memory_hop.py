"""One read of a memory, against the sums of the paper written out."""
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def read(layer, query, keys, values, mask, linear=None):
    """Eq. 1 and 2, a row and a network at a time; an entry that stands for several memories counts that often."""
    query, keys, values = (x.astype("float64") for x in (query, keys, values))
    output = np.zeros((len(query), *values.shape[2:]))
    attention = np.zeros((*query.shape[:-1], keys.shape[1]))
    linear = np.broadcast_to(False if linear is None else linear, (len(query), 1, *query.shape[1:-1]))
    for row, *network in np.ndindex(query.shape[:-1]):
        there = np.flatnonzero(mask[row])
        copies = mask[row, there]
        scores = np.array([query[(row, *network)] @ keys[(row, m, *network)] for m in there])
        p = copies * (scores if linear[(row, 0, *network)] else np.exp(scores) / (copies @ np.exp(scores)))
        for m, share in zip(there, p):
            attention[(row, *network, m)] = share
            output[(row, *network)] += share * values[(row, m, *network)]
    return output, attention


def some_inputs(batch=4, memories=7, middle=(3,), units=5, seed=0):
    """Returns the arguments; the second memory is full and the last one empty."""
    random = np.random.default_rng(seed)
    mask = random.random((batch, memories)) < 0.6
    mask[1], mask[-1] = True, False
    return {"query": random.normal(size=(batch, *middle, units)).astype("float32"),
            "keys": random.normal(size=(batch, memories, *middle, units)).astype("float32"),
            "values": random.normal(size=(batch, memories, *middle, units)).astype("float32"), "mask": mask}


def hop(inputs, **changes):
    """Returns the outputs as numpy arrays."""
    inputs = inputs | changes
    return [np.asarray(x) for x in layers.MemoryHop()(*inputs.values())]


def linear_rows(inputs, *networks):
    """Returns `linear` once per row, which broadcasts: check_layer takes the first axis of everything for the batch."""
    members = inputs["query"].shape[1]
    return np.tile(np.isin(np.arange(members), networks), (len(inputs["query"]), 1, 1))


def counted(inputs, most=6):
    """Returns the arguments with a mask of numbers: how many memories each entry stands for."""
    numbers = np.random.default_rng(5).integers(1, most, inputs["mask"].shape)
    return inputs | {"mask": (inputs["mask"] * numbers).astype("float32")}


@pytest.mark.parametrize("middle, masked", [((), "keys"), ((3,), "values"), ((3, 2), "keys")])
def test_contract(middle, masked, tmp_path):
    check_layer(lambda **options: layers.MemoryHop(**options), some_inputs(middle=middle), read, tmp_path,
                masks={"mask": masked})


@pytest.mark.parametrize("networks", [None, (), (0, 2)])
def test_contract_of_counts_and_without_softmax(networks, tmp_path):
    inputs = counted(some_inputs())
    if networks is not None:
        inputs |= {"linear": linear_rows(inputs, *networks)}
    check_layer(lambda **options: layers.MemoryHop(**options), inputs, read, tmp_path, masks={"mask": "keys"},
                constant=["mask"])


@pytest.mark.parametrize("linear", [False, True])
def test_an_entry_that_counts_three_times_is_three_memories(linear):
    inputs = some_inputs(memories=7)
    inputs["mask"][:, 2] = True
    mask = inputs["mask"].astype("float32")
    mask[:, 2] = 3
    output, attention = hop(inputs, mask=mask, linear=np.full(3, linear))
    thrice = {name: np.concatenate([inputs[name], inputs[name][:, 2:3], inputs[name][:, 2:3]], axis=1)
              for name in ("keys", "values", "mask")}
    expected, p = hop(inputs, **thrice, linear=np.full(3, linear))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(attention[..., 2], 3 * p[..., 8], rtol=1e-5)


def with_empty(inputs, places):
    """Returns the arguments with one entry more, which holds nothing and stands for all places that are left."""
    nothing = {name: np.pad(inputs[name], ((0, 0), (0, 1), (0, 0), (0, 0))) for name in ("keys", "values")}
    mask = layers.memory_hop.with_empty_places(inputs["mask"].astype("float32"), places)
    return inputs | nothing | {"mask": np.asarray(mask)}


def test_empty_places_are_memories_that_hold_nothing():
    """The same answer as from a memory in which the empty places are there and all zero."""
    inputs = some_inputs(memories=7)
    padded = {name: np.concatenate([value * inputs["mask"][:, :, None, None], np.zeros((4, 3, 3, 5), "float32")], axis=1)
              for name, value in inputs.items() if name in ("keys", "values")}
    output, attention = hop(with_empty(inputs, 10))
    expected, p = hop(inputs, **padded, mask=np.ones((4, 10), bool))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(attention[..., :7], p[..., :7] * inputs["mask"][:, None], rtol=1e-5)


@pytest.mark.parametrize("size", [300, -300])
def test_empty_places_and_huge_scores(size):
    """One that fits well is read whole; where none fits nothing is read, unless there is no empty place."""
    inputs = some_inputs()
    inputs["keys"][:] = size * np.sign(inputs["query"][:, None]) * np.abs(inputs["keys"])
    output, attention = hop(with_empty(inputs, 7))
    assert np.isfinite(output).all()
    whole = np.array([size > 0, True, size > 0, False])
    np.testing.assert_allclose(attention[..., :7].sum(axis=-1), np.tile(whole[:, None], 3), atol=1e-5)


def test_linear_says_which_networks_have_no_softmax():
    inputs = some_inputs()
    soft, mixed = hop(inputs), hop(inputs, linear=np.array([True, False, True]))
    for a, b, expected in zip(soft, mixed, read(None, *inputs.values(), linear=[True, False, True])):
        np.testing.assert_array_equal(a[:, 1], b[:, 1])
        np.testing.assert_allclose(b, expected, rtol=1e-5, atol=1e-5)
    scores = np.einsum("bnu,bmnu->bnm", inputs["query"], inputs["keys"]) * inputs["mask"][:, None]
    np.testing.assert_allclose(mixed[1][:, [0, 2]], scores[:, [0, 2]], rtol=1e-5, atol=1e-5)
    for a, b in zip(soft, hop(inputs, linear=np.zeros(3, bool))):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("linear", [False, True])
def test_an_empty_memory_reads_nothing(linear):
    output, attention = hop(some_inputs(), linear=np.full(3, linear))
    assert not output[-1].any() and not attention[-1].any()
    assert output[:-1].any(axis=-1).all()


def test_attention_is_shared_out_over_the_memories_that_are_there():
    inputs = some_inputs()
    _, attention = hop(inputs)
    np.testing.assert_allclose(attention.sum(axis=-1), np.tile([[1.0], [1], [1], [0]], 3), rtol=1e-5)
    assert ((attention > 0) == inputs["mask"][:, None]).all()


def test_the_only_memory_is_read_whole():
    inputs = some_inputs(memories=1)
    inputs["mask"][:] = True
    output, attention = hop(inputs)
    assert (attention == 1).all()
    np.testing.assert_array_equal(output, inputs["values"][:, 0])


@pytest.mark.parametrize("sign, winner", [(1, 2), (-1, 5)])
def test_a_memory_with_a_huge_score_wins(sign, winner):
    inputs = some_inputs()
    inputs["mask"][:, [2, 5]] = True
    inputs["keys"][:, 2] = 300 * sign * inputs["query"]  # thousands: softmax must not overflow
    inputs["keys"][:, 5] = -300 * sign * inputs["query"]
    output, attention = hop(inputs)
    np.testing.assert_allclose(attention[..., winner], 1, rtol=1e-6)
    np.testing.assert_allclose(output, inputs["values"][:, winner], rtol=1e-5)


@pytest.mark.parametrize("dtype, lowest", [("float32", -1e9), ("mixed_bfloat16", -1e9), ("mixed_float16", -2e4)])
def test_very_low_scores_of_memories_that_are_there_are_still_shared_out(dtype, lowest):
    inputs = some_inputs()
    inputs["query"] /= np.linalg.norm(inputs["query"], axis=-1, keepdims=True)
    inputs["keys"][:] = lowest * inputs["query"][:, None]  # the same score for all
    _, attention = layers.MemoryHop(dtype=dtype)(*inputs.values())
    expected = inputs["mask"] / np.maximum(inputs["mask"].sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(np.asarray(attention).astype("float32"), np.tile(expected[:, None], (1, 3, 1)),
                               rtol=1e-5 if dtype == "float32" else 1e-2)


def test_networks_do_not_influence_each_other():
    inputs, others = some_inputs(), some_inputs(seed=1)
    changed = {name: inputs[name].copy() for name in ("query", "keys", "values")}
    for name in changed:
        changed[name][..., 1, :] = others[name][..., 1, :]
    before, after = hop(inputs), hop(inputs, **changed)
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a[:, [0, 2]], b[:, [0, 2]])
        assert (a[:-1, 1] != b[:-1, 1]).any(axis=-1).all()


def test_memories_have_no_order():
    inputs = some_inputs()
    order = np.random.default_rng(2).permutation(7)
    output, attention = hop(inputs)
    moved_output, moved_attention = hop(inputs, **{name: inputs[name][:, order] for name in ("keys", "values", "mask")})
    np.testing.assert_allclose(moved_output, output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved_attention, attention[..., order], rtol=1e-5, atol=1e-6)
