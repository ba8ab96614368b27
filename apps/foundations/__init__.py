"""Predicts a class or a number from the columns of a table, with the models that all others build on.

    python -m apps.foundations
    python -m apps.foundations --model linear
    python -m apps.foundations generative
    python -m apps.foundations bias_variance
    python -m apps.foundations cross_validation
    python -m apps.foundations optimizers
    python -m apps.foundations predict table.csv

Data:    tabular/diabetes, tabular/breast_cancer, tabular/iris, tabular/wine (embedded), and TFDS data sets whose examples
         are rows of numbers with a class or a number to predict.

Result:  largest difference from the solution of NumPy or scikit-learn, and test accuracy or error; see RESULTS.md.
"""
