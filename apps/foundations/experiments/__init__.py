"""Experiments: each module is a verb of this application, but for `newton`, the method that two of them use."""
