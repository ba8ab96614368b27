"""Pictures, activations, texts and embeddings of each system, on a few words."""
import numpy as np
import pytest
import tensorflow as tf

from apps.dialog import pictures
from tests.apps import small_dialogs
from training.data.spec import Splits

WORDS = {word: number for number, word in enumerate(small_dialogs.INFO.words)}
LINES = {"history": [["#user hello", "#bot what food"], ["#user hi"], []], "query": ["greek", "hello", "hi"]}


@pytest.fixture(scope="module")
def splits():
    """Three responses of the test split: of one dialogue with two lines before the query, one line, and none."""
    history, query = np.zeros((3, small_dialogs.MEMORIES, 9), "int32"), np.zeros((3, 8), "int32")
    for row, (lines, last) in enumerate(zip(LINES["history"], LINES["query"])):
        query[row, 0] = WORDS[last]
        for place, line in enumerate(lines):
            ids = [WORDS[word] for word in line.split()]
            history[row, place, :len(ids)] = ids
    inputs = {"history": history, "query": query, "entities": np.zeros((3, 10), "int32")}
    return Splits(None, None, tf.data.Dataset.from_tensor_slices((inputs, {"response": [2, 0, 0]})).batch(3), None)


@pytest.mark.parametrize("system", small_dialogs.APP.systems)
def test_each_system_is_rendered(system, splits):
    model, config = small_dialogs.build(system)
    rendered = pictures.render(model, splits, config, small_dialogs.INFO, {})
    has_memory = system == "memn2n"
    assert list(rendered.pictures) == ["attention" if has_memory else "scores"]
    (images,) = rendered.pictures.values()
    assert images.dtype == np.uint8 and images.ndim == 4 and len(images) == 3 and images.std() > 0
    assert list(rendered.activations) == ["logits", *(f"attention_{hop}" for hop in (1, 2, 3) if has_memory)]
    rows = rendered.texts["dialogues"].splitlines()
    assert len(rows) == 2 + 3 and rows[3].startswith("| user: hello | ")
    if system == "tfidf":
        assert rendered.embeddings == {}
    else:
        vectors, metadata, _ = rendered.embeddings["words"]
        assert vectors.shape == (24, config.embedding_size) and metadata[-1] == {"word": "your", "kind": "word"}
        vectors, metadata, _ = rendered.embeddings["responses"]
        assert vectors.shape == (4, config.embedding_size)  # those that training can express
        assert metadata[2] == {"response": "api_call greek oslo", "kind": "API calls"}
        np.testing.assert_allclose(vectors[2], np.asarray(model.response_vectors())[2])
