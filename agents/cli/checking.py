"""`chorale check` and `chorale docs`: the choreography and what is generated from it.

Neither needs a broker; both read nothing but this installation's code and topics.yaml.
"""

from __future__ import annotations

from agents.bootstrap import choreography
from agents.choreography import generated, rules
from agents.cli.output import DONE, FAILED, Json, Speaker, command
from agents.kernel.topics import TOPICS_FILE, load_topics

ROOT = TOPICS_FILE.parent


@command
async def check(*, as_json: Json = False) -> int:
    """Check topics, choreography and generated files; say in sentences what is wrong."""
    graph = choreography(load_topics())
    findings = [str(finding) for finding in rules.check(graph)]
    if (ROOT / "docs").is_dir():  # an installation without its sources has no documents
        findings += [
            f"{path} is not what the code says; write it anew by `{generated.COMMAND}`"
            for path in generated.stale(ROOT, graph)
        ]
    speaker = Speaker(as_json=as_json)
    for finding in findings:
        speaker.say(finding)
    if not findings:
        speaker.say(
            f"the choreography is sound: {len(graph.agents)} agents, {len(graph.handlers)} "
            f"reactions, {len(graph.events)} events, {len(graph.topics.all)} topics"
        )
    speaker.result({"sound": not findings, "findings": findings})
    return FAILED if findings else DONE


@command
async def docs(*, as_json: Json = False) -> int:
    """Write the documents that are computed from the code."""
    written = generated.write_generated(ROOT, choreography(load_topics()))
    speaker = Speaker(as_json=as_json)
    for path in written:
        speaker.say(f"wrote {path}")
    if not written:
        speaker.say("every generated document is up to date")
    speaker.result({"written": [str(path) for path in written]})
    return DONE
