"""A URL list for a folder of captioned pictures that `http_server` serves: the way to try the chain on your own files.

``python -m curation.sample.picture_folder --pairs pairs.jsonl --base-url http://127.0.0.1:8322 --output list.jsonl``
"""

import argparse
import json
from pathlib import Path
from urllib.parse import quote


def write_folder_list(pairs: Path, base_url: str, output: Path) -> int:
    """One line a picture (url, captions_en, captions_zh, licence, sha256); how many.

    `pairs` is JSON lines with `path` (relative to the served folder) and, if known, the other fields. ValueError names the
    line that cannot be used.
    """
    lines = []
    for number, line in enumerate(pairs.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            path = str(row["path"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{pairs}, line {number}: {error!r}; accepted is a JSON object with 'path'") from None
        fields = {name: row[name] for name in ("captions_en", "captions_zh", "licence", "sha256") if row.get(name)}
        lines.append(json.dumps({"url": f"{base_url.rstrip('/')}/{quote(path)}", **fields}, ensure_ascii=False))
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    print(write_folder_list(chosen.pairs, chosen.base_url, chosen.output), "URLs")


if __name__ == "__main__":
    main()
