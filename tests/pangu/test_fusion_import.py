"""Coop-Diffusion is a library: it imports and draws where there is neither Ray nor Airflow."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "airflow", "ray_jobs", "dags", "curation"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import ray
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the block does not work")

import torch
from pangu import fusion_request, resolution_handoff, taef2, vaelight
from pangu.fusion import FusionPart, WeightSchedule, fuse_models
from pangu.latent_bridge import PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel, sample

models = [PromptedModel(lambda x_t, t: 0.4 * x_t, PixelSpace(), NoiseSchedule(), (8, 8)) for _ in range(2)]
joint = fuse_models([FusionPart(models[0]), FusionPart(models[1], WeightSchedule.fading(0.5))])
print(sample(joint, seeds=[7], steps=3).shape)
"""


def test_fusion_imports_and_draws_without_ray_and_airflow():
    repository = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=repository, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(1, 8, 8, 3)"
