import pytest

from uae.models.tokenizer import SPECIAL_TOKENS, train_tokenizer

TEXTS = ["a large red apple at the top left", "user assistant generate"] * 5


def test_special_tokens_come_first_and_end_of_turn_ends():
    tokenizer = train_tokenizer(TEXTS, 300)
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(7))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert len(tokenizer) <= 300


@pytest.mark.parametrize("text", ["a red apple", "é 漢字 🙂\n\t", "<|im_end|>", ""])
def test_any_text_survives(text):
    tokenizer = train_tokenizer(TEXTS, 300)
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(range(7))


def test_training_is_deterministic():
    first, second = train_tokenizer(TEXTS, 320), train_tokenizer(TEXTS, 320)
    assert first.get_vocab() == second.get_vocab()
    assert len(first("a large red apple").input_ids) == 4


def test_any_role_has_its_turn():
    tokenizer = train_tokenizer(TEXTS, 300)
    content = [{"type": "image"}, {"type": "text", "text": "What?"}]
    turns = [{"role": "user", "content": content}, {"role": "generate", "content": "a cat"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n"
        "<|im_start|>generate\na cat<|im_end|>\n<|im_start|>assistant\n"
    )
