import pytest
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.base import Failure
from uae.evaluation.systems.native import fit_text, native_folder, sampling
from uae.evaluation.systems.tiny_native import tiny_chameleon


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tiny_chameleon(tmp_path_factory.mktemp("chameleon"))
    return PreTrainedTokenizerFast.from_pretrained(folder)


def length(tokenizer):
    return lambda text: len(tokenizer(f"paint: {text}.")["input_ids"])


def fit(tokenizer, text, room, overlong):
    return fit_text(
        text, tokenizer, length(tokenizer), room, overlong=overlong, place="geneval/00000"
    )


def test_a_text_that_fits_is_left_alone(tokenizer):
    text = "a red cat and a blue dog"
    room = length(tokenizer)(text)
    for overlong in ("error", "truncate"):
        assert fit(tokenizer, text, room, overlong) == text


def test_a_text_that_may_not_be_cut_fails_alone_and_says_how_much_has_room(tokenizer):
    text = "a red cat and a blue dog"
    whole = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    found = fit(tokenizer, text, length(tokenizer)(text) - 1, "error")
    assert found == Failure(
        f"the text is cut: {whole - 1} of {whole} tokens have room beside a picture"
    )


def test_the_end_of_a_text_is_cut_and_no_more_than_needed(tokenizer):
    text = "a red cat and a blue dog " * 5
    for room in range(length(tokenizer)("") + 1, length(tokenizer)(text)):
        cut = fit(tokenizer, text, room, "truncate")
        assert text.startswith(cut)
        assert room - 3 <= length(tokenizer)(cut) <= room


def test_no_character_is_cut_in_half(tokenizer):
    text = "é" * 20  # two bytes and two tokens each
    room = length(tokenizer)("é" * 7) + 1
    assert fit(tokenizer, text, room, "truncate") == "é" * 7


@pytest.mark.parametrize("overlong", ["error", "truncate"])
def test_no_room_at_all_is_an_error(tokenizer, overlong):
    with pytest.raises(EvaluationError, match="no room for a text beside a picture"):
        fit(tokenizer, "a cat", length(tokenizer)("") - 1, overlong)


def test_no_temperature_is_greedy_and_any_other_cuts_nothing_off():
    assert sampling(0) == {"do_sample": False, "num_beams": 1}
    assert sampling(0.7)["temperature"] == 0.7
    assert (sampling(0.7)["top_k"], sampling(0.7)["top_p"]) == (0, 1.0)


@pytest.mark.parametrize("content", ["[]", "{}", '{"model_type": "multi_modality"}'])
def test_a_folder_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match="not 'janus'"):
        native_folder(str(tmp_path), "janus")


def test_a_configuration_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        native_folder(str(tmp_path), "janus")
