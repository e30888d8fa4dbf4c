"""The sample web site: a few hundred drawn scenes and photograph crops, and every trouble that a real URL list has."""

import hashlib
import io
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from curation.sample.http_server import Behaviour, write_behaviours
from curation.sample.photographs import photograph_crops
from curation.sample.scene_captions import caption_en, caption_zh, is_held_out
from curation.sample.scenes import Scene, draw, random_scene

ROWS_FILE = "site_rows.jsonl"
ASPECTS: tuple[float, ...] = (4.0, 3.5, 2.0, 5 / 3, 9 / 7, 1.0, 7 / 9, 3 / 5, 0.5, 1 / 3.5, 0.25)
"""Width / height of the sample's eleven buckets, by index."""


@dataclass(frozen=True)
class SiteRow:
    """One line of the URL list to be: `address` is a path on the site, or a whole URL that leads nowhere good.

    `case` says what is the matter with it ('plain': nothing), for whoever checks what became of it.
    """

    address: str
    captions_en: tuple[str, ...]
    captions_zh: tuple[str, ...]
    licence: str
    sha256: str | None
    case: str


@dataclass(frozen=True)
class _Picture:
    scene: Scene
    size: tuple[int, int]
    seed: int
    captions_en: tuple[str, ...]
    captions_zh: tuple[str, ...]

    @property
    def path(self) -> str:
        ending = "png" if self.scene.style == "flat" else "jpg"
        return f"/scenes/{self.scene.style}-{self.seed % 1_000_000:05d}.{ending}"

    def encoded(self) -> bytes:
        image = draw(self.scene, self.size, self.seed)
        return encode(image, "PNG") if self.scene.style == "flat" else encode(image, "JPEG", quality=92)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of `image` as a file of `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _plan_pictures(num_scenes: int, side_px: int, seed: int) -> list[_Picture]:
    """Scenes of combinations that no evaluation prompt uses, styles in turn, aspect ratios of all buckets."""
    rng = np.random.default_rng(seed)
    planned: list[_Picture] = []
    while len(planned) < num_scenes:
        aspect = ASPECTS[int(rng.choice(len(ASPECTS), p=_ASPECT_SHARES))]
        scene = random_scene(rng, aspect=aspect, style="flat" if len(planned) % 2 == 0 else "shaded")
        if is_held_out(scene):
            continue
        size = (round(side_px * aspect**0.5), round(side_px / aspect**0.5))
        told_en = tuple(dict.fromkeys(caption_en(scene, rng) for _ in range(2)))
        told_zh = tuple(dict.fromkeys(caption_zh(scene, rng) for _ in range(2)))
        planned.append(_Picture(scene, size, seed * 1_000_000 + len(planned), told_en, told_zh))
    return planned


_ASPECT_SHARES = np.array([1, 1, 2, 2, 3, 6, 3, 2, 2, 1, 1]) / 24


def _write_picture(task: tuple[_Picture, Path]) -> str:
    picture, folder = task
    body = picture.encoded()
    (folder / picture.path.lstrip("/")).write_bytes(body)
    return hashlib.sha256(body).hexdigest()


def write_site(
    folder: Path, *, num_scenes: int = 600, side_px: int = 256, seed: int = 0, num_processes: int = 1
) -> list[SiteRow]:
    """Write the files, `behaviours.json` and `site_rows.jsonl` into `folder`; the rows in the order of the list.

    `side_px` is the root of a scene's area. The same arguments write the same bytes whatever `num_processes` is.
    """
    if num_scenes < 12:
        raise ValueError(f"num_scenes: {num_scenes} given, accepted 12 or more (the hard cases are made from scenes)")
    for name in ("scenes", "photographs", "cases"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    pictures = _plan_pictures(num_scenes, side_px, seed)
    tasks = [(picture, folder) for picture in pictures]
    if num_processes > 1:
        with ProcessPoolExecutor(num_processes) as pool:
            hashes = list(pool.map(_write_picture, tasks, chunksize=16))
    else:
        hashes = [_write_picture(task) for task in tasks]
    rows = [
        SiteRow(
            picture.path,
            picture.captions_en,
            picture.captions_zh,
            "CC0-1.0",
            digest if number % 3 == 0 else None,
            "plain",
        )
        for number, (picture, digest) in enumerate(zip(pictures, hashes, strict=True))
    ]
    rows += _write_photographs(folder)
    cases, behaviours = _write_cases(folder, pictures)
    rows += cases
    write_behaviours(folder, behaviours)
    lines = [json.dumps(asdict(row), ensure_ascii=False) for row in rows]
    (folder / ROWS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return rows


def _write_photographs(folder: Path) -> list[SiteRow]:
    rows = []
    for crop in photograph_crops():
        path = f"/photographs/{crop.photograph.name}-{round(crop.aspect * 100):03d}.jpg"
        body = encode(crop.image, "JPEG", quality=92)
        (folder / path.lstrip("/")).write_bytes(body)
        told = crop.photograph
        rows.append(SiteRow(path, told.captions_en, told.captions_zh, told.licence, None, "plain"))
    return rows


def _write_cases(folder: Path, pictures: list[_Picture]) -> tuple[list[SiteRow], dict[str, Behaviour]]:
    """One row of every trouble, made from the first scenes, and how the server answers for it."""
    squares = [each for each in pictures if each.size[0] == each.size[1]] or pictures
    flat = next((each for each in squares if each.scene.style == "flat"), squares[0])
    shaded = next((each for each in squares if each.scene.style == "shaded"), squares[-1])
    image = draw(shaded.scene, shaded.size, shaded.seed + 500_000)
    jpeg = encode(image, "JPEG", quality=92)
    width, height = image.size
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    cut_out = draw(flat.scene, flat.size, flat.seed + 500_000).convert("RGBA")
    cut_out.putalpha(Image.linear_gradient("L").resize(cut_out.size))
    files = {
        "truncated": ("jpg", jpeg[: len(jpeg) * 2 // 5]),
        "cut_off": ("jpg", jpeg[: len(jpeg) // 2]),
        "not_an_image": ("jpg", b"<!doctype html><title>gone</title><p>This picture has moved.</p>\n"),
        "exif_rotated": ("jpg", encode(turned, "JPEG", quality=92, exif=exif)),
        "cmyk": ("jpg", encode(image.convert("CMYK"), "JPEG", quality=92)),
        "transparent": ("png", encode(cut_out, "PNG")),
        "exact_duplicate": (pictures[0].path.rsplit(".", 1)[1], (folder / pictures[0].path.lstrip("/")).read_bytes()),
        "near_duplicate": ("jpg", encode(_opened(folder, pictures[1]), "JPEG", quality=60)),
        "opted_out": ("jpg", encode(draw(shaded.scene, shaded.size, shaded.seed + 700_000), "JPEG", quality=92)),
        "behind_redirect": ("jpg", encode(draw(shaded.scene, shaded.size, shaded.seed + 800_000), "JPEG", quality=92)),
        "tiny": ("png", encode(draw(flat.scene, (12, 12), flat.seed), "PNG")),
        "extreme_aspect": ("jpg", encode(image.resize((width * 6, max(24, height // 8))), "JPEG", quality=92)),
        "wrong_hash": ("jpg", encode(draw(shaded.scene, shaded.size, shaded.seed + 900_000), "JPEG", quality=92)),
    }
    told = {"exact_duplicate": pictures[0], "near_duplicate": pictures[1], "transparent": flat, "tiny": flat}
    rows, behaviours = [], {}
    for case, (ending, body) in files.items():
        path = f"/cases/{case}.{ending}"
        (folder / path.lstrip("/")).write_bytes(body)
        if case == "cut_off":
            behaviours[path] = Behaviour(promised_bytes=len(jpeg))
        elif case == "opted_out":
            behaviours[path] = Behaviour(headers={"X-Robots-Tag": "noai, noimageai"})
        elif case == "behind_redirect":
            behaviours["/cases/redirected.jpg"] = Behaviour(status=302, location=path)
            path, case = "/cases/redirected.jpg", "redirected"
        rows.append(_case_row(path, told.get(case, shaded), case, "0" * 64 if case == "wrong_hash" else None))
    behaviours["/cases/never_answers.jpg"] = Behaviour(never_answers=True)
    behaviours["/cases/server_error.jpg"] = Behaviour(status=503)
    behaviours["/cases/redirect_loop.jpg"] = Behaviour(status=302, location="/cases/redirect_loop.jpg")
    for case in ("not_found", "never_answers", "server_error", "redirect_loop"):
        rows.append(_case_row(f"/cases/{case}.jpg", shaded, case))
    rows.append(_case_row("http://[broken/picture.jpg", shaded, "malformed_url"))
    rows.append(_case_row("file:///etc/hostname", shaded, "foreign_scheme"))
    return rows, behaviours


def _opened(folder: Path, picture: _Picture) -> Image.Image:
    with Image.open(folder / picture.path.lstrip("/")) as image:
        return image.convert("RGB")


def _case_row(address: str, picture: _Picture, case: str, sha256: str | None = None) -> SiteRow:
    return SiteRow(address, picture.captions_en, picture.captions_zh, "CC0-1.0", sha256, case)


def read_site_rows(folder: Path) -> list[SiteRow]:
    """The rows that `write_site` stored in the folder."""
    rows = []
    for line in (folder / ROWS_FILE).read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        fields["captions_en"], fields["captions_zh"] = tuple(fields["captions_en"]), tuple(fields["captions_zh"])
        rows.append(SiteRow(**fields))
    return rows


def write_url_list(rows: Iterable[SiteRow], base_url: str, path: Path) -> int:
    """Write the URL list (JSON lines: url, captions_en, captions_zh, licence, sha256) for a server; number of lines."""
    lines = []
    for row in rows:
        url = base_url.rstrip("/") + row.address if row.address.startswith("/") else row.address
        fields = {
            "url": url,
            "captions_en": row.captions_en,
            "captions_zh": row.captions_zh,
            "licence": row.licence,
            "sha256": row.sha256,
        }
        lines.append(json.dumps(fields, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
