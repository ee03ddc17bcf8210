"""The command line: what it prints, what it refuses, and how it exits."""

import argparse
import errno
import json
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

import uae
from uae import cli
from uae.commands import pipeline
from uae.errors import DataError


def test_help_needs_nothing_heavy():
    script = (
        "import sys; from uae.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'kfp', 'numpy', 'pydantic', 'yaml', 'rich', 'minio', 'PIL', 'urllib3'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in (
        "recipes", "validate", "compile", "run", "report", "submit", "watch", "schedule",
        "champion", "promote", "rollback", "caption", "generate", "reconstruct",
    ):  # fmt: skip
        assert command in done.stdout
    assert len(done.stdout.splitlines()) < 40, "one screen"


def parsers(parser, name="uae"):
    """Return every parser below this one, by name."""
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, child in action.choices.items():
                found |= {f"{name} {command}": child, **parsers(child, f"{name} {command}")}
    return found


def test_every_argument_is_explained_with_its_default():
    found = parsers(cli._parser())
    assert "uae schedule create" in found
    for command, parser in found.items():
        for argument in parser._actions:
            assert argument.help, f"{command} {argument.dest}"
            if argument.option_strings and argument.dest != "help":
                assert "default" in argument.help, f"{command} {argument.dest}"
        assert parser.format_help()


