"""LabelGAN: from a few annotated scans to labelled synthetic images, and an honest verdict on whether they help."""

__version__ = "0.1.0"
