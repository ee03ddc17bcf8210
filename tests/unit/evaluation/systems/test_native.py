import pytest
import torch
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.native import fit_text, native_folder, sampling, seeded
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


def test_one_token_too_many_is_an_error_that_names_the_request(tokenizer):
    text = "a red cat and a blue dog"
    with pytest.raises(EvaluationError, match="geneval/00000: the text is 1 tokens longer than"):
        fit(tokenizer, text, length(tokenizer)(text) - 1, "error")


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


def test_no_room_at_all_is_an_error_even_for_a_cut_text(tokenizer):
    with pytest.raises(EvaluationError, match="no room for a text beside a picture"):
        fit(tokenizer, "a cat", length(tokenizer)("") - 1, "truncate")


def test_a_seed_decides_draws_and_leaves_no_trace():
    state = torch.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with seeded(seed, torch.device("cpu")):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="stop"), seeded(1, torch.device("cpu")):
        raise ValueError("stop")
    assert torch.equal(torch.get_rng_state(), state)


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