@pytest.mark.parametrize("command", ["caption", "generate", "reconstruct"])
def test_help_says_that_the_default_model_is_not_the_run_s(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "default: starter, the shipped base weights, not your run's" in text


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"uae {version('uae')}\n"


def test_recipes_are_listed(capsys):
    assert cli.main(["recipes"]) == 0
    assert "starter: base starter" in capsys.readouterr().out


def test_wrong_recipe_name_says_which_exist(capsys):
    assert cli.main(["run", "--recipe", "nothing"]) == 2
    error = capsys.readouterr().err
    assert "nothing" in error
    assert "starter" in error


def test_wrong_recipe_value_names_key_and_value(capsys, tmp_path):
    from uae.recipe_files import dump_recipe, load_recipe

    text = dump_recipe(load_recipe("starter")).replace("seed: 0", "seed: minus one")
    (tmp_path / "mine.yaml").write_text(text)
    assert cli.main(["run", "--recipe", str(tmp_path / "mine.yaml")]) == 2
    error = capsys.readouterr().err
    assert "seed" in error
    assert "minus one" in error


def test_data_in_a_bucket_needs_a_store(capsys, tmp_path):
    command = ["run", "--data", "s3://pictures/today", "--run-root", str(tmp_path)]
    assert cli.main(command) == 2
    assert "--endpoint https://" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_path_that_kfp_would_change_is_refused_before_anything_is_written(capsys, tmp_path):
    data = tmp_path / "python3-photos"
    data.mkdir()
    runs = tmp_path / "runs"
    assert cli.main(["run", "--data", str(data), "--run-root", str(runs)]) == 2
    assert f"data {str(data)!r}: kfp's local runner would replace" in capsys.readouterr().err
    assert cli.main(["run", "--run-root", str(data)]) == 2
    assert "run folder" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [data]


def test_folder_named_starter_does_not_replace_the_shipped_data(tmp_path, monkeypatch):
    from uae_pipelines import commands

    asked = []
    monkeypatch.setattr(commands, "_run_locked", lambda request, *_: asked.append(request.data))
    for name in ("starter", "mine"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for data in ("starter", "mine", "./starter"):
        assert cli.main(["run", "--recipe", "smoke", "--data", data]) == 0
    assert asked == ["starter", str(tmp_path / "mine"), str(tmp_path / "starter")]


def test_unknown_run_names_those_that_exist(capsys, tmp_path):
    (tmp_path / "yesterday").mkdir()
    (tmp_path / "yesterday" / "request.json").write_text("{}")
    assert cli.main(["run", "--resume", "today", "--run-root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "today" in error
    assert "yesterday" in error
    assert not (tmp_path / "today").exists()


@pytest.mark.parametrize("secret", ["https://key:secret@host", "https://key:secret@host:99999"])
def test_password_in_the_endpoint_is_refused_before_anything_is_written(capsys, tmp_path, secret):
    assert cli.main(["run", "--endpoint", secret, "--run-root", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "AWS_SECRET_ACCESS_KEY" in shown.err
    assert "secret" not in shown.out + shown.err.replace("AWS_SECRET_ACCESS_KEY", "")
    assert not list(tmp_path.iterdir())

    (tmp_path / "old").mkdir()  # a run that was started before this was refused
    request = {"recipe": "", "data": "starter", "endpoint": secret, "bucket": "uae"}
    (tmp_path / "old" / "request.json").write_text(json.dumps(request))
    assert cli.main(["run", "--resume", "old", "--run-root", str(tmp_path)]) == 2
    assert "secret" not in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["request.json"]


@pytest.mark.parametrize(
    "given",
    [["--recipe", "starter"], ["--data", "x"], ["--seed", "0"], ["--endpoint", ""],
     ["--bucket", "uae"]],
)  # fmt: skip
def test_resume_refuses_what_it_would_drop(capsys, tmp_path, given):
    command = ["run", "--resume", "today", "--run-root", str(tmp_path)]
    assert cli.main([*command, *given]) == 2
    assert f"without {given[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-5", "1.5", "one"])
def test_seed_is_zero_or_more(capsys, seed):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["run", "--seed", seed])
    assert f"{seed!r} is no seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("nowhere/drawn.png", "there is no folder"),
        ("drawn.mp3", "must end in .png or .jpg"),
        ("drawn", "must end in"),
        ("folder.png", "is a folder"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "reconstruct"])
def test_place_for_a_picture_is_checked_before_a_model_is_loaded(
    capsys, tmp_path, monkeypatch, command, out, reason
):
    monkeypatch.setattr(uae, "load", lambda _: pytest.fail("a model was loaded"))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit, match="2"):
        cli.main([command, "a red cat", "--out", str(tmp_path / out)])
    assert reason in capsys.readouterr().err


def test_place_for_the_package_is_checked(capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["compile", "--out", str(tmp_path / "nowhere" / "uae.yaml")])
    assert "there is no folder" in capsys.readouterr().err


def test_full_disk_ends_a_run_with_the_way_on(capsys, tmp_path, monkeypatch):
    from uae_pipelines import commands

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "pipeline.log")

    monkeypatch.setattr(commands, "_run_pipeline", fail)
    assert cli.main(["run", "--recipe", "smoke", "--run-root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    (run,) = (path.parent for path in tmp_path.glob("*/request.json"))
    assert "No space left on device: 'pipeline.log'" in error
    assert f"run --resume {run.name} --run-root {tmp_path}" in error
    assert not (run / "tmp").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_hands_on_what_it_was_given():
    def command(*variables):
        root = Path(__file__).parents[2]
        made = ["make", "--no-print-directory", "-n", "run", "VENV=venv", *variables]
        done = subprocess.run(made, capture_output=True, text=True, check=True, cwd=root)
        return shlex.split(done.stdout.splitlines()[-1])

    new = command("RECIPE=my recipe.yaml", "DATA=my, pictures", "BUCKET=other")
    assert new[:4] == ["venv/bin/uae", "run", "--recipe", "my recipe.yaml"]
    assert new[4:] == ["--data", "my, pictures", "--bucket", "other"]
    assert command()[1:] == ["run"]
    for variable in ("RECIPE", "DATA", "SEED", "ENDPOINT", "BUCKET"):  # `uae run` refuses both
        both = ["--resume", "today", f"--{variable.lower()}", "x"]
        assert command("RESUME=today", f"{variable}=x")[2:] == both


@pytest.mark.parametrize("command", [["caption"], ["reconstruct"]])
def test_missing_picture_is_named(capsys, tmp_path, command):
    assert cli.main([*command, str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err


def test_file_that_is_no_picture_is_named(capsys, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    assert cli.main(["caption", str(tmp_path / "text.png")]) == 2
    assert "text.png: not a PNG, JPEG or WebP image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("x"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (KeyboardInterrupt(), 130),
        (KeyboardInterrupt(15), 143),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    def fail(_):
        raise error

    monkeypatch.setattr(pipeline, "_recipes", fail)
    assert cli.main(["recipes"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_model_commands_caption_generate_and_reconstruct(tmp_path, capsys):
    from uae.models.tiny import tiny_bundle

    bundle = str(tiny_bundle(tmp_path / "bundle"))
    picture = tmp_path / "cat.png"
    Image.new("RGB", (40, 32), "red").save(picture)
    assert cli.main(["caption", "--model", bundle, str(picture)]) == 0
    assert capsys.readouterr().out.startswith(f"{picture}: ")
    drawn, again = tmp_path / "drawn.png", tmp_path / "again.png"
    assert cli.main(["generate", "--model", bundle, "a red cat", "--out", str(drawn)]) == 0
    arguments = ["reconstruct", "--model", bundle, str(picture), "--out", str(again)]
    assert cli.main(arguments) == 0
    assert Image.open(drawn).size == Image.open(again).size == (32, 32)
