"""How commands end: exit codes, and one sentence or one JSON document."""

from __future__ import annotations

import json

import pytest
import typer

from agents.cli.output import (
    DONE,
    FAILED,
    PARTLY,
    USAGE,
    NotRunning,
    Speaker,
    WrongUsage,
    command,
    plain,
)
from agents.kernel.errors import StoreUnavailable
from agents.kernel.settings import Settings


def code_of(act: object) -> int:
    with pytest.raises(typer.Exit) as exit_:
        act()  # type: ignore[operator]
    return int(exit_.value.exit_code)


def failing(error: BaseException, *, as_json: bool = False) -> int:
    @command
    async def act(*, as_json: bool = False) -> int:
        raise error

    return code_of(lambda: act(as_json=as_json))


@pytest.mark.parametrize("code", [DONE, FAILED, PARTLY])
def test_exit_code_is_the_result_when_nothing_fails(code: int) -> None:
    """A command's result is its exit code."""

    @command
    async def act() -> int:
        return code

    assert code_of(act) == code


def test_wrong_usage_ends_with_two_when_a_name_is_unknown() -> None:
    """A command that was called wrongly ends with 2, all other failures with 1."""
    assert failing(WrongUsage("no such thing")) == USAGE
    assert failing(NotRunning("nobody there")) == FAILED


def test_failure_is_one_document_when_json_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With --json a failure is one JSON document on standard output."""
    failing(NotRunning("nobody there"), as_json=True)

    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": {"type": "NotRunning", "message": "nobody there"}}
    assert told.err == "chorale: nobody there\n"


def test_sentence_names_the_command_when_the_store_is_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever finds the store away is told how to start it."""
    failing(StoreUnavailable("the store at 127.0.0.1:1 failed"))

    assert "`chorale up`" in capsys.readouterr().err


def test_wrong_setting_is_named_when_the_environment_is_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that cannot be read ends with 2 and is named as in the environment."""
    monkeypatch.setenv("CHORALE_HTTP_PORT", "many")

    @command
    async def act() -> int:
        nothing: dict[str, str] = {}
        Settings(**nothing)  # type: ignore[arg-type]
        return DONE

    assert code_of(act) == USAGE
    assert "CHORALE_HTTP_PORT" in capsys.readouterr().err


def test_failure_in_a_task_is_told_as_itself_when_tasks_are_grouped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sentence is the inner error's, not that of the group around it."""
    assert failing(ExceptionGroup("tasks", [ExceptionGroup("more", [NotRunning("alone")])])) == 1
    assert capsys.readouterr().err == "chorale: alone\n"


def test_bug_in_a_task_is_not_hidden_when_tasks_are_grouped() -> None:
    """What is no failure of ours keeps its trace back."""
    with pytest.raises(ExceptionGroup):
        failing(ExceptionGroup("tasks", [KeyError("bug")]))


def test_speaker_prints_lines_or_a_document_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lines are for people, the document for programs, and never both."""
    for as_json in (False, True):
        speaker = Speaker(as_json=as_json)
        speaker.say("hello")
        speaker.redraw("only on a terminal")
        speaker.result({"hello": 1})

    assert capsys.readouterr().out == 'hello\n{"hello": 1}\n'


def test_control_characters_of_a_record_are_shown_and_not_obeyed() -> None:
    """What a stranger wrote into a topic must not paint on an operator's terminal."""
    assert plain("a\x1b[2Jb\x07\u202ec\nd é") == "a\\x1b[2Jb\\x07\\u202ec\nd é"
