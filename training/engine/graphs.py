"""Objects that are created once per model and reused, such as the prediction graph."""
import weakref

_made = weakref.WeakKeyDictionary()  # no attribute of the model: Keras would track it, and count weights twice


def of_model(model, key, make):
    """Returns the result of the first call of `make` for this model and key; it is deleted together with the model.

        answer = graphs.of_model(model, "answer", lambda model: tf.function(lambda inputs: model(inputs, training=False)))

    model: Keras model
    key:   any hashable value that begins with the name of the module, to avoid conflicts with other modules
    make:  function of a weak proxy of the model, which is used like the model itself. Its result must reference the model only
           through this proxy, otherwise it would keep the model alive: `make` must not use `model` from the enclosing scope.
    """
    made = _made.setdefault(model, {})
    if key not in made:
        made[key] = make(weakref.proxy(model))
    return made[key]
