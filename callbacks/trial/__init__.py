"""Trial of a model before its training: a few steps on a copy. Knows no rule and no logger."""
