"""Every setting of the kernel in one frozen table; bootstrap reads the environment once.

Each default says why it is that number. Times carry their unit in the name.
"""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of an installation; environment variables are `CHORALE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="CHORALE_", frozen=True, extra="forbid")

    bootstrap: str = Field(
        default="", description="Kafka bootstrap servers; empty: embedded broker."
    )
    instance: str = Field(
        default="",
        description="Name of this process among those of its agent; a restart under the same "
        "name takes its partitions back at once. Unique per agent; empty: none.",
    )
    store_url: str = Field(default="", description="Redis or Valkey URL; empty: embedded store.")
    providers_url: str = Field(
        default="", description="Base URL of the providers; empty: simulator."
    )
    data_dir: str = Field(
        default=".chorale", description="Where embedded services keep their data."
    )
    key_prefix: str = Field(default="chorale:", description="Prefix of every key in the store.")

    http_host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    http_port: int = Field(default=8080, ge=0, le=65535, description="The gateway's port; 0: any.")
    jwt_secret_file: str = Field(
        default="", description="File with the HS256 secret of the tokens."
    )
    jwt_issuer: str = Field(default="chorale-dev", description="Issuer that tokens must name.")
    jwt_audience: str = Field(default="chorale", description="Audience that tokens must name.")
    rate_limit_a_minute: int = Field(
        default=1000, ge=1, description="Requests a minute per principal."
    )

    lease_ms: int = Field(
        default=15_000, ge=100, description="How long a step is held: two effects and a margin."
    )
    effect_timeout_ms: int = Field(
        default=5_000, ge=10, description="One provider call; most answer within one second."
    )
    step_deadline_ms: int = Field(
        default=15_000, ge=10, description="No retry of a forward step begins later than this."
    )
    saga_deadline_ms: int = Field(
        default=60_000, ge=10, description="A saga that has not ended by then is stopped."
    )
    retries: int = Field(
        default=3, ge=0, le=20, description="Retries of a step after its first call."
    )
    retry_base_ms: int = Field(
        default=1_000, ge=1, description="First back-off; doubles each time."
    )
    breaker_wait_ms: int = Field(
        default=30_000,
        ge=0,
        description="How long a step waits for an open breaker, not counting tries.",
    )

    records_in_flight_max: int = Field(
        default=1_000, ge=1, description="Records of one agent in work; more wait in Kafka."
    )
    fetch_records_max: int = Field(default=500, ge=1, description="Records of one fetch.")
    commit_interval_ms: int = Field(
        default=200, ge=1, description="Offsets are committed this often, off the hot path."
    )
    drain_ms: int = Field(
        default=10_000, ge=0, description="How long a stop waits for work in hand."
    )

    replay_window_ms: int = Field(
        default=7 * 86_400_000,
        ge=0,
        description="How old a dead letter may be and still be replayed.",
    )
    tracker_scan_ms: int = Field(
        default=500, ge=10, description="How often deadlines are looked at."
    )
