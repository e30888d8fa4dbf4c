"""Folders and Parquet files of labelled pictures: what is listed, what cannot be read, and what each error names."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.clip_scorer import ClipScorer
from curation.errors import PictureError
from curation.labelled_embeddings import EmbeddingCache, embed_labelled_pictures
from curation.labelled_pictures import list_labelled_pictures, require_labels


@pytest.fixture
def folder(tmp_path, make_picture, encode):
    """Two labels, one with sources, a torn picture, the same bytes twice, the same bytes under both labels."""
    root = tmp_path / "pictures"
    files = {
        "cartoon/noto/1.png": encode(make_picture(1)),
        "cartoon/noto/2.png": encode(make_picture(2)),
        "cartoon/fluent/again.png": encode(make_picture(2)),
        "cartoon/both.webp": encode(make_picture(3), "WEBP", lossless=True),
        "photo/both.webp": encode(make_picture(3), "WEBP", lossless=True),
        "photo/torn.jpg": encode(make_picture(4), "JPEG")[:400],
        "photo/4.JPG": encode(make_picture(4), "JPEG"),
        "photo/notes.txt": b"not a picture",
        "stray.png": encode(make_picture(5)),
        "photo/.hidden/6.png": encode(make_picture(6)),
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "photo/gone.png").symlink_to(root / "nowhere.png")
    return root


def test_every_listed_picture_becomes_a_row_with_an_embedding_or_a_reason(folder, scorer, tmp_path):
    pictures = list_labelled_pictures(folder)
    assert pictures.labels() == {"cartoon": 4, "photo": 4} and pictures.num_ignored_files == 3
    cache = EmbeddingCache.open(tmp_path / "cache", scorer.version)
    rows = embed_labelled_pictures(pictures, scorer, cache, say=lambda _: None)
    assert {row.listed.name: row.reason for row in rows} == {
        "cartoon/both.webp": "labels_disagree",
        "cartoon/fluent/again.png": None,
        "cartoon/noto/1.png": None,
        "cartoon/noto/2.png": "duplicate_exact",
        "photo/4.JPG": None,
        "photo/both.webp": "labels_disagree",
        "photo/gone.png": "unreadable_file",
        "photo/torn.jpg": "truncated",
    }
    assert {row.listed.source for row in rows} == {"noto", "fluent", None}
    assert all(row.error_message for row in rows if row.reason)


def test_a_rerun_embeds_nothing_and_a_torn_file_is_made_again(folder, clip_folder, tmp_path):
    scorer = ClipScorer(clip_folder, batch_size=2)
    pictures, said = list_labelled_pictures(folder), []

    def embed(chosen=pictures, keep_every=2):
        cache = EmbeddingCache.open(tmp_path / "cache", scorer.version)
        return embed_labelled_pictures(chosen, scorer, cache, say=said.append, keep_every=keep_every)

    first = embed()
    assert said[-1] == "embedded 8 of 8 pictures (4 now)"
    again = embed()
    assert said[-1] == "embedded 8 of 8 pictures (0 now)"
    files = sorted((tmp_path / "cache" / scorer.version).glob("*.npz"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:200])
    mended = embed()
    assert said[-1] == "embedded 8 of 8 pictures (2 now)"
    for one, two, three in zip(first, again, mended, strict=True):
        if one.found is not None:
            assert one.found.embedding.tobytes() == two.found.embedding.tobytes() == three.found.embedding.tobytes()
    other = EmbeddingCache.open(tmp_path / "cache", "another-tower")
    assert not other.known


@pytest.mark.parametrize("layout", ["bytes", "struct", "path"])
def test_parquet_by_bytes_struct_or_path(tmp_path, make_picture, encode, layout):
    data = [encode(make_picture(seed)) for seed in range(3)]
    (tmp_path / "in").mkdir()
    for number, one in enumerate(data):
        (tmp_path / "in" / f"{number}.png").write_bytes(one)
    paths = [f"in/{number}.png" for number in range(3)]
    columns = {
        "bytes": {"image": [*data, None, b""]},
        "struct": {
            "image": [{"bytes": one, "path": None} for one in data] + [{"bytes": None, "path": "in/9.png"}, None]
        },
        "path": {"path": [*paths, "in/9.png", None]},
    }[layout]
    table = pa.table({**columns, "label": ["a", "b", "a", None, ""], "group": [1, 1, 2, None, 3], "source": ["x"] * 5})
    pq.write_table(table, tmp_path / "rows.parquet")
    pictures = list_labelled_pictures(tmp_path / "rows.parquet")
    assert [one.label for one in pictures.listed] == ["a", "b", "a", None, None]
    assert [one.group for one in pictures.listed] == ["1", "1", "2", None, "3"]
    read = list(pictures.read())
    assert read[:3] == data and all(isinstance(one, PictureError) for one in read[3:])
    assert pictures.listed[0].name == ("in/0.png" if layout == "path" else "row 0")


def test_errors_name_what_is_missing(tmp_path, folder):
    with pytest.raises(ValueError, match=r"/nowhere is neither a folder nor a file"):
        list_labelled_pictures(tmp_path / "nowhere")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has no pictures in folders of their labels"):
        list_labelled_pictures(tmp_path / "empty")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match=r"torn.parquet cannot be read as Parquet"):
        list_labelled_pictures(tmp_path / "torn.parquet")
    pq.write_table(pa.table({"picture": [b""], "label": ["a"]}), tmp_path / "columns.parquet")
    with pytest.raises(ValueError, match=r"needs a column 'label' and 'image' .* the columns there: picture, label"):
        list_labelled_pictures(tmp_path / "columns.parquet")
    counts = list_labelled_pictures(folder).labels()
    with pytest.raises(
        ValueError, match=r"positive: 'comic' is no label of X; the labels there: cartoon \(4\), photo \(4\)"
    ):
        require_labels(counts, "comic", 2, "X")
    with pytest.raises(ValueError, match=r"X has 4 of 'cartoon'; at least 5 a class are needed \(min_per_class\)"):
        require_labels(counts, "cartoon", 5, "X")
    del counts["photo"]
    with pytest.raises(ValueError, match=r"X has the one label 'cartoon'; a second one is needed"):
        require_labels(counts, "cartoon", 2, "X")


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    """As root nothing is forbidden, so the refusal comes from the system call."""
    import os

    listed = os.scandir

    def scandir(path):
        if str(path).endswith("noto"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"the folder .*cartoon/noto cannot be read: Permission denied"):
        list_labelled_pictures(folder)
