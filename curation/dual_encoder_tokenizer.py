"""A byte-level BPE tokenizer for English and Chinese in which no token joins two Chinese characters."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from curation.dual_encoder import CONTEXT_LENGTH

CHINESE_CHARACTER = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3000-\u303f\uff00-\uffef]"
PAD, START, END = "<pad>", "<start>", "<end>"


def fit_tokenizer(texts: Iterable[str], *, vocab_size: int = 5600) -> Tokenizer:
    """A tokenizer of at most `vocab_size` tokens learned from `texts`, which it lowercases.

    `<pad>` is 0, `<start>` is 1, and `<end>` has the highest id of all, as open_clip's pooling by argmax needs.
    Every text becomes `<start> ... <end>`, cut to 40 tokens; `<end>` is always kept.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CHINESE_CHARACTER), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=[PAD, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    end = tokenizer.token_to_id(END)
    if end != tokenizer.get_vocab_size() - 1:
        raise ValueError(f"<end> must be the highest token id, but is {end} of {tokenizer.get_vocab_size()}")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, tokenizer.token_to_id(START)), (END, end)]
    )
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    return tokenizer
