"""Small pipelines of real classes with random weights: SD 1.x, SDXL, PixArt, and the flow-matching SD3."""

import diffusers
import numpy as np
import pytest
import torch

from pangu.diffusers_generator import DiffusersGenerator, load_generator
from pangu.errors import RowMemoryError
from pangu.generate import GenerationRequest, Generator
from pangu.samplers import SamplerName
from pangu.time_range import Role
from tests.pangu.small_pipelines import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One saved folder of each family."""
    written = {}
    for name, make in FAMILIES.items():
        torch.manual_seed(0)
        written[name] = tmp_path_factory.mktemp(name)
        make().save_pretrained(written[name])
    return written


def ask(number=0, **change):
    told = {"key": f"r{number}", "prompt": ["a red ball", "green square", "a star"][number % 3], "seed": 100 + number}
    return GenerationRequest.model_validate({**told, "steps": 3, "guidance": 4.0, **change})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_gives_the_same_pixels_alone_and_in_any_company(folders, family):
    generator = load_generator(folders[family], rows_per_batch=3)
    assert isinstance(generator, DiffusersGenerator)
    requests = [ask(n) for n in range(3)] + [ask(3, negative="blue"), ask(4, guidance=1.0), ask(5, size=(16, 32))]
    made = generator.generate(requests)
    assert [image.request.key for image in made] == [f"r{n}" for n in range(6)]
    assert {image.image.shape for image in made[:5]} == {(16, 16, 3)}
    assert made[5].image.shape == (16, 32, 3)
    assert len({image.sha256 for image in made}) == 6
    for image in reversed(made):
        alone = generator.generate([image.request])[0]
        assert alone.sha256 == image.sha256, image.request


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_what_the_pipeline_itself_makes_of_prompt_and_seed(folders, family):
    """Alone and unpadded, so equal but for the last bits that the size of a batch decides."""
    made = load_generator(folders[family], rows_per_batch=2).generate([ask(1)])[0]
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folders[family])
    settings = {"use_resolution_binning": False} if family == "pixart" else {}
    image = pipeline(
        "green square",
        num_inference_steps=3,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(101),
        output_type="np",
        **settings,
    ).images[0]
    assert np.abs(made.image - image * 255).max() < 1.5
    assert made.image.std() > 1


@pytest.mark.parametrize("family", ["sdxl", "pixart", "sd3"])
def test_steps_and_evaluations_are_counted_and_a_hook_ends_the_work(folders, family):
    generator = load_generator(folders[family], rows_per_batch=2)
    seen = []
    guided, plain = generator.generate([ask(0), ask(1, guidance=1.0)], seen.append)
    assert (guided.steps, guided.evaluations) == ({Role.SHARED: 3}, {Role.SHARED: 6})
    assert (plain.steps, plain.evaluations) == ({Role.SHARED: 3}, {Role.SHARED: 3})
    assert len(seen) == 6
    assert seen[0] > seen[1] > seen[2] >= 0

    def stop(t):
        seen.append(t)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        generator.generate([ask(0)], stop)
    assert len(seen) == 7
    assert generator.generate([ask(0)])[0].sha256 == guided.sha256


def test_the_sampler_may_be_chosen_where_the_stored_scheduler_allows(folders):
    generator = load_generator(folders["sd"], rows_per_batch=4)
    chosen = [ask(0, sampler=name, steps=20) for name in SamplerName]
    own, *made = generator.generate([ask(0, steps=20), *chosen])
    assert len({image.sha256 for image in [own, *made]}) == 5
    assert generator.generate([ask(0, steps=20)])[0].sha256 == own.sha256
    with pytest.raises(ValueError, match="sampler: got unipc"):
        load_generator(folders["sd3"]).check(ask(sampler="unipc"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bucket": 5}, "bucket"),
        ({"column": "structure"}, "column"),
        ({"styles": {"aesthetic": 0.0}}, "styles"),
        ({"texture_guidance": 2.0}, "texture_guidance"),
        ({"guidance_interval": (0, 500)}, "guidance_interval"),
        ({"guidance": 0.5}, "guidance"),
        ({"size": (16, 18)}, "size"),
    ],
)
def test_what_a_plain_pipeline_does_not_have_is_refused_by_name(folders, change, field):
    generator = load_generator(folders["pixart"])
    with pytest.raises(ValueError, match=f"^{field}: got"):
        generator.generate([ask(**change)])


def test_out_of_memory_halves_the_batch_and_goes_on(folders):
    expected = [
        made.sha256 for made in load_generator(folders["sd"], rows_per_batch=2).generate([ask(n) for n in range(6)])
    ]
    generator = load_generator(folders["sd"], rows_per_batch=4)
    limit = [5]

    def weigh(module, args):
        if len(args[0]) > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    generator.pipeline.unet.register_forward_pre_hook(weigh)
    made = generator.generate([ask(n) for n in range(6)])
    assert [image.sha256 for image in made] == expected
    assert {image.batch_rows for image in made} == {(2,)}
    assert generator.reduced == {"default": 2}

    limit[0] = 1
    with pytest.raises(RowMemoryError, match="r0, r2") as caught:
        generator.generate([ask(0), ask(1, guidance=1.0), ask(2)])
    assert [image.request.key for image in caught.value.made] == ["r1"]


def test_a_pair_of_experts_loads_through_the_same_door(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    generator = load_generator(str(tmp_path), rows_per_batch=2)
    assert isinstance(generator, Generator)
    request = GenerationRequest(key="k", prompt="a red ball", seed=3, steps=2)
    expected = Generator(pipeline, rows_per_batch=2).generate([request])
    assert generator.generate([request])[0].sha256 == expected[0].sha256
    with pytest.raises(ValueError, match="size: got"):
        load_generator(tmp_path, size=(64, 64))
    short = load_generator(tmp_path, dtype=torch.bfloat16, rows_per_batch=2)
    made = [short.generate([request, other])[0] for other in (request.model_copy(update={"seed": 4}), request)]
    assert made[0].sha256 == made[1].sha256, "in short types too a picture does not depend on its company"
    assert 0 < np.abs(made[0].image.astype(int) - expected[0].image).mean() < 5


def test_what_is_no_model_is_refused(tmp_path, folders):
    with pytest.raises(ValueError, match="revision: got none for 'someone/model'"):
        load_generator("someone/model")
    with pytest.raises(ValueError, match=r"model_index\.json"):
        load_generator(tmp_path)
    with pytest.raises(ValueError, match="offload_inactive_expert"):
        load_generator(folders["sd"], offload_inactive_expert=True)
    unconditional = diffusers.DDPMPipeline(
        diffusers.UNet2DModel(8, block_out_channels=(32,) * 4), diffusers.DDPMScheduler()
    )
    with pytest.raises(ValueError, match="DDPMPipeline"):
        DiffusersGenerator(unconditional)
