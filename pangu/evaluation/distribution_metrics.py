"""Metrics that compare the generated images as a set with the reference: FID and its relatives.

FID, FD-DINOv2: `FrechetDistance`. KID: `KernelDistance`. CMMD: `cmmd`. IS: `InceptionScore`. Precision, recall,
density, coverage: `ManifoldOverlap`.
"""

from dataclasses import dataclass

from pangu.evaluation.features import ExtractorCard
from pangu.evaluation.frechet_interval import (
    can_extrapolate,
    frechet_at_infinity,
    frechet_interval,
    frechet_interval_of_statistics,
)
from pangu.evaluation.inception_score import inception_interval
from pangu.evaluation.intervals import bootstrap_mean, rate_interval
from pangu.evaluation.kernel import Kernel, cubic_kernel, gaussian_kernel_of_directions, kernel_interval
from pangu.evaluation.metric import Measurement, Needs
from pangu.evaluation.neighbours import COVERAGE_NEIGHBOURS, PRECISION_NEIGHBOURS, manifold_shares
from pangu.evaluation.partial_state import PartialState

# Below this the bias of a Frechet distance is larger than most differences between models (arXiv 1911.07023).
MIN_IMAGES_FOR_FRECHET = 2048
_MIN_IMAGES_FOR_INCEPTION_SCORE = 5000


@dataclass(frozen=True)
class FrechetDistance:
    """FID where the network is that of papers, `frechet_distance` of any other, or a name of one's own ("fd_dinov2").

    Where halves of the set are of full rank, a second row, `<name>_infinity`, extrapolates over the generated images.
    """

    extractor: str
    named: str | None = None
    at_infinity: bool = True

    @property
    def name(self) -> str:
        """The name given, or that of a Frechet distance of any network."""
        return self.named or "frechet_distance"

    @property
    def needs(self) -> Needs:
        """Moments for the value, rows for its interval."""
        return Needs(rows=True, moments=True)

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the distance and, where it can be had, its limit for infinitely many images."""
        if reference is None or min(generated.count, reference.count) < 2:
            return []
        card = generated.card
        name = self.named or ("fid" if card.published else "frechet_distance")
        smaller = min(generated.count, reference.count)
        if generated.rows_are_complete and reference.rows_are_complete:
            value = frechet_interval(generated.features, reference.features, seed=seed)
        else:
            own, other = generated.statistics(), reference.statistics()
            value = frechet_interval_of_statistics(own, other, generated.features, seed=seed)
        notes = (frechet_warning(smaller, card.num_dims), f"Reference: {reference.count} images.")
        found = [Measurement(name, value, generated.count, notes)]
        rows = len(generated.features)
        if self.at_infinity and reference.count > card.num_dims and can_extrapolate(rows, card.num_dims):
            limit = frechet_at_infinity(generated.features, reference.statistics(), seed=seed)
            line = f"Extrapolated from {rows} images to infinitely many; the reference as it is."
            found.append(Measurement(f"{name}_infinity", limit, generated.count, (*notes, line)))
        return found


@dataclass(frozen=True)
class KernelDistance:
    """KID, or with another kernel another unbiased squared MMD."""

    extractor: str
    name: str = "kid"
    kernel: Kernel = cubic_kernel

    @property
    def needs(self) -> Needs:
        """Every pair is compared, so the rows."""
        return Needs(rows=True)

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the distance with its interval over both sets."""
        if reference is None or min(len(generated.features), len(reference.features)) < 2:
            return []
        value = kernel_interval(generated.features, reference.features, kernel=self.kernel, seed=seed)
        notes = (f"Reference: {reference.count} images.", _sample_note(generated))
        return [Measurement(self.name, value, generated.count, notes)]


def cmmd(extractor: str) -> KernelDistance:
    """CMMD of a CLIP extractor: unbiased, where the first public code keeps the diagonal, which adds about 1000 / n."""
    return KernelDistance(extractor, name="cmmd", kernel=gaussian_kernel_of_directions)


@dataclass(frozen=True)
class InceptionScore:
    """IS, from the class logits of the extractor; no row where it has none."""

    extractor: str
    name: str = "inception_score"

    @property
    def needs(self) -> Needs:
        """Class logits."""
        return Needs(rows=True, logits=True)

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the score of the generated images alone."""
        if generated.logits is None or len(generated.logits) < 2:
            return []
        count = len(generated.logits)
        value = inception_interval(generated.logits, seed=seed)
        return [Measurement(self.name, value, generated.count, _inception_notes(count, generated.card))]


@dataclass(frozen=True)
class ManifoldOverlap:
    """Precision, recall, density and coverage; their intervals take the other set's balls as given."""

    extractor: str
    name: str = "precision"

    @property
    def needs(self) -> Needs:
        """Every distance is taken, so the rows."""
        return Needs(rows=True)

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the four shares."""
        if reference is None or min(len(generated.features), len(reference.features)) <= COVERAGE_NEIGHBOURS:
            return []
        shares = manifold_shares(generated.features, reference.features)
        nearest = f"Neighbours: {PRECISION_NEIGHBOURS} for precision and recall, {COVERAGE_NEIGHBOURS} for the others."
        notes = (f"Reference: {reference.count} images.", _sample_note(generated), nearest)
        found = [
            Measurement(name, rate_interval(int(each.sum()), len(each)), generated.count, notes)
            for name, each in (
                ("precision", shares.precision),
                ("recall", shares.recall),
                ("coverage", shares.coverage),
            )
        ]
        density = bootstrap_mean(shares.density, seed=seed)
        return [*found, Measurement("density", density, generated.count, notes)]


def frechet_warning(smaller: int, num_dims: int) -> str:
    """Return the sentence that a Frechet distance of too few images must carry, or nothing."""
    if smaller >= max(MIN_IMAGES_FOR_FRECHET, num_dims + 1):
        return ""
    reason = f"fewer than {MIN_IMAGES_FOR_FRECHET} images"
    if smaller <= num_dims:
        reason = f"fewer images than the {num_dims} feature dimensions, so the covariance is rank-deficient"
    return f"NOT MEANINGFUL at n={smaller}: {reason}. Read KID instead."


def _inception_notes(count: int, card: ExtractorCard) -> tuple[str, ...]:
    """Return the sentences that an inception score of few images or of another network must carry."""
    sentences = []
    if count < _MIN_IMAGES_FOR_INCEPTION_SCORE:
        sentences.append(f"Biased low at n={count} (one split; published scores use 50,000 images in ten).")
    if not card.published:
        sentences.append("Classes are those of this network, not Inception's: compare only with itself.")
    return tuple(sentences)


def _sample_note(state: PartialState) -> str:
    """Return the sentence for a number from a sample of the rows, or nothing."""
    return "" if state.rows_are_complete else f"From a fixed sample of {len(state.features)} of {state.count} images."
