"""Signed C2PA manifests, through the library c2pa-python: who says that a model made a file, and that it was not changed.

The certificate and its key are the user's. For trying it out, `write_development_certificate` makes a pair that every
verifier calls valid and untrusted.

Sources: C2PA specification 2.2 (actions, digital source type, certificate profile).
"""

import hashlib
import importlib.metadata
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pangu.provenance import TRAINED_ALGORITHMIC_MEDIA, MarkingError, OriginMark

CERTIFICATE_FILE = "certificate.pem"
PRIVATE_KEY_FILE = "private_key.pem"
_MIME = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class ContentCredentials:
    """Signs encoded files with one certificate. Signatures and manifest ids are drawn anew for every file."""

    def __init__(self, certificate: Path, private_key: Path) -> None:
        """certificate: PEM chain, the signer's first; private_key: PEM of an EC or Ed25519 key, without a password.

        Raises:
            ValueError: a file is missing or does not fit, or the library is not installed.
        """
        try:
            import c2pa
        except ImportError:
            raise ValueError("c2pa_certificate: c2pa-python is not installed; accepted is no certificate") from None
        chain, key = _read("c2pa_certificate", certificate), _read("c2pa_private_key", private_key)
        self._c2pa = c2pa
        self._context = c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
        try:
            info = c2pa.C2paSignerInfo(_algorithm(key), chain, key, None)
            self._signer: Any = c2pa.Signer.from_info(info)
        except c2pa.C2paError as error:
            raise ValueError(f"c2pa_certificate: {certificate} and {private_key} cannot sign: {error}") from None
        self.name = (
            f"C2PA, certificate sha256 {hashlib.sha256(chain).hexdigest()[:16]}, "
            f"c2pa-python {importlib.metadata.version('c2pa-python')}"
        )

    def sign(self, data: bytes, encode_format: str, mark: OriginMark) -> bytes:
        """The file with its manifest.

        Raises:
            MarkingError: signing failed, or the result does not verify.
        """
        signed = io.BytesIO()
        try:
            with self._c2pa.Builder(json.dumps(_manifest(mark)), context=self._context) as builder:
                builder.sign(self._signer, _MIME[encode_format], io.BytesIO(data), signed)
        except self._c2pa.C2paError as error:
            raise MarkingError(f"content credentials: {error}") from None
        if read_credentials(signed.getvalue(), encode_format) != mark:
            raise MarkingError("content credentials: the file says another origin than it was signed with")
        return signed.getvalue()


def read_credentials(data: bytes, encode_format: str) -> OriginMark:
    """The origin that a file's active manifest states. The signature must hold; whether it is trusted is not asked.

    Raises:
        MarkingError: no manifest, a broken one, or one that names no trained model.
    """
    import c2pa

    try:
        with c2pa.Reader(_MIME[encode_format], io.BytesIO(data)) as reader:
            state, found = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError as error:
        raise MarkingError(f"content credentials: {error}") from None
    if state not in ("Valid", "Trusted"):
        raise MarkingError(f"content credentials: the manifest is {state}, expected Valid or Trusted")
    assertions = found["manifests"][found["active_manifest"]]["assertions"]
    actions = [a for each in assertions if each["label"].startswith("c2pa.actions") for a in each["data"]["actions"]]
    for action in actions:
        if action["action"] == "c2pa.created" and action.get("digitalSourceType") == TRAINED_ALGORITHMIC_MEDIA:
            return OriginMark(action["softwareAgent"]["name"], action["softwareAgent"]["version"])
    raise MarkingError("content credentials: no action says that a trained model created the file")


def write_development_certificate(folder: Path, days: int = 365) -> tuple[Path, Path]:
    """(certificate chain, private key) of an own authority, in a folder; what is there already is kept.

    The authority's key is thrown away, so that nothing else can be signed by it.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    certificate, private_key = folder / CERTIFICATE_FILE, folder / PRIVATE_KEY_FILE
    if certificate.exists() and private_key.exists():
        return certificate, private_key
    folder.mkdir(parents=True, exist_ok=True)
    authority, signer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("authority", authority.public_key(), authority.public_key(), days, is_authority=True)
    leaf = _certificate("signer", signer.public_key(), authority.public_key(), days, is_authority=False)
    pem = serialization.Encoding.PEM
    chain = b"".join(each.sign(authority, hashes.SHA256()).public_bytes(pem) for each in (leaf, root))
    private_key.touch(mode=0o600)
    private_key.write_bytes(signer.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    certificate.write_bytes(chain)
    return certificate, private_key


def _certificate(who: str, subject_key: Any, authority_key: Any, days: int, *, is_authority: bool) -> Any:  # noqa: ANN401
    """An unsigned certificate of C2PA's profile: key usage by role, e-mail protection as the signer's purpose."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(name: str) -> x509.Name:
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Development only, not trusted")
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])

    usage = {
        name: False
        for name in ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    } | {"decipher_only": False, "key_cert_sign": is_authority, "crl_sign": is_authority}
    start = datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(who))
        .issuer_name(named("authority"))
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=not is_authority, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False)
    )
    if is_authority:
        return builder
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return builder.add_extension(purpose, critical=False)


def _manifest(mark: OriginMark) -> dict[str, Any]:
    agent = {"name": mark.system, "version": mark.version}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
        "softwareAgent": agent,
    }
    return {
        "claim_generator_info": [{"name": mark.system, "version": mark.version}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: {path} cannot be read: {error.strerror}") from None


def _algorithm(key: bytes) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"c2pa_private_key: no PEM key without a password: {error}") from None
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.curve.name in _ALGORITHMS:
        return _ALGORITHMS[loaded.curve.name]
    raise ValueError("c2pa_private_key: accepted are EC keys of P-256, P-384 or P-521, and Ed25519")
