"""Resize to cover, then cut: the one way a picture becomes one of a given size."""

from dataclasses import asdict, dataclass

from PIL import Image


@dataclass(frozen=True)
class CropPlan:
    """Resize to (`resize_height`, `resize_width`), then cut `height` x `width` at (`top`, `left`); all in px."""

    resize_height: int
    resize_width: int
    top: int
    left: int
    height: int
    width: int

    def as_row(self) -> dict[str, int]:
        """The plan as the `CROP` struct of `curation.records`."""
        return asdict(self)


def size_to_cover(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Smallest (height, width) of the same aspect as `size` with neither side below `target`; whole numbers only."""
    (height, width), (target_height, target_width) = size, target
    if min(*size, *target) < 1:
        raise ValueError(
            f"size and target must be at least 1x1 px; got {height}x{width} and {target_height}x{target_width}"
        )
    if target_height * width >= target_width * height:  # the height is the side that decides
        return target_height, max(target_width, (2 * width * target_height + height) // (2 * height))
    return max(target_height, (2 * height * target_width + width) // (2 * width)), target_width


def plan_centre_crop(size: tuple[int, int], target: tuple[int, int]) -> CropPlan:
    """The plan that covers `target` (height, width) with a picture of `size` (height, width) and cuts the centre."""
    resize_height, resize_width = size_to_cover(size, target)
    top, left = (resize_height - target[0]) // 2, (resize_width - target[1]) // 2
    return CropPlan(resize_height, resize_width, top, left, *target)


def apply_crop(image: Image.Image, plan: CropPlan) -> Image.Image:
    """The picture, resized with antialiasing (Pillow's bicubic) and cut as planned."""
    if (image.height, image.width) != (plan.resize_height, plan.resize_width):
        image = image.resize((plan.resize_width, plan.resize_height), Image.Resampling.BICUBIC)
    if (plan.top, plan.left, plan.height, plan.width) == (0, 0, image.height, image.width):
        return image
    return image.crop((plan.left, plan.top, plan.left + plan.width, plan.top + plan.height))
