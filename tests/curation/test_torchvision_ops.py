import subprocess
import sys

CHECK = """
from curation.torchvision_ops import declare_missing_ops
declare_missing_ops()
declare_missing_ops()
import torchvision, open_clip
print(torchvision.__version__)
"""


def test_torchvision_and_open_clip_import_after_the_declaration() -> None:
    """In a process of its own, as a job's worker meets them."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
