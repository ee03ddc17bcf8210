"""The command line: what it prints, what it refuses, and how it exits."""

import subprocess
import sys

import pytest
from PIL import Image

from uae import cli
from uae.errors import DataError


def test_help_needs_nothing_heavy():
    script = (
        "import sys; from uae.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'kfp', 'numpy', 'pydantic', 'yaml', 'rich', 'minio', 'PIL'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("recipes", "validate", "compile", "run", "report", "caption", "generate"):
        assert command in done.stdout


def test_recipes_are_listed(capsys):
    assert cli.main(["recipes"]) == 0
    assert "starter: base starter" in capsys.readouterr().out


def test_wrong_recipe_name_says_which_exist(capsys):
    assert cli.main(["run", "--recipe", "nothing"]) == 2
    error = capsys.readouterr().err
    assert "nothing" in error
    assert "starter" in error


def test_wrong_recipe_value_names_key_and_value(capsys, tmp_path):
    from uae.recipe import dump_recipe, load_recipe

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


def test_unknown_run_names_those_that_exist(capsys, tmp_path):
    (tmp_path / "yesterday").mkdir()
    (tmp_path / "yesterday" / "request.json").write_text("{}")
    assert cli.main(["run", "--resume", "today", "--run-root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "today" in error
    assert "yesterday" in error
    assert not (tmp_path / "today").exists()


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
    [(DataError("x"), 2), (KeyboardInterrupt(), 130), (KeyboardInterrupt(15), 143)],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "_recipes", fail)
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
