import json

import pytest

from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.text_fidelity.prompts import load_prompts
from uae.evaluation.text_fidelity.rendering import MIN_SIDE, can_render, render
from uae.recipe import PromptFile, TextFidelityRecipe


def settings(prompts="scenes", count=2):
    return TextFidelityRecipe(prompts=prompts, num_prompts=count, upscale_to=256)


def file_with(folder, *rows):
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return PromptFile(source=str(path), sha256=None)


def test_scenes_with_a_word_ask_for_it(context, scenes):
    prompts, named = load_prompts(settings(), context())
    carrying = [(index, facts) for index, facts in enumerate(scenes) if facts.word][:2]
    assert [prompt.prompt_id for prompt in prompts] == [f"benchmark-{i}" for i, _ in carrying]
    for prompt, (_, facts) in zip(prompts, carrying, strict=True):
        assert prompt.asked == (facts.word,)
        assert f'"{facts.word}"' in prompt.text
        assert (prompt.known_picture() == scene_picture(facts)).all()
    assert (named.name, named.source, named.count) == ("scenes", "data", 2)
    assert load_prompts(settings(count=1), context())[1].sha256 != named.sha256


def test_a_file_asks_for_what_stands_in_double_quotes(context, tmp_path):
    file = file_with(
        tmp_path,
        {"prompt": 'A shop with the sign "Open all day" above “Coffee”', "theme": "shop"},
        "",
        {"prompt": 'A banner that reads "你好"'},
    )
    (shop, banner), named = load_prompts(settings(file, None), context())
    assert shop.asked == ("Open all day", "Coffee")
    assert (shop.prompt_id, shop.metadata["theme"]) == ("00000", "shop")
    assert (shop.known_picture() == render(["Open all day", "Coffee"])).all()
    assert banner.known_picture is None  # no font at hand has these
    assert (named.name, named.source, named.count) == ("text-prompts", "prompts.jsonl", 2)


def test_every_wrong_line_is_named(context, tmp_path):
    file = file_with(
        tmp_path,
        {"prompt": "no text at all"},
        {"text": 'the key is "wrong"'},
        "not json",
        {"prompt": 'only "!"'},
        {"prompt": 'fine "yes"'},
        [1],
    )
    with pytest.raises(EvaluationError) as caught:
        load_prompts(settings(file, None), context())
    for number in (1, 2, 3, 4, 6):
        assert f"prompts.jsonl:{number}: not a prompt with a quoted text" in str(caught.value)


def test_a_repeated_text_is_named_whatever_stands_beside_it(context, tmp_path):
    file = file_with(tmp_path, {"prompt": 'a "b"'}, {"prompt": 'a "b"', "theme": "shop"})
    with pytest.raises(EvaluationError, match=r"prompts\.jsonl:2: repeats line 1"):
        load_prompts(settings(file, None), context())


def test_fewer_prompts_than_asked_for_are_refused(context, tmp_path):
    file = file_with(tmp_path, {"prompt": 'a "b"'})
    with pytest.raises(EvaluationError, match=r"asks for 2 prompts .* has 1"):
        load_prompts(settings(file, 2), context())
    with pytest.raises(EvaluationError, match=r"asks for 999 .*, data has"):
        load_prompts(settings(count=999), context())


def test_drawn_texts_fill_a_square():
    short, long = render(["OPEN"]), render(["word " * 40])
    assert short.shape == (MIN_SIDE, MIN_SIDE, 3)
    assert long.shape[0] == long.shape[1] > MIN_SIDE
    assert (short != 255).any()
    # nothing is cut off at the edge
    for picture in (short, long, render(["W" * 60])):
        assert (picture[[0, -1]] == 255).all()
        assert (picture[:, [0, -1]] == 255).all()


def test_characters_without_a_sign_are_known():
    assert can_render(["Open all day, 24h!", "it's"])
    assert not can_render(["OPEN", "你"])
    assert not can_render(["Café"])
