import copy

import pytest
import torch

from pangu.language_model import build_language_model
from pangu.lora import LoraLinear, add_lora, merge_lora
from pangu.sft import (
    IGNORED,
    Example,
    SftSettings,
    SftTask,
    answer_divergence,
    answer_loss,
    learning_rate_at,
    mean_answer_loss,
    pair_example,
    rows_of_step,
    stack_examples,
    train_language_model,
)

PAIRS = [
    ("a red ball", "a red ball on a sandy beach", "en"),
    ("a blue box", "a blue box in the snow", "en"),
    ("红色的球", "沙滩上一个红色的球", "zh"),
    ("黑色的鱼", "雪地里一条黑色的鱼", "zh"),
]


def fresh():
    return build_language_model([text for pair in PAIRS for text in pair[:2]], shape="tiny", vocabulary=320)


@pytest.fixture
def held():
    return fresh()


@pytest.fixture
def examples(held):
    return [pair_example(held, *pair, 64) for pair in PAIRS]


def test_only_the_answer_is_learnt(held, examples):
    _, mask, targets = stack_examples(examples, held.pad_id)
    for row, (short, enriched, language) in enumerate(PAIRS):
        asked = len(held.prompt_tokens(short, language))
        learnt = [token for token in targets[row].tolist() if token != IGNORED]
        assert held.read_answer(learnt) == enriched and learnt[-1] == held.end_id
        assert (targets[row, :asked] == IGNORED).all() and mask[row].sum() == asked + len(learnt)


def test_the_loss_is_the_answers_negative_log_likelihood(held, examples):
    """Against a loop over tokens, each predicted alone from what stands before it."""
    example = examples[0]
    total = 0.0
    with torch.no_grad():
        for place in range(example.answer_from, len(example.tokens)):
            logits = held.model(input_ids=torch.tensor([example.tokens[:place]])).logits[0, -1]
            total -= float(logits.double().log_softmax(0)[example.tokens[place]])
        tokens, mask, targets = stack_examples(examples[:2], held.pad_id)
        together = answer_loss(held.model(input_ids=tokens, attention_mask=mask).logits[:1], targets[:1])
    assert float(together) == pytest.approx(total, rel=1e-4)
    assert mean_answer_loss(held.model, [example], held.pad_id) == pytest.approx(
        total / (len(example.tokens) - example.answer_from), rel=1e-4
    )


def test_the_divergence_is_zero_from_itself_and_positive_else():
    logits = torch.randn(2, 5, 7)
    targets = torch.tensor([[IGNORED, IGNORED, 3, 2, 1], [IGNORED, 1, 1, IGNORED, IGNORED]])
    assert float(answer_divergence(logits, logits, targets)) == pytest.approx(0, abs=1e-5)
    other = torch.randn(2, 5, 7)
    changed = other.clone()
    changed[:, -1] += 5 * torch.randn(2, 7)  # what follows the last token is no answer's
    found = float(answer_divergence(logits, other, targets))
    assert found > 0.1 and float(answer_divergence(logits, changed, targets)) == pytest.approx(found)


def test_training_lowers_the_loss_and_the_reference_holds_it_back(held, examples):
    settings = SftSettings(steps=30, batch_size=4, learning_rate=3e-3, warmup_steps=3)
    before = mean_answer_loss(held.model, examples, held.pad_id)
    start = copy.deepcopy(held.model)
    losses = train_language_model(held.model, SftTask(examples), settings, held.pad_id)
    free = mean_answer_loss(held.model, examples, held.pad_id)
    assert len(losses) == 30 and free < 0.7 * before
    tied = copy.deepcopy(start)
    strong = settings.model_copy(update={"kl_weight": 5.0})
    train_language_model(tied, SftTask(examples, reference=start), strong, held.pad_id)
    assert free < mean_answer_loss(tied, examples, held.pad_id) < before
    with pytest.raises(ValueError, match="without a reference"):
        train_language_model(tied, SftTask(examples), strong, held.pad_id)


def test_a_run_that_stopped_goes_on_to_the_same_bits(examples, tmp_path):
    settings = SftSettings(steps=8, batch_size=3, learning_rate=1e-3, warmup_steps=2, checkpoint_every=2)

    class Stop(Exception):
        pass

    def stop_after_five(step, loss):
        if step == 5:
            raise Stop

    calm, cut = fresh(), fresh()
    expected = train_language_model(calm.model, SftTask(examples), settings, calm.pad_id)
    with pytest.raises(Stop):
        task = SftTask(examples, checkpoints=tmp_path)
        train_language_model(cut.model, task, settings, cut.pad_id, stop_after_five)
    (tmp_path / "step-00000004" / "model.safetensors").write_bytes(b"torn")
    again = fresh()
    assert train_language_model(again.model, task, settings, again.pad_id) == expected
    for name, weights in calm.model.state_dict().items():
        assert torch.equal(weights, again.model.state_dict()[name]), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000006", "step-00000008"]


def test_every_epoch_is_a_shuffle_of_all():
    seen = [row for step in range(5) for row in rows_of_step(10, 4, seed=1, step=step)]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10)) and seen[:10] != seen[10:20]
    settings = SftSettings(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(settings, step) for step in (0, 9, 10, 55, 100)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.55, 0.1])


def test_adapters_start_as_nothing_learn_alone_and_merge_to_the_same_function(held, examples):
    tokens = torch.tensor([examples[0].tokens])
    with torch.no_grad():
        before = held.model(input_ids=tokens).logits
    assert add_lora(held.model, rank=4, alpha=8) == 14
    with torch.no_grad():
        assert torch.equal(held.model(input_ids=tokens).logits, before)
    frozen = {n: w.clone() for n, w in held.model.named_parameters() if not w.requires_grad}
    settings = SftSettings(steps=20, batch_size=4, learning_rate=1e-2, warmup_steps=2)
    losses = train_language_model(held.model, SftTask(examples), settings, held.pad_id)
    assert losses[-1] < losses[0]
    assert all(torch.equal(w, dict(held.model.named_parameters())[n]) for n, w in frozen.items())
    with torch.no_grad():
        adapted = held.model(input_ids=tokens).logits
    merge_lora(held.model)
    assert not any(isinstance(module, LoraLinear) for module in held.model.modules())
    with torch.no_grad():
        torch.testing.assert_close(held.model(input_ids=tokens).logits, adapted, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="none of nothing"):
        add_lora(held.model, rank=4, alpha=8, targets=("nothing",))


def test_too_long_a_pair_is_cut_and_none_at_all_is_an_error(held):
    cut = pair_example(held, "a red ball", "a red ball on a sandy beach " * 20, "en", 24)
    assert len(cut.tokens) == 24 and isinstance(cut, Example)
    with pytest.raises(ValueError, match="at least one pair"):
        train_language_model(held.model, SftTask([]), SftSettings(steps=1), held.pad_id)
