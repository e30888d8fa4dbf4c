"""Options that commands of ``pangu`` share."""

from typing import Annotated

import typer

from ray_jobs.store import STORE_VARIABLE

StoreOption = Annotated[
    str | None,
    typer.Option("--store", help=f"a folder or s3://bucket/prefix; ${STORE_VARIABLE} or .pangu/store by default"),
]
