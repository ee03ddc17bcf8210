import json

import pytest

from uae.errors import EvaluationError
from uae.evaluation.geneval_2.prompts import Atom, Prompt, answer_forms, read_prompts

ROW = {
    "prompt": "two glass cubes behind a boat",
    "atom_count": 3,
    "vqa_list": [
        ["How many cubes are in the image?", "two"],
        ["Are the cubes glass?", "Yes"],
        ["Are the cubes behind the boat?", "Yes"],
    ],
    "skills": ["count", "attribute", "position"],
}


def test_a_row_is_read_and_written_back_as_it_was():
    (prompt,) = read_prompts(json.dumps(ROW), "file")
    atoms = (
        Atom("How many cubes are in the image?", "two", "count"),
        Atom("Are the cubes glass?", "Yes", "attribute"),
        Atom("Are the cubes behind the boat?", "Yes", "position"),
    )
    assert prompt == Prompt("two glass cubes behind a boat", 3, atoms)
    assert prompt.to_json() == ROW


def test_blank_lines_are_skipped_and_a_repeated_row_is_named():
    other = ROW | {"vqa_list": ROW["vqa_list"][:2], "skills": ROW["skills"][:2], "atom_count": 2}
    assert len(read_prompts(f"\n{json.dumps(ROW)}\n\n{json.dumps(other)}\n", "file")) == 2
    with pytest.raises(EvaluationError, match="file:4: repeats line 2"):
        read_prompts(f"\n{json.dumps(ROW)}\n\n{json.dumps(ROW)}\n", "file")


def test_fewer_atoms_than_questions_are_those_of_a_single_thing():
    row = ROW | {"atom_count": 2}
    assert read_prompts(json.dumps(row), "file")[0].atom_count == 2


def test_yes_may_be_written_in_four_ways():
    assert set(answer_forms("Are they red?", "Yes")) == {"Yes", "yes", " yes", " Yes"}


def test_a_number_may_be_a_word_or_digits():
    forms = answer_forms("How many cubes are in the image?", "two")
    assert set(forms) == {"two", "Two", " two", " Two", "2", " 2"}
    assert "10" in answer_forms("How many cubes are in the image?", "ten")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Are they red?", "No"),
        ("Are they red?", "yes"),
        ("What colour are they?", "red"),
        ("How many are there?", "Yes"),
        ("How many are there?", "2"),
        ("How many are there?", "eleven"),
    ],
)
def test_an_answer_that_the_published_script_cannot_score_is_refused(question, answer):
    with pytest.raises(ValueError, match=f"must be .*{answer}"):
        answer_forms(question, answer)


WRONG = {
    "no JSON": ("{", "Expecting"),
    "no object": ([ROW], "got list"),
    "a missing key": ({k: v for k, v in ROW.items() if k != "skills"}, "a prompt has the keys"),
    "an unknown key": (ROW | {"seed": 1}, "a prompt has the keys"),
    "an empty prompt": (ROW | {"prompt": ""}, "prompt must be a text"),
    "a key twice": ('{"prompt": "a", "prompt": "b"}', "keys stand twice: prompt"),
    "more atoms than questions": (ROW | {"atom_count": 4}, "atom_count is 4, but .* 3 questions"),
    "a count in words": (ROW | {"atom_count": "5"}, "atom_count must be a positive integer"),
    "a count of zero": (ROW | {"atom_count": 0}, "atom_count must be a positive integer"),
    "a count that is true": (ROW | {"atom_count": True}, "atom_count must be a positive integer"),
    "no question": (ROW | {"vqa_list": [], "skills": []}, "vqa_list must be a list"),
    "questions no list": (ROW | {"vqa_list": {}}, "vqa_list must be a list"),
    "too few skills": (ROW | {"skills": ["count"]}, "skills must be one for each of 3"),
    "an unknown skill": (ROW | {"skills": ["count", "colour", "position"]}, "skill 'colour'"),
    "a skill no text": (ROW | {"skills": ["count", ["object"], "position"]}, "unknown skill"),
    "a question alone": (ROW | {"vqa_list": [["Is it red?"]] * 3}, "holds .question, answer."),
    "an empty question": (ROW | {"vqa_list": [["", "Yes"]] * 3}, "question must be a text"),
    "an answer no text": (ROW | {"vqa_list": [["Is it?", True]] * 3}, "answer must be a text"),
    "a wrong answer": (ROW | {"vqa_list": [["Is it?", "No"]] * 3}, "must be 'Yes', got 'No'"),
}


@pytest.mark.parametrize(("row", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_named_by_its_line(row, message):
    line = row if isinstance(row, str) else json.dumps(row)
    with pytest.raises(EvaluationError, match=f"file:2: not a GenEval 2 prompt: .*{message}"):
        read_prompts(f"{json.dumps(ROW)}\n{line}", "file")


def test_a_file_without_prompts_is_refused():
    with pytest.raises(EvaluationError, match="file holds no prompt"):
        read_prompts("\n", "file")
