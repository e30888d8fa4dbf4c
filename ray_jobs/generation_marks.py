"""How a run's pictures are marked, and which model they say made them: known to the driver before a worker starts."""

from pathlib import Path

from pangu.provenance import Marker, OriginMark, Signer
from ray_jobs.job_configs import GenerateImages, digest_of_path
from ray_jobs.manifest import Manifest


def model_digest(config: GenerateImages, experts: Manifest | None) -> str:
    """What stands for the model in every row and mark: the pair's digest, the folder's, or the hub's id and revision."""
    if experts is not None:
        return experts.digest
    return digest_of_path(Path(config.model)) if Path(config.model).is_dir() else config.model


def make_marker(config: GenerateImages, digest: str) -> Marker:
    """The marker of a run. ValueError where a library or a key that it needs is not there."""
    from pangu.content_credentials import ContentCredentials
    from pangu.watermark import make_watermark

    mark = config.mark
    signer: Signer | None = None
    if mark.c2pa_certificate is not None and mark.c2pa_private_key is not None:
        signer = ContentCredentials(Path(mark.c2pa_certificate), Path(mark.c2pa_private_key))
    origin = OriginMark(mark.system, digest)
    watermark = make_watermark(mark.watermark)
    return Marker(origin, config.encode_format, config.encode_quality, watermark, signer)
