"""Every generated file says, for machines, that a model made it: an XMP packet with IPTC's digital source type.

The packet is written by Pillow into PNG, JPEG and WebP alike, and read back before a file counts as marked. A watermark in
the pixels and a signed C2PA manifest may come on top (`watermark`, `content_credentials`).

Sources: IPTC Photo Metadata Standard 2025.1 (Digital Source Type, AI System Used, AI System Version Used), XMP
specification part 1.
"""

import hashlib
import io
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax.saxutils import quoteattr

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pangu.errors import PanguError

if TYPE_CHECKING:  # torch is not needed to mark a file
    from pangu.autoencoder import UInt8Images

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PILLOW_FORMATS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"


class MarkingError(PanguError):
    """A file does not carry the mark it must carry; it is not to be stored."""


@dataclass(frozen=True)
class OriginMark:
    """What a file says of its origin. system, version: which model made it, such as `experts` and its digest."""

    system: str
    version: str

    def to_xmp(self) -> bytes:
        """The XMP packet; equal marks give equal bytes."""
        fields = {
            "Iptc4xmpExt:DigitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
            "Iptc4xmpExt:AISystemUsed": self.system,
            "Iptc4xmpExt:AISystemVersionUsed": self.version,
            "xmp:CreatorTool": self.system,
        }
        written = " ".join(f"{name}={quoteattr(value)}" for name, value in fields.items())
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about="" '
            f'xmlns:Iptc4xmpExt="{_IPTC}" xmlns:xmp="{_XMP}" {written}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        ).encode()


def encode_picture(
    picture: Image.Image, encode_format: str, quality: int = 95, mark: OriginMark | None = None
) -> bytes:
    """An encoded file: PNG (lossless), JPEG of the quality (4:4:4 from 90 up), WebP (lossless at 100).

    quality: 1 to 100, no effect on PNG. mark: written as XMP.
    """
    settings: dict[str, Any] = {}
    xmp = mark.to_xmp() if mark is not None else None
    if encode_format == "png":
        info = PngInfo()
        if xmp is not None:
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        settings["pnginfo"] = info
    else:
        lossless = {"lossless": True} if encode_format == "webp" and quality == 100 else {"quality": quality}
        subsampling = {"subsampling": 0 if quality >= 90 else 2} if encode_format == "jpg" else {}
        settings |= lossless | subsampling | ({"xmp": xmp} if xmp is not None else {})
    buffer = io.BytesIO()
    picture.save(buffer, PILLOW_FORMATS[encode_format], **settings)
    return buffer.getvalue()


def read_origin(data: bytes) -> OriginMark:
    """The mark of an encoded file.

    Raises:
        MarkingError: it is no PNG, JPEG or WebP, carries no readable packet, or one that names another origin.
    """
    try:
        with Image.open(io.BytesIO(data), formats=list(PILLOW_FORMATS.values())) as picture:
            found = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    except (OSError, SyntaxError, ValueError) as error:
        raise MarkingError(f"mark: the file cannot be read: {error}") from None
    packet = found.encode() if isinstance(found, str) else found
    if not packet:
        raise MarkingError("mark: the file has no XMP packet")
    if b"<!" in packet:
        raise MarkingError("mark: the XMP packet declares a document type, which no XMP writer does")
    try:
        root = ET.fromstring(packet)
    except ET.ParseError as error:
        raise MarkingError(f"mark: the XMP packet is not XML: {error}") from None
    fields = {name: value for node in root.iter(f"{{{_RDF}}}Description") for name, value in node.attrib.items()}
    source = fields.get(f"{{{_IPTC}}}DigitalSourceType")
    if source != TRAINED_ALGORITHMIC_MEDIA:
        raise MarkingError(f"mark: the digital source type is {source!r}, expected {TRAINED_ALGORITHMIC_MEDIA}")
    return OriginMark(fields.get(f"{{{_IPTC}}}AISystemUsed", ""), fields.get(f"{{{_IPTC}}}AISystemVersionUsed", ""))


class Watermark(Protocol):
    """A mark in the pixels. name: method, version and payload, as manifests record it."""

    name: str

    def embed(self, image: "UInt8Images") -> "UInt8Images":
        """(H, W, 3) uint8 in and out; MarkingError when the picture cannot take the mark."""
        ...

    def is_found(self, image: "UInt8Images") -> bool:
        """Whether the mark is in an (H, W, 3) uint8 picture."""
        ...


class Signer(Protocol):
    """Signs an encoded file. name: method and certificate, as manifests record it."""

    name: str

    def sign(self, data: bytes, encode_format: str, mark: OriginMark) -> bytes:
        """The file with a signed manifest that was verified; MarkingError otherwise."""
        ...


@dataclass(frozen=True)
class MarkedPicture:
    """A file with its mark.

    pixels: (H, W, 3) uint8 before encoding. data: the file. encoded_sha256: of the file before it was signed.
    """

    pixels: "UInt8Images"
    data: bytes
    encoded_sha256: str


@dataclass(frozen=True)
class Marker:
    """Turns pixels into a marked file, or raises: watermark, encode with XMP, sign, each read back."""

    mark: OriginMark
    encode_format: str
    quality: int = 95
    watermark: Watermark | None = None
    signer: Signer | None = field(default=None)

    def __call__(self, image: "UInt8Images") -> MarkedPicture:
        """image: (H, W, 3) uint8 RGB.

        Raises:
            MarkingError: some mark could not be set, or was not found afterwards.
        """
        if self.watermark is not None:
            image = self.watermark.embed(image)
            if not self.watermark.is_found(image):
                raise MarkingError(f"watermark: {self.watermark.name} is not found in the picture it was put into")
        data = encode_picture(Image.fromarray(image), self.encode_format, self.quality, self.mark)
        digest = hashlib.sha256(data).hexdigest()
        if self.signer is not None:
            data = self.signer.sign(data, self.encode_format, self.mark)
        if read_origin(data) != self.mark:
            raise MarkingError(f"mark: the file says {read_origin(data)}, expected {self.mark}")
        return MarkedPicture(image, data, digest)

    def facts(self) -> dict[str, str]:
        """What a manifest says of the mark."""
        return {
            "metadata": f"XMP Iptc4xmpExt:DigitalSourceType = {TRAINED_ALGORITHMIC_MEDIA}",
            "system": self.mark.system,
            "version": self.mark.version,
            "watermark": "none" if self.watermark is None else self.watermark.name,
            "content_credentials": "none" if self.signer is None else self.signer.name,
        }
