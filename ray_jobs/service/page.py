"""The page's files, served with a policy that lets in nothing but them."""

from importlib import resources

from fastapi.responses import Response

from ray_jobs.service.refusal import refuse

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_file(name: str) -> Response:
    """One file of the page; `style.css` is the site's own. Refused, 404, if there is none of that name."""
    folder = resources.files("ray_jobs.service").joinpath("page")
    if name == "style.css":
        folder = resources.files("pangu.evaluation").joinpath("site")
    kind = _KINDS.get(name.rpartition(".")[2])
    known = {file.name for file in folder.iterdir()} if kind else set()
    if kind is None or name not in known:
        raise refuse(404, f"{name[:80]!r}: there is no such file")
    return Response(folder.joinpath(name).read_bytes(), media_type=f"{kind}; charset=utf-8", headers=_HEADERS)
