import numpy as np
import pytest
import torch

from pangu.enhancer import PromptEnhancer
from pangu.expansion import Expander, ExpansionRequest, Sampling, draw_tokens, row_uniforms
from pangu.language_model import EnhancerCard, LanguageModel, build_language_model, load_language_model
from pangu.prompt_guard import PromptRefused

TEXTS = ["a red ball on a sandy beach", "three black fish in the snow", "红色的球，沙滩背景", "两条黑色的鱼，雪地背景"]


@pytest.fixture(scope="module")
def model():
    return build_language_model(TEXTS, shape="tiny", vocabulary=400)


REQUESTS = [
    ExpansionRequest("a red ball", 1),
    ExpansionRequest("a red ball", 2),
    ExpansionRequest("三条黑色的鱼", 1, "zh"),
    ExpansionRequest("a very long prompt with many words that needs more tokens than the others", 5),
]
SHORT = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=12)


def test_a_text_is_decided_by_prompt_and_seed_in_any_company(model):
    together = Expander(model, SHORT, rows_per_batch=3).expand(REQUESTS)
    assert together[0] != together[1], "another seed, another text"
    alone = [Expander(model, SHORT, rows_per_batch=3).expand([request])[0] for request in REQUESTS]
    backwards = Expander(model, SHORT, rows_per_batch=3).expand(REQUESTS[::-1])[::-1]
    assert together == alone == backwards


def test_draws_follow_the_cut_and_tempered_distribution():
    """Chi-square against the distribution that softmax, temperature and top-p give by hand."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -9.0])
    sampling = Sampling(temperature=0.7, top_p=0.95)
    shares = (logits.double() / 0.7).softmax(0).numpy()
    kept = np.cumsum(shares) - shares < 0.95
    expected = np.where(kept, shares, 0) / shares[kept].sum()
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20_000))
    drawn = draw_tokens(logits.expand(20_000, 5), uniforms, sampling)
    counts = np.bincount(drawn.numpy(), minlength=5)
    assert counts[~kept].sum() == 0 and kept.sum() == 3
    statistic = ((counts - 20_000 * expected)[kept] ** 2 / (20_000 * expected[kept])).sum()
    assert statistic < 13.8, "chi-square, 2 degrees of freedom, p = .001"
    assert draw_tokens(logits[None], uniforms[:1], Sampling(temperature=0)).item() == 0


def test_the_last_uniform_below_one_draws_a_kept_token():
    logits = torch.tensor([[0.0, -50.0]])
    edge = torch.tensor([np.nextafter(1.0, 0.0)])
    assert draw_tokens(logits, edge, Sampling(temperature=1.0, top_p=0.5)).item() == 0


def test_uniforms_come_from_prompt_and_seed_alone():
    first = row_uniforms(REQUESTS[0], 8)
    assert (first == row_uniforms(ExpansionRequest(" a red ball ", 1, "zh"), 8)).all()
    assert not (first == row_uniforms(REQUESTS[1], 8)).any()


@pytest.mark.parametrize("kind", ["qwen", "glm", "llama"])
def test_other_classes_load_from_their_folders_with_plain_and_chat_templates(kind, model, tmp_path):
    """Small random weights of the real classes, saved as users have them."""
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "vocab_size": len(model.tokenizer), "head_dim": 16}
    sizes |= {"pad_token_id": model.pad_id, "eos_token_id": model.end_id, "max_position_embeddings": 256}
    name = {"qwen": "Qwen3", "glm": "Glm", "llama": "Llama"}[kind]
    config = getattr(transformers, f"{name}Config")(**sizes)
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(tmp_path)
    tokenizer = model.tokenizer
    tokenizer.save_pretrained(tmp_path)
    plain = load_language_model(str(tmp_path))
    assert type(plain.model).__name__ == f"{name}ForCausalLM"
    assert plain.prompt_tokens("a red ball", "en") == model.prompt_tokens("a red ball", "en")
    with pytest.raises(ValueError, match="no chat template"):
        load_language_model(str(tmp_path), card=EnhancerCard(template="chat"))
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}<|assistant|>"
    (tmp_path / "chat_template.jinja").write_text(template)
    chat = load_language_model(str(tmp_path), card=EnhancerCard(template="chat", max_new_tokens=8))
    told = chat.tokenizer.decode(chat.prompt_tokens("红色的球", "zh"))
    assert told.endswith("<|user|>红色的球\n<|assistant|>") and "保留原来的内容" in told
    texts = Expander(chat, rows_per_batch=2).expand(REQUESTS[:3])
    assert len(texts) == 3
    chat.save(tmp_path / "again")
    assert Expander(load_language_model(str(tmp_path / "again")), rows_per_batch=2).expand(REQUESTS[:3]) == texts


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="accepted is a folder, or hub id@revision"):
        load_language_model("somebody/model")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_language_model(str(tmp_path))


class Answers:
    """An expander of given answers, by seed step."""

    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    def expand(self, requests):
        self.asked += requests
        return [self.texts[min(request.seed // 1_000_003, len(self.texts) - 1)] for request in requests]


def test_what_does_not_keep_to_the_prompt_is_drawn_again_and_else_left():
    enhancer = PromptEnhancer(Answers("沙滩上一个红色的球", "a blue ball on a beach", "a red ball on a sandy beach"))
    assert enhancer.enhance("a red ball", 5) == "a red ball on a sandy beach"
    assert [request.seed for request in enhancer.expander.asked] == [5, 1_000_008, 2_000_011]
    stubborn = PromptEnhancer(Answers("a blue box on a beach"))
    found = stubborn.enhance_all([ExpansionRequest("a red ball", 0)])[0]
    assert (found.text, found.note) == ("a red ball", "left as it is: lost: red, ball")


def test_unsafe_and_empty_prompts_are_refused_before_and_after():
    answers = Answers("a red ball beside a corpse", "")
    enhancer = PromptEnhancer(answers)
    for prompt, said in (("", "prompt refused: empty"), ("a naked man", "prompt refused: unsafe: sexual")):
        with pytest.raises(PromptRefused, match=f"^{said}"):
            enhancer.enhance(prompt)
    assert not answers.asked, "the model has not seen them"
    with pytest.raises(PromptRefused, match=r"^enhanced prompt refused: empty"):
        enhancer.enhance("a red ball")


def test_one_prompt_in_use_is_the_same_each_time(model):
    held = LanguageModel(model.model, model.tokenizer, EnhancerCard(max_new_tokens=8))
    enhancer = PromptEnhancer(Expander(held, rows_per_batch=1))
    asked = [ExpansionRequest("红色的球", seed, "zh") for seed in (3, 4)]
    first = enhancer.enhance_all(asked)
    assert enhancer.enhance("红色的球", 3) == first[0].text and enhancer.enhance_all(asked[::-1])[::-1] == first
