"""The settings that make each system small enough for the contract of `test_apps.py`."""

TINY = {
    "detection": {
        "faster_rcnn": dict(image_size=64, batch_size=4, pyramid_filters=16, head_units=32, regions_per_image=16, proposals=16),
        "retinanet": dict(image_size=64, batch_size=4, pyramid_filters=16, head_layers=1),
        "keras_cv_retinanet": dict(image_size=64, batch_size=4),
        "yolo": dict(image_size=64, batch_size=4, cells=4, head_layers=1, head_filters=32),
        "ssd": dict(image_size=64, batch_size=4, extra_filters=32),
        "sliding_window": dict(image_size=64, batch_size=4, filters=16, window_heights=(16, 32), window_ratios=(1.0, 2.0)),
        "rcnn": dict(image_size=48, batch_size=4, region_size=32, head_units=32, regions_per_image=16, regions=20),
        "fast_rcnn": dict(image_size=48, batch_size=4, pyramid_filters=16, head_units=32, regions_per_image=16, regions=20),
    },
    "segmentation": {
        "unet": dict(image_size=32, width=4, stages=3, batch_size=4),
        "encoder_decoder": dict(image_size=32, width=4, stages=2, batch_size=4),
        "fcn": dict(image_size=32, width=4, stages=3, batch_size=4),
        "patches": dict(image_size=16, width=4, stages=1, units=8, batch_size=4, every=3),
        "convolutional": dict(image_size=32, width=4, stages=1, units=8, batch_size=4),
        "mask_rcnn": dict(image_size=64, batch_size=4, pyramid_filters=16, head_units=32, regions_per_image=16, proposals=16,
                          mask_layers=1, mask_filters=16),
    },
    "classification": {
        "resnet": dict(image_size=16, width=4, batch_size=16, augment=True, dropout=0.2, gradient_noise=1e-4),
        "lenet5": dict(batch_size=16),
        "alexnet": dict(width=6, batch_size=16),
        "vgg16": dict(image_size=16, width=4, batch_size=16),
        "maxout": dict(width=4, batch_size=16),
        "dense_maxout": dict(width=8, batch_size=16, learning_rate=0.1, initializer="he", adversarial_epsilon=0.1),
        "softmax": dict(image_size=8, batch_size=16),
    },
    "localization": {
        "localizer": dict(image_size=64, batch_size=8, backbone="small", hidden_units=16, dropout=0.2, boxes="per_class"),
    },
    "transfer": {
        "all_layers": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
        "higher_layers": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
        "classifier_only": dict(image_size=8, width=4, batch_size=16, source_epochs=1),
        "scratch": dict(image_size=8, width=4, batch_size=16),
        "multi_task": dict(image_size=8, width=4, batch_size=16),
    },
    "memory_qa": {
        "memn2n": dict(embedding_size=8, memory_size=10, hops=2, restarts=2, epochs=4, tasks=(1, 6)),
        "key_value": dict(embedding_size=8, memory_size=10, epochs=4, tasks=(1, 6)),
        "lstm": dict(embedding_size=8, memory_size=10, epochs=4, tasks=(1, 6)),
    },
    "dialog": {
        "memn2n": dict(embedding_size=8, memory_size=10, hops=2),
        "supervised_embeddings": dict(embedding_size=8, memory_size=10, epochs=4),
        "tfidf": dict(memory_size=10),
    },
    "ensembles": {
        "independent": dict(members=2, hidden=8, batch_size=16, epochs=2),
        "snapshots": dict(members=2, hidden=8, batch_size=16, epochs=2, learning_rate=0.1),
        "bagging": dict(members=2, hidden=8, batch_size=16, epochs=2),
        "adaboost": dict(members=2, hidden=8, batch_size=16, epochs=4, learning_rate=0.1),
        "gradient_boosting": dict(members=2, hidden=32, batch_size=16, epochs=2),
    },
    "foundations": {
        "softmax": dict(batch_size=16, columns=("alcohol", "flavanoids", "color_intensity", "proline")),
        "logistic": dict(batch_size=16, columns=("worst texture", "worst area", "worst smoothness", "worst concave points")),
        "linear": dict(batch_size=4, columns=("bmi", "bp", "s1", "s5")),
        "naive_bayes": dict(batch_size=16, columns=("alcohol", "flavanoids", "color_intensity", "proline")),
        "lda": dict(batch_size=16, columns=("alcohol", "flavanoids", "color_intensity", "proline")),
    },
}
"""app -> system -> settings; the first system is the app's default"""

OVERFIT = {"detection": dict(augment=False, learning_rate=3e-3),
           "segmentation": dict(augment=False, learning_rate=0.02, class_balance=0.5),
           "localization": dict(augment=False, dropout=0.0, learning_rate=1e-2),
           "classification": dict(augment=False, dropout=0.0, gradient_noise=0.0, adversarial_epsilon=0.0),
           "foundations": dict(c="none"),
           ("classification", "maxout"): dict(learning_rate=0.01), ("transfer", "classifier_only"): dict(learning_rate=1.0),
           ("memory_qa", "key_value"): dict(learning_rate=0.03), ("memory_qa", "lstm"): dict(learning_rate=0.03)}
"""app, or app and system -> settings, of those that a system has, with which it learns one batch by heart in 120 steps"""

ONE_DEVICE = {("detection", "keras_cv_retinanet")}
"""systems that refuse in one sentence to train on several replicas"""

NOTHING_TO_TRAIN = {("dialog", "tfidf"), ("foundations", "naive_bayes"), ("foundations", "lda")}
"""systems that only count"""

QUESTIONS = {"memory_qa": "Mary went to the kitchen.\nWhere is Mary?\n", "dialog": "user: hello\n",
             "foundations": "13.2,2.76,4.38,1050\n"}
"""app that reads text -> what it is asked"""
