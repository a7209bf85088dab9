"""Inputs of generators and critics: latents, composed slices, batches and their augmentation."""

from labelgan.gan.inputs.inputs import INPUTS, Compositions, Inputs, Latents, make_inputs

__all__ = ["INPUTS", "Compositions", "Inputs", "Latents", "make_inputs"]
