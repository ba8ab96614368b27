"""Experiments: each module is a verb of this application, except `newton`, a method that two of them use."""
