"""What is made once for a model and used again, such as the graph that answers for a batch."""
import weakref

_made = weakref.WeakKeyDictionary()  # no attribute of the model: Keras would track it, and count weights twice


def of_model(model, key, make):
    """Returns what `make` returned the first time for this model and key; it is forgotten together with the model.

        answer = graphs.of_model(model, "answer", lambda model: tf.function(lambda inputs: model(inputs, training=False)))

    model: Keras model
    key:   any hashable value; begin it with the name of the module, as other modules keep things for the same model
    make:  function of a weak proxy of the model, which is used like the model itself. What it returns must hold the model
           through this proxy only, or else it would keep the model alive: `make` must not read `model` from around it.
    """
    made = _made.setdefault(model, {})
    if key not in made:
        made[key] = make(weakref.proxy(model))
    return made[key]
