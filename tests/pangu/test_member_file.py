import json

import numpy as np
import pytest

from pangu.condition_detectors import canny
from pangu.denoiser import PredictionType
from pangu.fusion import WeightSchedule
from pangu.fusion_request import DEFAULT_WEIGHT, FusionRequest, MemberRequest, fuse
from pangu.member_file import load_members, read_members
from pangu.networks import build_sample_autoencoder, build_unet
from tests.pangu.small_pipelines import save_members

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, scorer_folder):
    """Saved parts of random weights: two pipelines, one of them twice, a ControlNet, a single U-Net, an autoencoder."""
    root = tmp_path_factory.mktemp("members")
    save_members(root)
    build_sample_autoencoder().save_pretrained(root / "tiny")
    unet = build_unet(
        "sample",
        in_channels=8,
        out_channels=8,
        block_out_channels=(16, 32),
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        cross_attention_dim=32,
        projection_class_embeddings_input_dim=48 + 256,
    )
    unet.save_pretrained(root / "unet")
    (root / "scorer").symlink_to(scorer_folder)
    return root


WHOLE = """
[[member]]
name = "painter"
source = "sd"
role = "colours"
guidance = 5.0
negative = "blue"
weight = 0.4
size = [16, 32]
controlnets = ["edges"]
detectors = ["canny"]
[member.expect]
scaling_factor = 0.18215
prediction_type = "epsilon"
beta_schedule = "scaled_linear"
beta_end = 0.012
latent_channels = 4

[[member]]
name = "tuned"
source = "sd_tuned"
weight = [[100, 0.0], [600, 0.8]]

[[member]]
name = "large"
source = "sdxl"

[[member]]
name = "single"
source = "unet"
space = "tiny"
told_by = "text"
encoder = "scorer"
prediction_type = "v_prediction"
size = [16, 16]
bridge = "tiny"
"""


def write(folders, text, name="members.toml"):
    path = folders / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_declared_member_loads_with_its_defaults(folders):
    members = load_members(write(folders, WHOLE))
    painter, tuned, single = members["painter"], members["tuned"], members["single"]
    assert (painter.role, painter.guidance, painter.negative) == ("colours", 5.0, "blue")
    assert painter.weight == WeightSchedule.fading(0.4)
    assert tuned.weight == WeightSchedule(((100, 0.0), (600, 0.8)))
    assert members["large"].weight == DEFAULT_WEIGHT
    assert (painter.model.default_size, tuned.model.default_size) == ((16, 32), (16, 16))
    assert (painter.model.num_conditions, tuned.model.num_conditions) == (1, 0)
    assert single.model.prediction_type is PredictionType.V
    assert single.bridge is not None
    assert painter.detectors == (canny,) and tuned.detectors == ()
    edges = (np.zeros((16, 16, 3), np.uint8),)
    parts = (MemberRequest("painter", "a star", condition_images=edges), MemberRequest("single", "a star"))
    assert fuse(members, [FusionRequest(parts, steps=2)])[0].shape == (16, 32, 3)


def test_members_of_equal_autoencoder_weights_share_their_space(folders):
    members = load_members(write(folders, WHOLE))
    assert members["painter"].model.space is members["tuned"].model.space
    assert members["painter"].model.space is not members["large"].model.space


def test_json_says_the_same(folders):
    told = {"member": [{"name": "painter", "source": "sd", "expect": {"latent_channels": 4}}]}
    assert list(load_members(write(folders, json.dumps(told), "members.json"))) == ["painter"]


ENTRY = '[[member]]\nname = "one"\nsource = "sd"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "member: Field required"),
        ("[[member]\n", "members.toml: "),
        ('[[member]]\nsource = "sd"\n', "member 0: name: .*Field required"),
        (ENTRY + ENTRY, "name: got 'one' twice"),
        (ENTRY + "guidance = -1.0\n", "member 'one': guidance: got -1.0, .*greater than or equal to 0"),
        (ENTRY + "weigth = 0.4\n", "member 'one': weigth: got 0.4, Extra inputs"),
        (ENTRY + "weight = 1.4\n", "member 'one': points: got .*expected weights from 0 to 1"),
        (ENTRY + "[member.expect]\nscale = 1\n", "member 'one': expect.scale: got 1, Extra inputs"),
        (
            ENTRY + 'controlnets = ["edges"]\ncontrolnet_revisions = ["a", "b"]\n',
            "controlnet_revisions: got 2, expected",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_unread(folders, text, message):
    with pytest.raises(ValueError, match=message):
        read_members(write(folders, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[member]]\nname = "one"\nsource = "nowhere"\n', "member 'one': source: got 'nowhere', expected a folder"),
        ('[[member]]\nname = "one"\nsource = "org/model"\n', "source: got 'org/model', expected .* revision"),
        (ENTRY + 'controlnets = ["nothing"]\n', r"member 'one': controlnets\[0\]: got 'nothing', expected a folder"),
        (
            ENTRY + 'detectors = ["canny"]\n',
            r"member 'one': detectors: got 1, expected none, or one for each of 0 images",
        ),
        (
            ENTRY + 'controlnets = ["edges"]\ndetectors = ["hed"]\n',
            "member 'one': detectors: got 'hed', accepted are canny",
        ),
        (ENTRY + 'bridge = "nothing"\n', "member 'one': bridge: got 'nothing', expected a folder"),
        (ENTRY + 'bridge = "tiny"\n', "bridge: got 8 channels at 1/4, expected 4 at 1/2"),
        (ENTRY + "size = [16, 18]\n", r"member 'one': size: got \(16, 18\)"),
        (ENTRY + 'space = "tiny"\n', "member 'one': space: got 'tiny', expected none"),
        (
            ENTRY + "[member.expect]\nscaling_factor = 0.13025\n",
            "expect.scaling_factor: the model has 0.18215, expected",
        ),
        (
            ENTRY + '[member.expect]\nprediction_type = "v_prediction"\n',
            "expect.prediction_type: the model has epsilon",
        ),
        (ENTRY + '[member.expect]\nbeta_schedule = "linear"\n', "expect.beta_schedule: the model has scaled_linear"),
        ('[[member]]\nname = "one"\nsource = "unet"\nsize = [16, 16]\n', "member 'one': space: got none, expected one"),
        (
            '[[member]]\nname = "one"\nsource = "unet"\nspace = "sd/vae"\ntold_by = "text"\nencoder = "scorer"\n'
            'prediction_type = "epsilon"\nsize = [16, 16]\n',
            "space: got 'sd/vae' of 4 channels, the U-Net takes 8",
        ),
        (
            '[[member]]\nname = "one"\nsource = "unet"\nspace = "vqgan=tiny"\ntold_by = "text"\nencoder = "scorer"\n'
            'prediction_type = "epsilon"\nsize = [16, 16]\n',
            "space: got 'vqgan=tiny', expected taef2=FOLDER",
        ),
    ],
)
def test_a_member_that_is_not_what_its_entry_says_is_refused_by_field(folders, text, message):
    with pytest.raises(ValueError, match=message):
        load_members(write(folders, text))
