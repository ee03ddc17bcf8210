"""docs/schedules.md: its commands that ask the API, as they stand there but for addresses and ids.

Those that ask a store are run where a store is.
"""

import re
import shlex
from pathlib import Path

from uae import cli
from uae_pipelines.schedule_file import ScheduleFile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("    .venv/bin/uae ")
]
OF_THE_API = [words for words in COMMANDS if "--host" in words]


def test_there_is_something_to_check():
    assert len(OF_THE_API) >= 7
    assert all("--endpoint" in words for words in COMMANDS if words not in OF_THE_API)


def test_commands_of_the_api_work_one_after_another(server, monkeypatch, tmp_path, compiled_once):
    monkeypatch.chdir(ROOT)
    (tmp_path / "token").write_text("token")
    server.script = [{"state": "SUCCEEDED"}, {"state": "SUCCEEDED"}]
    there = {"token": str(tmp_path / "token"), "RUN_ID": "run-1"}
    for words in OF_THE_API:
        given = [there.get(word, word) for word in words]
        given[given.index("--host") + 1] = server.host
        assert cli.main(given) == 0, words
    assert server.recurring_runs == {}


def test_table_has_every_key():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", PAGE, re.MULTILINE)
    named = {name.strip("`") for names, _ in rows for name in names.split(", ")}
    keys = set(ScheduleFile.model_fields) - {"folder"}
    assert named == keys
    required = {names.strip("`") for names, default in rows if default == "required"}
    assert required == {
        name for name, field in ScheduleFile.model_fields.items() if field.is_required()
    } - {"folder"}
