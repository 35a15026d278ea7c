"""Statistics of tensors: tensors in, small frozen values out. Imports torch and NumPy, never Lightning."""
