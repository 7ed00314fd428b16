"""The command line as a whole: which commands there are, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agents.cli.app import COMMANDS, application
from agents.cli.sagas import seconds_of
from agents.cli.up import refuse_development_key
from agents.kernel.errors import ConfigurationError
from agents.kernel.settings import Settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs, and nothing is set."""
    for name in ("BOOTSTRAP", "STORE_URL", "PROVIDERS_URL", "JWT_SECRET_FILE", "HTTP_PORT"):
        monkeypatch.delenv(f"CHORALE_{name}", raising=False)
    monkeypatch.setenv("CHORALE_DATA_DIR", str(tmp_path))


def chorale(*words: str) -> Result:
    return CliRunner().invoke(application(words), list(words))


def test_help_lists_every_command_when_no_word_is_given() -> None:
    """All commands are found without reading a manual."""
    told = chorale("--help")

    assert told.exit_code == 0
    listed = told.stdout.partition("Commands:")[2]
    for name in "demo up run order publish token status sagas dlq audit check docs doctor".split():
        assert f"  {name} " in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_command_explains_itself_when_asked(name: str) -> None:
    """Every command has a help text that begins with a sentence."""
    told = chorale(name, "--help")

    assert told.exit_code == 0
    assert told.stdout.splitlines()[2].strip()[:1].isupper()


@pytest.mark.parametrize(
    "words",
    [
        ("status", "o-1"),
        ("sagas",),
        ("dlq", "list"),
        ("audit",),
        ("publish", __file__),
        ("token",),
        ("order",),
        ("run", "payment"),
    ],
    ids=" ".join,
)
def test_command_says_how_to_start_when_nothing_runs(words: tuple[str, ...]) -> None:
    """Every command that needs the running system names `chorale up`, and ends with 1."""
    told = chorale(*words)

    assert told.exit_code == 1
    assert "`chorale up`" in told.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run", "paymint"),
        ("order", "--scenario", "happyish"),
        ("sagas", "--state", "LOST"),
        ("sagas", "--older-than", "soon"),
        ("publish", "no-such-file"),
        ("dlq", "replay", "x"),
        ("dlq", "replay", "--why", "because"),
        ("dlq", "discard", "x", "--why", "  "),
        ("frobnicate",),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two_when_a_word_is_wrong(words: tuple[str, ...]) -> None:
    """Wrong usage is told apart from failure."""
    assert chorale(*words).exit_code == 2


def test_unknown_agent_is_answered_with_the_list_when_it_is_run() -> None:
    """The list of agents is in the refusal."""
    assert "gateway, payment, inventory, shipping" in chorale("run", "paymint").stderr


def test_check_ends_as_it_finds_when_it_has_looked() -> None:
    """The exit code of `check` is its verdict (whether documents are fresh is tested elsewhere)."""
    told = chorale("check", "--json")

    document = json.loads(told.stdout)
    assert document["sound"] == (not document["findings"]) == (told.exit_code == 0)
    assert all("`chorale docs`" in finding for finding in document["findings"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400)]
)
def test_duration_is_read_when_it_is_written_short(text: str, seconds: int) -> None:
    """Durations are a number and a unit."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "told", [{"bootstrap": "kafka.example:9092"}, {"http_host": "0.0.0.0"}], ids=str
)
def test_development_key_is_refused_when_others_can_reach_it(told: dict[str, str]) -> None:
    """A key that anybody on this machine can read protects nothing that others can reach."""
    settings = Settings.model_construct(**told)  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match="CHORALE_JWT_SECRET_FILE"):
        refuse_development_key(settings)
    refuse_development_key(settings.model_copy(update={"jwt_secret_file": "key"}))
