"""Appearance of a scan on another day: smooth changes of brightness, the same for every pixel of a tissue."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

GAMMA, GAIN, SHIFT = 0.35, 0.35, 0.25  # ranges at strength 1; shift in z-scores
FIELD, FIELD_SMOOTHNESS = 0.12, 0.3  # sd of the bias field, and its smoothness as a share of the sides
NOISE = 0.12  # largest sd of the noise, z-scores
WHITE = 3.0  # z-score that the tone curve keeps in place
STEPS = np.linspace(0.02, 0.98, 25)  # quantiles at which brightness is matched


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """White noise smoothed by ``sigma`` pixels, of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (noise - noise.mean()) / (noise.std() + 1e-9)


def restyle(image_CHW: np.ndarray, brain_HW: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draws a tone curve, gain, shift, bias field and noise for each channel, and applies them inside the brain.

    With t the brightness between the brain's darkest pixel and a z-score of 3, the curve is t^γ.

    Args:
        image_CHW: z-scores.
        brain_HW: bool; other pixels stay as they are.
        strength: 0 changes nothing; 1 the full ranges.
        rng: every draw comes from it.
    """
    if strength == 0 or not brain_HW.any():
        return image_CHW
    styled = image_CHW.copy()
    for channel, plane in enumerate(image_CHW):
        gamma, gain = np.exp(rng.uniform(-GAMMA, GAMMA) * strength), np.exp(rng.uniform(-GAIN, GAIN) * strength)
        shift, noise = rng.uniform(-SHIFT, SHIFT) * strength, rng.uniform(0, NOISE) * strength
        low = float(plane[brain_HW].min())
        span = max(WHITE - low, 1e-6)
        tone = np.power(np.clip((plane - low) / span, 0, None), gamma) * span + low
        field = 1 + FIELD * strength * smooth_noise(rng, plane.shape, FIELD_SMOOTHNESS * min(plane.shape))
        changed = (tone * gain + shift) * field + noise * rng.standard_normal(plane.shape)
        styled[channel] = np.where(brain_HW, changed, plane)
    return styled


def match_brightness(
    image_CHW: np.ndarray, brain_HW: np.ndarray, lesion_HW: np.ndarray, like_CM: np.ndarray
) -> np.ndarray:
    """Gives each channel of a slice the brightness of another's healthy brain: a rising curve through its quantiles.

    Args:
        image_CHW: z-scores.
        brain_HW: bool; other pixels stay as they are.
        lesion_HW: bool; lesions take part in no quantile, and are shifted as the end of the curve is.
        like_CM: z-scores of the healthy brain to be like, any number of pixels.
    """
    healthy_HW = brain_HW & ~lesion_HW
    if not healthy_HW.any() or not like_CM.size:
        return image_CHW
    matched = image_CHW.copy()
    for channel, plane in enumerate(image_CHW):
        source, target = np.quantile(plane[healthy_HW], STEPS), np.quantile(like_CM[channel], STEPS)
        values = plane[brain_HW]
        # what lies beyond is kept, so that lesions stay as bright against the rest
        beyond = values - np.clip(values, source[0], source[-1])
        # quantiles of a flat slice are equal; interpolation wants them rising
        rising = source + 1e-6 * np.arange(len(source))
        matched[channel][brain_HW] = np.interp(values, rising, target) + beyond
    return matched
