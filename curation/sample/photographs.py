"""Photographs that scikit-image and scikit-learn install with themselves, captioned by us and cropped in several shapes.

Nothing is downloaded: only files inside the two wheels are named. Every photograph has a box that a crop must keep, so
that its captions stay true of the crop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

ASPECTS: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 4 / 3, 1.8, 3.0)
"""Width / height of the crops; one is made wherever it can hold the subject."""


@dataclass(frozen=True)
class Photograph:
    """One photograph: the file inside its package, licence, captions, and the subject's box.

    `subject` is (left, top, right, bottom) in fractions of the width and height.
    """

    name: str
    package: str
    file: str
    licence: str
    captions_en: tuple[str, ...]
    captions_zh: tuple[str, ...]
    subject: tuple[float, float, float, float]

    def open(self) -> Image.Image:
        """The whole photograph as RGB; FileNotFoundError where the package does not carry it."""
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(f"package {self.package} is not installed, it carries the photograph {self.name}")
        with Image.open(Path(spec.origin).parent / self.file) as image:
            return image.convert("RGB")


PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph(
        "astronaut",
        "skimage",
        "data/astronaut.png",
        "public domain (NASA)",
        ("a smiling woman astronaut in an orange space suit", "portrait of an astronaut in an orange suit"),
        ("一位穿着橙色宇航服微笑的女宇航员", "穿橙色太空服的宇航员肖像"),
        (0.24, 0.02, 0.72, 0.62),
    ),
    Photograph(
        "cameraman",
        "skimage",
        "data/camera.png",
        "CC0-1.0",
        (
            "a black and white photo of a man with a camera on a tripod",
            "a man in a dark coat looks through a camera",
        ),
        ("一张男人使用三脚架相机的黑白照片", "一个穿深色大衣的男人正在看相机"),
        (0.14, 0.08, 0.80, 0.98),
    ),
    Photograph(
        "cat",
        "skimage",
        "data/chelsea.png",
        "CC0-1.0",
        ("close-up of a tabby cat with green eyes", "the face of a brown striped cat"),
        ("一只绿眼睛虎斑猫的特写", "一只棕色条纹猫的脸"),
        (0.18, 0.06, 0.80, 0.92),
    ),
    Photograph(
        "coffee",
        "skimage",
        "data/coffee.png",
        "CC0-1.0",
        ("a cup of coffee on a red saucer", "an espresso in a cup on a wooden table", "a coffee cup with a spoon"),
        ("红色碟子上的一杯咖啡", "木桌上的一杯浓缩咖啡", "一个咖啡杯和一把勺子"),
        (0.26, 0.04, 0.74, 0.86),
    ),
    Photograph(
        "coins",
        "skimage",
        "data/coins.png",
        "no known copyright restrictions",
        ("old coins in rows on a dark background", "a black and white photo of ancient coins"),
        ("深色背景上成排的古老硬币", "一张古代硬币的黑白照片"),
        (0.42, 0.36, 0.58, 0.64),
    ),
    Photograph(
        "brick",
        "skimage",
        "data/brick.png",
        "CC0-1.0",
        ("a brick wall texture", "a black and white photo of a brick wall"),
        ("砖墙纹理", "一张砖墙的黑白照片"),
        (0.42, 0.42, 0.58, 0.58),
    ),
    Photograph(
        "grass",
        "skimage",
        "data/grass.png",
        "CC0-1.0",
        ("a grass texture", "a black and white photo of grass from above"),
        ("草地纹理", "一张从上方拍摄的草地黑白照片"),
        (0.42, 0.42, 0.58, 0.58),
    ),
    Photograph(
        "gravel",
        "skimage",
        "data/gravel.png",
        "CC0-1.0",
        ("a gravel texture", "a black and white photo of many small stones"),
        ("碎石纹理", "一张许多小石子的黑白照片"),
        (0.42, 0.42, 0.58, 0.58),
    ),
    Photograph(
        "galaxies",
        "skimage",
        "data/hubble_deep_field.jpg",
        "public domain (NASA)",
        ("distant galaxies in deep space", "a telescope picture of stars and galaxies on a black sky"),
        ("深空中遥远的星系", "黑色天空中恒星和星系的望远镜照片"),
        (0.42, 0.42, 0.58, 0.58),
    ),
    Photograph(
        "motorcycle",
        "skimage",
        "data/motorcycle_left.png",
        "CC0-1.0",
        ("a red motorcycle in a garage", "a red motorbike parked in a workshop"),
        ("车库里的一辆红色摩托车", "停在车间里的红色摩托车"),
        (0.12, 0.10, 0.94, 0.82),
    ),
    Photograph(
        "rocket",
        "skimage",
        "data/rocket.jpg",
        "CC0-1.0",
        ("a rocket on its launch pad at dusk", "a tall white rocket ready for launch"),
        ("黄昏时发射台上的一枚火箭", "一枚准备发射的白色高大火箭"),
        (0.44, 0.16, 0.57, 0.98),
    ),
    Photograph(
        "moon",
        "skimage",
        "data/moon.png",
        "public domain (NASA)",
        ("the surface of the moon with craters", "a grey photo of moon craters"),
        ("有环形山的月球表面", "一张月球陨石坑的灰色照片"),
        (0.10, 0.05, 0.66, 0.30),
    ),
    Photograph(
        "pagoda",
        "sklearn",
        "datasets/images/china.jpg",
        "CC-BY-2.0",
        ("a colourful Chinese pagoda beside a lake", "a traditional tower of a Chinese palace among trees"),
        ("湖边一座色彩鲜艳的中国宝塔", "树丛中的中国传统宫殿塔楼"),
        (0.10, 0.06, 0.64, 0.92),
    ),
    Photograph(
        "dahlia",
        "sklearn",
        "datasets/images/flower.jpg",
        "CC-BY-2.0",
        ("an orange dahlia flower in front of dark green leaves", "close-up of a round orange flower"),
        ("深绿色叶子前的一朵橙色大丽花", "一朵圆形橙色花的特写"),
        (0.24, 0.12, 0.72, 0.86),
    ),
)


@dataclass(frozen=True)
class PhotographCrop:
    """A crop of a photograph that still shows what its captions say."""

    photograph: Photograph
    aspect: float
    image: Image.Image


def crop_box(
    size: tuple[int, int], subject: tuple[float, float, float, float], aspect: float
) -> tuple[int, int, int, int] | None:
    """The largest box of `aspect` inside `size` px that holds the subject, centred on it; None where none does."""
    width, height = size
    wide = min(float(width), height * aspect)
    tall = wide / aspect
    left, top, right, bottom = subject[0] * width, subject[1] * height, subject[2] * width, subject[3] * height
    if right - left > wide or bottom - top > tall:
        return None
    x = min(max((left + right - wide) / 2, 0.0), width - wide)
    y = min(max((top + bottom - tall) / 2, 0.0), height - tall)
    return round(x), round(y), round(x + wide), round(y + tall)


def photograph_crops(aspects: tuple[float, ...] = ASPECTS, *, longest_px: int = 512) -> Iterator[PhotographCrop]:
    """Every photograph at every aspect that can hold its subject, shrunk to `longest_px` on the longer side."""
    for photograph in PHOTOGRAPHS:
        whole = photograph.open()
        for aspect in aspects:
            box = crop_box(whole.size, photograph.subject, aspect)
            if box is None:
                continue
            image = whole.crop(box)
            image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
            yield PhotographCrop(photograph, aspect, image)
