"""The sections of the settings: every field with its default, its bounds and what it does.

`deploy/headrace.example.toml` and the table in the README are made of these descriptions.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.fields import Millis, Port, Secret, Section, TopicName


class KafkaSettings(Section):
    """Where the topics are and how to reach them."""

    bootstrap_servers: str = Field(
        default="127.0.0.1:19092",
        pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$",
        description="Brokers to ask first: host:port, several separated by commas.",
    )
    events_topic: TopicName = Field(default="events", description="Topic of user events.")
    control_topic: TopicName = Field(
        default="control", description="Topic of orders: forget, rerank."
    )
    recommendations_topic: TopicName = Field(
        default="recommendations", description="Topic of finished lists; compacted."
    )
    dead_letters_topic: TopicName = Field(
        default="events.dlq", description="Topic of records that could not be decoded."
    )
    audit_topic: str = Field(
        default="",
        pattern=r"^([a-zA-Z0-9_-][a-zA-Z0-9._-]{0,248})?$",
        description="Topic with one outcome per input offset, for tests; empty turns it off.",
    )
    partitions: int = Field(
        default=4,
        ge=1,
        le=10_000,
        description="Partitions of each topic. Fixed for the topics' life.",
    )
    replication_factor: int = Field(default=1, ge=1, le=32, description="Copies of each topic.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How clients talk to the brokers."
    )
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="", description="How clients prove who they are, for the SASL protocols."
    )
    sasl_username: str = Field(
        default="",
        pattern=r"^[^\x00-\x1f\x7f{}]*$",
        description="User name, for the SASL protocols.",
    )
    sasl_password: Secret = Field(
        default=None,
        description="Password, for the SASL protocols: ${env:NAME} or ${file:PATH} only; "
        "the job takes a file alone.",
    )
    ssl_ca_location: str = Field(
        default="", description="PEM file of the authority that signed the brokers' certificates."
    )
    ssl_keystore_location: str = Field(
        default="",
        description="PEM file of our own private key (PKCS #8, not encrypted) and certificate, "
        "for brokers that ask for one.",
    )


class LocalSettings(Section):
    """The broker that `headrace up` starts on this machine."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address that it listens on.")
    port: Port = Field(default=19092, description="Port for clients.")
    controller_port: Port = Field(default=19093, description="Port for its own controller.")
    heap_mb: int = Field(default=512, ge=128, description="Java heap.")


