"""publish_enhancement: a static site of its own about one run of RAFT: pictures before and after, curves by round."""

import tempfile
from pathlib import Path

from pangu.evaluation.dashboard.content import SiteContent
from pangu.evaluation.dashboard.site import write_site
from ray_jobs.enhancement_page import enhancement_content
from ray_jobs.enhancer_configs import PublishEnhancement
from ray_jobs.job import JobContext
from ray_jobs.manifest import Manifest


def run(context: JobContext[PublishEnhancement]) -> Manifest:
    """Draw and commit the folder; `enhancement.html` is the page to open."""
    rounds = context.input("raft_rounds")
    content = SiteContent(
        title=context.config.title,
        preset="",
        built_at=rounds.created_at,
        chain=(),
        enhancement=enhancement_content(context.store, rounds),
        platform_version=rounds.code,
        total_seconds=rounds.seconds,
    )
    with tempfile.TemporaryDirectory(prefix="pangu-enhancement-") as name:
        pages = write_site(Path(name), content)
        context.progress.report(len(pages), len(pages), "pages")
        return context.commit_folder(Path(name), facts={"pages": [page.name for page in pages]})
