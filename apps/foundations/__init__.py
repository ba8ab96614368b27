"""Predicts a class or a number from a table's columns: the models that everything else is built on, and how they are trained.

    python -m apps.foundations
    python -m apps.foundations --model linear
    python -m apps.foundations generative
    python -m apps.foundations bias_variance
    python -m apps.foundations cross_validation
    python -m apps.foundations optimizers
    python -m apps.foundations predict table.csv

Data:    tabular/diabetes, tabular/breast_cancer, tabular/iris, tabular/wine (embedded), and TFDS's sets of examples with one
         row of numbers and one class or number each.

Result:  the largest difference from what numpy or scikit-learn finds, accuracy or error on the test split; see RESULTS.md.
"""
