"""What a process knows of its dependencies, for readiness and for people."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Health:
    """A sentence for everything that is down; empty means ready."""

    troubles: dict[str, str] = field(default_factory=dict)

    def down(self, what: str, why: str) -> None:
        """Something does not answer."""
        self.troubles[what] = why

    def up(self, what: str) -> None:
        """It answers again."""
        self.troubles.pop(what, None)

    @property
    def ready(self) -> bool:
        """Whether everything answers."""
        return not self.troubles
