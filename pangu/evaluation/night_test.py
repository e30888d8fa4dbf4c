"""Is tonight's number worse than nights vary by themselves? A prediction interval from earlier nights, and Holm.

With W earlier nights of mean m and deviation s, a quiet night x has (x - m) / (s (1 + 1/W)^(1/2)) distributed as
Student's t with W - 1 degrees of freedom, exactly for normal nights. That counts every noise there is between nights
(seeds, machines, retraining), where a test on one night's images would count only the noise of the images.
Many metrics and strata are tested a night. Holm's step-down keeps the chance of any false alarm in a quiet night at or
below the stated rate however the metrics depend on each other. Source: Holm 1979, Scandinavian Journal of Statistics 6.
Not a CUSUM or an e-value: those find slow drifts sooner, but alarm on a night that did not cause it, and
a nightly gate must name the night.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Float64Array = NDArray[np.float64]


def predictive_scale(window: NDArray[Any], noise_variance: NDArray[Any] | float = 0.0) -> Float64Array:
    """Return the deviation of (tonight - mean of the window): (...) of window (..., W), W >= 2.

    noise_variance: of the same difference, from the images alone. It is the floor: nights that happened to agree, or
    that were bit-equal because the same model ran again, must not make every later change an alarm.
    """
    num_nights = window.shape[-1]
    if num_nights < 2:
        raise ValueError(f"window: received {num_nights} nights, accepted: 2 or more")
    variance = window.var(axis=-1, ddof=1) * (1.0 + 1.0 / num_nights)
    scale: Float64Array = np.sqrt(np.maximum(variance, noise_variance))
    return scale


def predictive_p_values(
    window: NDArray[Any],
    tonight: NDArray[Any],
    worse: NDArray[Any] | int,
    noise_variance: NDArray[Any] | float = 0.0,
    noise_degrees: NDArray[Any] | float | None = None,
) -> Float64Array:
    """Return the chance of a quiet night at least as bad as tonight: (...) of window (..., W) and tonight (...).

    The larger of two: against the spread between nights, with W - 1 degrees of freedom, and against the noise of the
    images, with `noise_degrees` (pairs - 1; W - 1 where it is not known). Either alone may be blind.
    worse: +1 where higher is worse, -1 where lower is, 0 where either is.
    """
    shift = tonight - window.mean(axis=-1)
    # A sum of equal numbers is off by its last bits: that is no change.
    tiny = 1e-12 * np.abs(window).max(axis=-1)
    shift = np.where(np.abs(shift) <= tiny, 0.0, shift)
    degrees = window.shape[-1] - 1
    noise = np.asarray(noise_variance, dtype=np.float64)
    of_nights = _tail(shift, predictive_scale(window), degrees, worse)
    of_images = _tail(shift, np.sqrt(noise), degrees if noise_degrees is None else noise_degrees, worse)
    p_values: Float64Array = np.where(noise > 0.0, np.maximum(of_nights, of_images), of_nights)
    return p_values


def predictive_reach(
    window: NDArray[Any], noise_variance: float, noise_degrees: float | None, tail: float
) -> Float64Array:
    """Return how far from the mean of the window (..., W) the p-value falls to `tail` on one side."""
    degrees = window.shape[-1] - 1
    of_images = special.stdtrit(degrees if noise_degrees is None else noise_degrees, 1.0 - tail)
    reach: Float64Array = np.maximum(
        predictive_scale(window) * special.stdtrit(degrees, 1.0 - tail), noise_variance**0.5 * of_images
    )
    return reach


def _tail(
    shift: NDArray[Any], scale: NDArray[Any], degrees: NDArray[Any] | float, worse: NDArray[Any] | int
) -> Float64Array:
    """Return Student's chance of a shift at least as bad as this one."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = np.where(shift == 0.0, 0.0, shift / scale)
    one_sided = special.stdtr(degrees, -ratio * np.where(np.asarray(worse) == 0, 1, worse))
    found: Float64Array = np.where(np.asarray(worse) == 0, 2.0 * special.stdtr(degrees, -np.abs(ratio)), one_sided)
    return found


def holm_adjusted(p_values: NDArray[Any]) -> Float64Array:
    """Return the adjusted p-values (..., M): alarms are those at or below the rate stated for the whole night."""
    num_tests = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1)
    stepped = np.take_along_axis(p_values, order, axis=-1) * (num_tests - np.arange(num_tests))
    ordered = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    adjusted = np.empty_like(ordered)
    np.put_along_axis(adjusted, order, ordered, axis=-1)
    return adjusted


def detectable_shift(*, false_positive_rate: float, num_tests: int, num_nights: int, power: float = 0.9) -> float:
    """Return the shift, in deviations between nights, that one metric of `num_tests` is found by with this power."""
    if num_nights < 3:
        raise ValueError(f"num_nights: received {num_nights}, accepted: 3 or more")
    degrees, spread = num_nights - 1, (1.0 + 1.0 / num_nights) ** 0.5
    bound = stats.t.isf(false_positive_rate / num_tests, degrees)
    missed = optimize.brentq(lambda shift: stats.nct.sf(bound, degrees, shift / spread) - power, 0.0, 500.0)
    return float(missed)
