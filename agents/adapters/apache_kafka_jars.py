"""The jars of Apache Kafka, fetched by Maven, and the Java that runs them.

They come with strict checksums into `.cache/kafka-VERSION` of the repository, once. Half a
download is never used: the folder appears complete, by a rename, or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "4.1.1"

CACHE = Path(__file__).resolve().parents[2] / ".cache" / f"kafka-{VERSION}"

CLASS_PATH = f"{CACHE}/libs/*"

_JAVA_MIN = 17
"""Kafka 4 does not run on an older one."""

_FETCH_WITHIN_S = 300.0
"""54 MB in 92 jars: seven seconds on a good line."""

_JAVA_WITHIN_S = 15.0
"""`java -version` answers in a tenth of a second."""

_TAIL_LINES = 12

_DONE = "complete"

_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.chorale</groupId>
  <artifactId>apache-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""


def java_program() -> str | None:
    """The Java of JAVA_HOME, else of the PATH."""
    home = os.environ.get("JAVA_HOME")
    return (home and shutil.which(f"{home}/bin/java")) or shutil.which("java")


def java_missing() -> str | None:
    """What to do so that Java can run Kafka, or None if it can."""
    how = f"Apache Kafka needs Java {_JAVA_MIN} or newer: apt-get install openjdk-17-jre-headless"
    program = java_program()
    if program is None:
        return how
    try:
        printed = run((program, "-version"), _JAVA_WITHIN_S)
    except (OSError, subprocess.SubprocessError):
        return how
    found = re.search(r'version "(\d+)', printed)
    if found is None or int(found[1]) < _JAVA_MIN:
        return f"{how} (found: {printed.splitlines()[0] if printed else 'nothing'})"
    return None


def jars_missing() -> str | None:
    """What to do so that the jars get here, or None; fetches them if they are not here."""
    if (CACHE / _DONE).exists():
        return None
    if shutil.which("mvn") is None:
        return "mvn is not on the PATH and fetches Kafka's jars: apt-get install maven"
    return _fetch()


def run(argv: tuple[str, ...], within_s: float) -> str:
    """All that a program prints, if it ends well in time; else OSError or SubprocessError."""
    return subprocess.run(  # noqa: S603 - the argv is ours, and there is no shell
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        text=True,
        timeout=within_s,
    ).stdout


def said(failure: Exception) -> str:
    """The last lines of what a failed program printed."""
    output = getattr(failure, "output", None) or ""
    text = output.decode("utf-8", "replace") if isinstance(output, bytes) else str(output)
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:]) or str(failure)


def _fetch() -> str | None:
    """Fetch the jars beside the cache and rename, so that half a download is never used."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
        folder = Path(scratch) / "kafka"
        folder.mkdir()
        (folder / "pom.xml").write_text(_POM.format(version=VERSION))
        goal = ("dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime")
        argv = ("mvn", "-B", "-q", "--strict-checksums", "-f", str(folder / "pom.xml"), *goal)
        try:
            run(argv, _FETCH_WITHIN_S)
        except (OSError, subprocess.SubprocessError) as failure:
            return f"Kafka's jars cannot be fetched with mvn: {said(failure)}"
        (folder / _DONE).touch()
        if not (CACHE / _DONE).exists():
            shutil.rmtree(CACHE, ignore_errors=True)
            folder.rename(CACHE)
    return None
