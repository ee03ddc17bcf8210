from unit.leaderboard.example_results import make_sample

from uae.leaderboard.evidence import read_evidence
from uae.leaderboard.nested import MAX_TEXT, as_text


def test_known_evidence_is_drawn():
    evidence = {
        "objects": [{"class": "cat", "score": 0.9, "box": [1, 2, 3, 4], "color": None}],
        "questions": [
            {"number": 1, "question": "A cat?", "p_yes": [0.9, None], "answers": [True, None]}
        ],
        "words": {"asked": ["open"], "read": []},
        "reply": "yes",
        "verdicts": [{"judge": "j", "order": ["a", "b"], "reply": "A", "choice": "a"}],
        "scores": {"clip": 91.123456789},
    }
    found = read_evidence(make_sample("a", 1.0, caption="A cat.", evidence=evidence))
    assert found.objects[0].box == (1, 2, 3, 4)
    assert found.objects[0].model_dump()["name"] == "cat"
    assert found.questions[0].p_yes == [0.9, None]
    assert found.verdicts[0].order == '["a", "b"]'
    assert found.words.asked == ["open"]
    assert (found.caption, found.reply) == ("A cat.", "yes")
    assert found.scores == [("clip", "91.1235")]
    assert found.facts == []


def test_evidence_of_another_form_is_shown_as_text_not_dropped():
    evidence = {"objects": [{"class": "cat", "box": "everywhere"}], "novel": [1, 2]}
    found = read_evidence(make_sample("a", 1.0, evidence=evidence))
    assert found.objects == []
    assert found.facts == [
        ("objects", '[{"class": "cat", "box": "everywhere"}]'),
        ("novel", "[1, 2]"),
    ]


def test_columns_of_the_benchmark_and_facts_of_one_name_are_all_kept():
    evidence = {"facts": {"tag": "one"}, "metadata": {"tag": "two"}}
    found = read_evidence(make_sample("a", 1.0, evidence=evidence, tag=None))
    assert found.facts == [("tag", ""), ("tag", "one"), ("tag", "two")]


def test_a_text_without_end_is_cut_and_says_so():
    text = as_text("x" * (MAX_TEXT + 5))
    assert text.endswith(" … (5 more characters)")
    assert as_text("x" * MAX_TEXT) == "x" * MAX_TEXT
