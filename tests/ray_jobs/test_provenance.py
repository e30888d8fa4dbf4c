"""Every mark is set, read back, and missed when it is not there."""

import io

import numpy as np
import pytest
from PIL import Image

from pangu.provenance import Marker, MarkingError, OriginMark, encode_picture, read_origin
from tests.pangu.damaged_pictures import DAMAGES

MARK = OriginMark('PanGu <experts> & "quotes"', "0123abcd")
FORMATS = ("png", "jpg", "webp")


@pytest.fixture(scope="module")
def picture():
    """A smooth 256 x 320 px picture with an edge in it."""
    y, x = np.mgrid[0:256, 0:320]
    image = np.stack([x * 0.7, y * 0.9, 128 + 60 * np.sin(x / 17)], -1)
    image[80:170, 90:220] = (200, 40, 60)
    return image.astype(np.uint8)


@pytest.mark.reliability(25)
@pytest.mark.parametrize("encode_format", FORMATS)
def test_a_marked_file_says_where_it_comes_from(picture, encode_format):
    marked = Marker(MARK, encode_format)(picture)
    assert read_origin(marked.data) == MARK
    assert Marker(MARK, encode_format)(picture).data == marked.data, "equal pixels give equal bytes"
    decoded = np.asarray(Image.open(io.BytesIO(marked.data)))
    assert decoded.shape == picture.shape
    assert np.array_equal(decoded, picture) == (encode_format == "png")


@pytest.mark.parametrize("encode_format", FORMATS)
def test_a_file_without_a_mark_or_of_another_origin_is_told_apart(picture, encode_format):
    plain = encode_picture(Image.fromarray(picture), encode_format)
    with pytest.raises(MarkingError, match="no XMP packet"):
        read_origin(plain)
    marked = encode_picture(Image.fromarray(picture), encode_format, mark=MARK)
    camera = marked.replace(b"trainedAlgorithmicMedia", b"digitalCaptureNotAMODEL")
    with pytest.raises(MarkingError):
        read_origin(camera)
    with pytest.raises(MarkingError):
        read_origin(b"not a picture")


def test_an_xml_bomb_in_a_packet_is_not_expanded(picture):
    buffer = io.BytesIO()
    bomb = b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><a>&d;</a>'
    Image.fromarray(picture).save(buffer, "JPEG", xmp=bomb)
    with pytest.raises(MarkingError, match="document type"):
        read_origin(buffer.getvalue())


def test_quality_decides_the_size_and_webp_at_100_is_lossless(picture):
    sizes = [len(encode_picture(Image.fromarray(picture), "jpg", quality)) for quality in (30, 75, 95)]
    assert sizes == sorted(sizes)
    webp = encode_picture(Image.fromarray(picture), "webp", 100)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(webp))), picture)


class Forgetful:
    """A watermark that is never there."""

    name = "forgetful"

    def embed(self, image):
        return image

    def is_found(self, image):
        return False


@pytest.mark.reliability(25)
def test_a_mark_that_does_not_hold_fails_the_write(picture, monkeypatch):
    with pytest.raises(MarkingError, match="forgetful is not found"):
        Marker(MARK, "png", watermark=Forgetful())(picture)
    monkeypatch.setattr("pangu.provenance.encode_picture", lambda p, f, q, m: encode_picture(p, f, q))
    with pytest.raises(MarkingError, match="no XMP"):
        Marker(MARK, "png")(picture)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    pytest.importorskip("c2pa", reason="c2pa-python is an extra")
    from pangu.content_credentials import ContentCredentials, write_development_certificate

    folder = tmp_path_factory.mktemp("keys")
    paths = write_development_certificate(folder)
    assert write_development_certificate(folder) == paths and paths[1].stat().st_mode & 0o077 == 0
    return ContentCredentials(*paths)


@pytest.mark.reliability(25)
@pytest.mark.parametrize("encode_format", FORMATS)
def test_signed_credentials_verify_and_a_changed_file_does_not(picture, credentials, encode_format):
    from pangu.content_credentials import read_credentials

    marker = Marker(MARK, encode_format, signer=credentials)
    marked = marker(picture)
    assert read_credentials(marked.data, encode_format) == MARK and read_origin(marked.data) == MARK
    assert np.asarray(Image.open(io.BytesIO(marked.data))).shape == picture.shape
    assert marked.encoded_sha256 == Marker(MARK, encode_format)(picture).encoded_sha256
    with pytest.raises(MarkingError):
        read_credentials(Marker(MARK, encode_format)(picture).data, encode_format)
    damaged = bytearray(marked.data)
    damaged[len(damaged) - 60] ^= 1
    with pytest.raises(MarkingError):
        read_credentials(bytes(damaged), encode_format)
    assert marker.facts()["content_credentials"].startswith("C2PA, certificate sha256 ")


def test_keys_that_do_not_fit_are_refused_before_the_work(tmp_path, credentials):
    from pangu.content_credentials import ContentCredentials, write_development_certificate

    with pytest.raises(ValueError, match=r"c2pa_certificate: .* cannot be read"):
        ContentCredentials(tmp_path / "absent.pem", tmp_path / "absent.key")
    certificate, key = write_development_certificate(tmp_path)
    key.write_text("no key")
    with pytest.raises(ValueError, match="c2pa_private_key: no PEM key"):
        ContentCredentials(certificate, key)


@pytest.fixture(scope="module", params=["pattern", "rivaGan"])
def watermark(request):
    from pangu.watermark import make_watermark

    if request.param == "rivaGan":
        pytest.importorskip("imwatermark", reason="invisible-watermark is an extra")
        pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    return make_watermark(request.param)


@pytest.mark.reliability(25)
def test_the_watermark_survives_what_photographs_go_through(watermark):
    from skimage.data import astronaut

    photograph = np.asarray(Image.fromarray(astronaut()).resize((352, 352)))
    marked = watermark.embed(photograph)
    error = np.mean((marked.astype(float) - photograph) ** 2)
    assert 10 * np.log10(255**2 / error) >= 40
    assert np.array_equal(watermark.embed(photograph), marked), "equal pixels are marked equally"
    damaged = {"none": marked} | {name: damage(marked) for name, damage in DAMAGES.items()}
    assert [name for name, image in damaged.items() if not watermark.is_found(image)] == []
    assert not watermark.is_found(photograph)


def test_a_picture_too_small_for_the_watermark_is_not_written(watermark):
    with pytest.raises(MarkingError, match="64x64 is below 256x256"):
        Marker(MARK, "png", watermark=watermark)(np.zeros((64, 64, 3), np.uint8))


def test_an_unknown_watermark_names_what_is_accepted():
    from pangu.watermark import make_watermark

    assert make_watermark("none") is None
    with pytest.raises(ValueError, match="watermark = 'ink': accepted are 'none', 'pattern', 'rivaGan'"):
        make_watermark("ink")
