import copy

import torch
from diffusers import ControlNetModel

from pangu.control_training import ControlBatch, FrozenPair, train_controlnet
from pangu.denoiser import Conditioning, PredictionType
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role, TimeSplit
from pangu.train_step import TrainSettings

ROWS = 8


class OneBatch:
    """The same pictures at every step: left half bright where the condition is white."""

    def batch(self, step):
        conditions = torch.zeros(ROWS, 3, 16, 16)
        conditions[::2] = 1.0
        latents = torch.full((ROWS, 8, 4, 4), -0.5)
        latents[::2] = 0.5
        told = Conditioning(torch.zeros(ROWS, 4, 32), torch.zeros(ROWS, 48), torch.full((ROWS,), 5))
        return ControlBatch(latents, told, conditions)


def test_a_controlnet_learns_from_its_images_while_the_pair_stays_as_it_is(unet_of_seed):
    experts = {Role.STRUCTURE: unet_of_seed(2), Role.TEXTURE: unet_of_seed(3)}
    before = copy.deepcopy({role: unet.state_dict() for role, unet in experts.items()})
    asked = {role: [] for role in experts}
    for role, unet in experts.items():
        unet.register_forward_pre_hook(lambda _, args, seen=asked[role]: seen.extend(args[1].tolist()))
    torch.manual_seed(0)
    net = ControlNetModel.from_unet(experts[Role.STRUCTURE], conditioning_embedding_out_channels=(8, 8, 8))
    null = TextFeatures(torch.zeros(1, 4, 32), torch.zeros(1, 48))
    pair = FrozenPair(experts, TimeSplit(), NoiseSchedule(), PredictionType.V, null)
    settings = TrainSettings(steps=60, learning_rate=5e-3, warmup_steps=5, caption_drop=0.5)
    losses = train_controlnet(net, pair, OneBatch(), settings)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert min(asked[Role.STRUCTURE]) >= 500 > max(asked[Role.TEXTURE])
    assert len(asked[Role.STRUCTURE]) + len(asked[Role.TEXTURE]) == 60 * ROWS
    for role, unet in experts.items():
        assert all(torch.equal(value, before[role][name]) for name, value in unet.state_dict().items())
