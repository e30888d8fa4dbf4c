"""What import-linter cannot say of the layout: the top level, empty package files, DAG names, file sizes, no leaks."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dags", "ray_jobs", "pangu", "curation")
BANNED_NAMES = {"utils", "common", "helpers", "misc", "base", "core", "manager"}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_source_file_keeps_the_rules(path):
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py":
        assert text == "", "package files are empty: import cycles run through them"
        return
    assert path.stem not in BANNED_NAMES, "a module's name says what it holds"
    assert text.count("\n") <= 320, "a file this long holds two ideas"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 70, f"{node.name} is too long"
        if isinstance(node, ast.ExceptHandler):
            is_bare = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "BaseException")
            goes_on = not isinstance(node.body[-1], ast.Raise)
            assert not (is_bare and goes_on), f"line {node.lineno}: a bare except hides what went wrong"


def test_no_dag_file_shadows_a_package():
    stems = {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert not stems & set(PACKAGES)


def test_libraries_read_no_environment():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in ("pangu", "curation") and path.name != "img2dataset_loop.py":
            assert "os.environ" not in path.read_text(encoding="utf-8"), path


def test_no_manifest_is_written_by_pyarrow():
    """pyarrow's S3 filesystem overwrites silently; only `Store` writes."""
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "S3FileSystem" not in text or "pyarrow" not in text, path


def test_no_tracked_file_names_a_registry_or_a_home_folder():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    needles = ("/root" + "/", "files.pythonhosted" + ".org", "--index" + "-url http")
    for name in listed:
        path = ROOT / name
        if path.suffix in (".safetensors", ".png", ".webp") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        assert not [needle for needle in needles if needle in text], name
