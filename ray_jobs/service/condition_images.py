"""Condition images of an order: uploaded or fetched through the guard, decoded within limits, or refused."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curation.address_guard import Resolver, resolve_host
from curation.decode import DecodeSettings, decode_picture
from curation.errors import PictureError
from curation.fetch_guard import FetchSettings, fetch
from ray_jobs.service.fusion_orders import FusionOrder
from ray_jobs.service.refusal import refuse

if TYPE_CHECKING:  # numpy's type of pixels, without torch
    from pangu.autoencoder import UInt8Images

MAX_IMAGE_BYTES = 8 * 2**20
MAX_PIXELS = 16_000_000
FETCHING = FetchSettings(timeout_s=10.0, max_bytes=MAX_IMAGE_BYTES, max_redirects=3)


@dataclass(frozen=True)
class ImageReader:
    """Turns what an order says of an image into pixels. fetching: limits of what is fetched by URL."""

    fetching: FetchSettings = FETCHING
    resolve: Resolver = resolve_host

    async def read(self, order: FusionOrder, uploads: Mapping[str, bytes]) -> "tuple[tuple[UInt8Images, ...], ...]":
        """(H, W, 3) uint8 of every member's condition images, in order.

        Raises:
            Refused: 400, naming the image; nothing is said of what a URL led to but that it is not taken.
        """
        members = []
        for number, member in enumerate(order.members):
            found = []
            for place, said in enumerate(member.condition_images):
                where = f"members.{number}.condition_images.{place}"
                data = await self._bytes(said, uploads, where)
                found.append(await asyncio.to_thread(_pixels, data, where))
            members.append(tuple(found))
        return tuple(members)

    async def _bytes(self, said: str, uploads: Mapping[str, bytes], where: str) -> bytes:
        if said.startswith("upload:"):
            name = said.removeprefix("upload:")
            if name not in uploads:
                raise refuse(400, f"{where}: no file {name[:60]!r} came with the request", where)
            return uploads[name]
        scheme, colon, rest = said.partition(":")
        if not colon:
            return _from_base64(said, where)
        if scheme.lower() == "data":
            kind, comma, text = rest.partition(",")
            if not comma or not kind.lower().endswith(";base64"):
                raise refuse(400, f"{where}: accepted of data: URLs is data:image/...;base64,...", where)
            return _from_base64(text, where)
        fetched = await asyncio.to_thread(fetch, said, self.fetching, resolve=self.resolve)
        if fetched.body is None:
            reason = fetched.reason.value if fetched.reason is not None else "no answer"
            raise refuse(400, f"{where}: the URL was not taken: {reason}", where)
        return fetched.body


def _from_base64(text: str, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refuse(400, f"{where}: it is neither base64 nor a URL of http or https", where) from None
    if len(data) > MAX_IMAGE_BYTES:
        raise refuse(400, f"{where}: {len(data)} bytes; accepted are up to {MAX_IMAGE_BYTES}", where)
    return data


def _pixels(data: bytes, where: str) -> "UInt8Images":
    try:
        picture = decode_picture(data, DecodeSettings(max_pixels=MAX_PIXELS)).image
    except PictureError as error:
        raise refuse(400, f"{where}: it is no picture that is accepted: {error.reason.value}", where) from None
    return np.asarray(picture)
