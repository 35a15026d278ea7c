"""Records and plots in, written to loggers. Imports measure, TensorBoard and matplotlib, never Lightning."""