class ClusterSettings(Section):
    """The Flink cluster that `headrace cluster up` starts on this machine."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address that it listens on.")
    rest_port: Port = Field(default=19081, description="Port of Flink's page and REST interface.")
    rpc_port: Port = Field(default=19123, description="Port at which TaskManagers register.")
    slots: int = Field(
        default=1,
        ge=1,
        le=1_000,
        description="Tasks per TaskManager and operator; Flink starts one Python process for each.",
    )
    taskmanager_memory_mb: int = Field(
        default=1_280,
        ge=900,
        description="Memory of a TaskManager's JVM: a quarter of it heap, for state too.",
    )
    managed_memory_mb: int = Field(
        default=64, ge=32, description="Part of it that Python and RocksDB account for."
    )
    gpu: bool = Field(
        default=False,
        description="Each TaskManager takes a GPU of its own, by Flink's GPU plugin.",
    )
    high_availability: bool = Field(
        default=False,
        description="A second JobManager, and ZooKeeper, so that jobs outlive the first one.",
    )
    standby_rest_port: Port = Field(
        default=19082, description="rest_port of the second JobManager (high availability)."
    )
    zookeeper_port: Port = Field(default=19181, description="ZooKeeper's port (high availability).")


class RegistrySettings(Section):
    """The schema registry, where there is one."""

    url: str = Field(
        default="",
        pattern=r"^(https?://[^\s@?#]*[^\s@?#/])?$",
        description="Its Confluent interface, such as http://registry:8080/apis/ccompat/v7; empty: "
        "none, and records in Confluent's framing are dead letters.",
    )
    username: str = Field(
        default="",
        pattern=r"^[^:\x00-\x1f\x7f]*$",
        description="User name, for basic authentication.",
    )
    password: Secret = Field(
        default=None,
        description="Password, for basic authentication: ${env:NAME} or ${file:PATH} only.",
    )
    framing: Literal["single-object", "confluent"] = Field(
        default="single-object",
        description="How we frame what we write. Both are read.",
    )
    answer_ms: int = Field(
        default=5_000,
        ge=1,
        le=60_000,
        description="How long an answer may take. The job asks three times, then its task fails.",
    )


class DecodeSettings(Section):
    """What a record must be like to be decoded rather than dead-lettered."""

    max_value_bytes: int = Field(
        default=65_536, ge=256, le=1_000_000, description="Longest value that is decoded."
    )
    min_event_time_ms: Millis = Field(
        default=946_684_800_000,
        ge=0,
        description="Oldest event time accepted (default 2000-01-01 UTC).",
    )
    max_ahead_ms: Millis = Field(
        default=300_000,
        ge=0,
        description="How far an event may lie ahead of its Kafka record's timestamp.",
    )
    dead_letter_limit_bytes: int = Field(
        default=262_144,
        ge=1_024,
        le=500_000,
        description="A longer key or value is dead-lettered as its beginning and its SHA-256.",
    )


class ProfileSettings(Section):
    """How the profile of a user takes in events."""

    allowed_lateness_ms: Millis = Field(
        default=3_600_000,
        ge=0,
        description="How far an event may lie behind the user's newest one.",
    )
    expire_after_ms: Millis = Field(
        default=15_552_000_000,
        ge=1,
        description="A gap between two events after which the profile starts anew (180 days).",
    )


class JobSettings(Section):
    """The Flink job."""

    name: str = Field(default="headrace", min_length=1, description="Name shown by Flink.")
    parallelism: int = Field(default=1, ge=1, le=10_000, description="Parallel tasks per operator.")
    max_parallelism: int = Field(
        default=128,
        ge=1,
        le=32_768,
        description="Most parallel tasks that the state can be spread over. Fixed for its life.",
    )
    state_backend: Literal["hashmap", "rocksdb"] = Field(
        default="hashmap",
        description="Where profiles are kept: in the Java heap, or in RocksDB on disk.",
    )
    heap_mb: int = Field(
        default=1_024,
        ge=256,
        description="Java heap of `headrace run`, which holds the profiles unless RocksDB does.",
    )
    state_dir: str = Field(
        default="",
        pattern=r"^([a-z][a-z0-9+.-]*:/.*)?$",
        description="URI of the folder of checkpoints and savepoints, which all machines of a "
        "cluster must reach; empty: run_dir.",
    )
    python: str = Field(
        default="", description="Python interpreter of the TaskManagers; empty: this one's path."
    )
    emit: Literal["latest", "every"] = Field(
        default="latest",
        description="latest: of what Python is handed at once, only a user's newest list is "
        "ranked. every: all.",
    )
    delivery: Literal["at-least-once", "exactly-once"] = Field(
        default="at-least-once",
        description="exactly-once shows lists only after each checkpoint.",
    )
    checkpoint_interval_ms: Millis = Field(
        default=10_000, ge=100, description="Time between checkpoints."
    )
    transaction_timeout_ms: int = Field(
        default=900_000,
        ge=1_000,
        le=2**31 - 1,
        description="When Kafka aborts an open transaction (exactly-once). "
        "At most the brokers' transaction.max.timeout.ms.",
    )
    bundle_size: int = Field(
        default=8_000,
        ge=1,
        description="Profiles of a bundle, at most; "
        "Python is handed at most 1,000 of them at once.",
    )
    bundle_time_ms: Millis = Field(
        default=5,
        ge=1,
        description="How long a bundle waits for more profiles; Flink may take twice that. "
        "A bounded run waits for at least 40.",
    )
    buffer_timeout_ms: Millis = Field(
        default=1,
        ge=0,
        description="How long a network buffer waits to be filled; 0 sends each record. "
        "A bounded run waits for at least 40.",
    )
    python_metrics: bool = Field(
        default=True, description="Metrics from the ranking operator; costs some milliseconds."
    )
    quarantine_after: int = Field(
        default=3,
        ge=2,
        le=15,
        description="A record at which the job failed so many times in a row is dead-lettered.",
    )
    quarantine_dir: str = Field(
        default="",
        pattern=r"^(/.*)?$",
        description="Folder where such failures are counted, which all TaskManagers share and may "
        "write to; empty: beside the checkpoints, or in run_dir if those are not in files.",
    )
    epoch: int = Field(
        default=0,
        ge=0,
        le=2**63 - 1,
        description="Order of submissions, stamped on every list; 0: time of submission.",
    )
