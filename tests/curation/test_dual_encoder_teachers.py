import torch
from torch.nn import functional as F

from curation.dual_encoder_teachers import fit_caption_space, fit_class_teacher
from curation.dual_encoder_views import TaughtViews


def views_of(features, shows):
    marks = torch.ones(len(features), dtype=torch.bool)
    return TaughtViews(torch.zeros(len(features), 3, 1, 1, dtype=torch.uint8), features, shows, marks, marks)


def test_the_caption_space_teacher_finds_a_linear_relation_again():
    torch.manual_seed(0)
    features = F.normalize(torch.randn(400, 192), dim=-1)
    relation = torch.randn(192, 256)
    centres = F.normalize(features[:300] @ relation + 3.0, dim=-1)
    owner = torch.cat([torch.arange(300), torch.full((100,), -1)])
    taught = fit_caption_space(
        views_of(features, torch.stack([owner, torch.full((400,), -1)], 1)), centres, penalty=1e-4
    )
    assert torch.allclose(taught.mean, centres.mean(0), atol=1e-5)
    known = torch.arange(300)
    assert float(taught.loss(known, centres)) < 0.01
    assert float(taught.loss(known, centres[torch.randperm(300)])) > 0.5
    unseen = F.normalize(features[300:] @ relation + 3.0, dim=-1)
    assert float(taught.loss(torch.arange(300, 400), unseen)) < 0.3, "views without a caption are placed too"


def class_teacher():
    """Pairs 0 to 39 of two classes that the features tell apart, but pair 7, which looks like the other; 40 has none."""
    torch.manual_seed(0)
    owner = torch.arange(41).repeat_interleave(3)
    labels = torch.cat([torch.arange(40) % 2, torch.tensor([-1])])
    looks_like = labels.clamp_min(0).clone()
    looks_like[7] = 1 - looks_like[7]
    features = F.normalize(torch.randn(len(owner), 192) * 0.02 + F.one_hot(looks_like[owner], 192), dim=-1)
    shows = torch.stack([owner, torch.full_like(owner, -1)], 1)
    shows[0, 1] = 5
    prompts = {"en": F.normalize(torch.randn(2, 256), dim=-1)}
    return fit_class_teacher(views_of(features, shows), labels, prompts), labels


def test_a_class_is_half_the_truth_and_half_what_others_say_of_it():
    taught, labels = class_teacher()
    assert taught.is_known.tolist() == [False, *[True] * 119, *[False] * 3], (
        "neither a mixture nor a pair without class"
    )
    assert torch.allclose(taught.classes[taught.is_known].sum(1), torch.ones(119), atol=1e-5)
    assert float(taught.classes[3 * 6, labels[6]]) > 0.9
    assert 0.5 <= float(taught.classes[3 * 7, labels[7]]) < 0.6, "no regression that judges a pair has seen it"
    assert taught.pair_is_known.tolist() == [True] * 40 + [False]
    assert torch.allclose(taught.of_pairs[7], taught.classes[21:24].mean(0), atol=1e-5)


def test_the_class_loss_falls_towards_the_wanted_prompt():
    taught, labels = class_teacher()
    scale, wanted = torch.tensor(20.0), F.one_hot(labels[:2], 2).float()
    near = taught.loss(wanted, taught.prompts["en"], "en", scale)
    far = taught.loss(wanted, taught.prompts["en"].flip(0), "en", scale)
    assert float(near) < 0.1 < 1 < float(far)
    assert float(taught.loss(wanted[:0], torch.zeros(0, 256), "en", scale)) == 0
