from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import (
    Settings,
    as_environment,
    check_settings,
    iter_fields,
    known_settings,
    load_settings,
)
from pipeline.config_docs import example_toml, settings_markdown
from pipeline.layers import read_layers
from pipeline.sections import JobSettings, KafkaSettings
from schemas.errors import SettingsError

ROOT = Path(__file__).parents[2]
SASL = {
    "kafka.security_protocol": "SASL_SSL",
    "kafka.sasl_mechanism": "PLAIN",
    "kafka.sasl_username": "ranker",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    file = Path("settings.toml")
    file.write_text(text)
    return file


def problems(**given: object) -> dict[str, str]:
    """Problem by setting, as one text."""
    given.setdefault("environ", {})
    settings, found = check_settings(**given)  # type: ignore[arg-type]
    assert settings is None
    return {p.setting: f"{p.expected} / {p.received} / {p.fix}" for p in found}


def test_defaults_need_nothing() -> None:
    settings = load_settings(environ={})
    assert settings.kafka.bootstrap_servers == "127.0.0.1:19092"
    assert settings.run_dir == Path(".headrace")


def test_flags_win_over_environment_and_environment_over_file() -> None:
    file = written("[kafka]\npartitions = 1\nreplication_factor = 1\nevents_topic = 'one'\n")
    environ = {"HEADRACE_KAFKA__PARTITIONS": "2", "HEADRACE_KAFKA__REPLICATION_FACTOR": "2"}
    settings = load_settings(file, {"kafka.partitions": 3}, environ)
    kafka = settings.kafka
    assert (kafka.partitions, kafka.replication_factor, kafka.events_topic) == (3, 2, "one")


def test_a_flag_of_none_is_not_given() -> None:
    assert load_settings(flags={"kafka.partitions": None}, environ={}).kafka.partitions == 4


def test_headrace_toml_of_the_working_folder_is_found() -> None:
    Path("headrace.toml").write_text("run_dir = 'here'")
    assert load_settings(environ={}).run_dir == Path("here")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("job.python_metrics", "false", False),
        ("job.epoch", "12", 12),
        ("gate.min_overlap", "1", 1.0),
        ("gate.max_ndcg_drop", "0.25", 0.25),
        ("train.learning_rate", "1e-05", 1e-5),
        ("engine.store", "a/b", Path("a/b")),
        ("job.name", "7", "7"),
    ],
)
def test_text_of_the_environment_and_of_flags_is_read_by_the_type(
    name: str, text: str, value: object
) -> None:
    variable = "HEADRACE_" + name.replace(".", "__").upper()
    section, field = name.split(".")
    for given in ({"environ": {variable: text}}, {"flags": {name: text}, "environ": {}}):
        settings = load_settings(**given)  # type: ignore[arg-type]
        assert getattr(getattr(settings, section), field) == value


def test_a_file_is_read_strictly() -> None:
    found = problems(file=written("[kafka]\npartitions = '4'"))
    assert found == {
        "kafka.partitions": "a valid integer / '4' / change kafka.partitions in settings.toml"
    }


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({"flags": {"kafka.partition": 1}}, "did you mean kafka.partitions?"),
        ({"flags": {"partitions": 1}}, "did you mean kafka.partitions?"),
        ({"flags": {"zzz": 1}}, "`headrace settings` lists them all"),
        (
            {"environ": {"HEADRACE_KAFKA_BOOTSTRAP_SERVERS": "a:1"}},
            "did you mean HEADRACE_KAFKA__BOOTSTRAP_SERVERS?",
        ),
        ({"environ": {"HEADRACE_JOB__EMITT": "every"}}, "did you mean HEADRACE_JOB__EMIT?"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(given: dict[str, object], fix: str) -> None:
    (found,) = problems(**given).values()
    assert found.endswith(fix)


def test_variables_that_kubernetes_sets_for_a_service_are_left_alone() -> None:
    load_settings(environ={"HEADRACE_SERVICE_HOST": "10.0.0.1", "HEADRACE_PORT": "tcp://10.0.0.1"})


def test_all_problems_are_told_at_once_each_with_its_fix() -> None:
    file = written(
        """
        run_dirr = "x"
        [kafka]
        partitions = 0
        [local]
        port = 70000
        [job]
        delivery = "exactly-once"
        transaction_timeout_ms = 5000
        """
    )
    found = problems(file=file)
    assert list(found) == [
        "run_dirr",
        "kafka.partitions",
        "local.port",
        "job.transaction_timeout_ms",
    ]
    assert all(text.split(" / ")[2] for text in found.values())
    with pytest.raises(SettingsError, match="run_dirr is wrong \\(3 more") as error:
        load_settings(file, environ={})
    assert (error.value.expected, error.value.fix) == (
        "the name of a setting",
        "did you mean run_dir?",
    )


def test_broken_and_missing_files_are_settings_errors() -> None:
    assert "line 1" in problems(file=written("a = = 1"))["settings.toml"]
    assert "--config" in problems(file=Path("none.toml"))["none.toml"]


def test_exactly_once_needs_transactions_that_outlive_a_restart() -> None:
    given = {"job.delivery": "exactly-once", "job.checkpoint_interval_ms": 600_000}
    assert "at least 900000" not in str(load_settings(flags=given, environ={}))
    given["job.transaction_timeout_ms"] = 899_999
    assert "at least 900000" in problems(flags=given)["job.transaction_timeout_ms"]
    load_settings(flags=given | {"job.delivery": "at-least-once"}, environ={})


def test_a_profile_lives_as_long_as_late_events_may_come() -> None:
    given = {"profile.allowed_lateness_ms": 5_000, "profile.expire_after_ms": 5_000}
    load_settings(flags=given, environ={})
    found = problems(flags=given | {"profile.expire_after_ms": 4_999})
    assert list(found) == ["profile.expire_after_ms"]
    expected, received, fix = found["profile.expire_after_ms"].split(" / ")
    assert "at least 5000" in expected
    assert received == "4999"
    assert "profile.expire_after_ms = 5000" in fix


def test_a_gate_that_tests_too_few_users_for_a_pass_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"gate\.users is wrong[\s\S]*at least 100, gate\.min_users"
    ):
        load_settings(flags={"gate.users": 99}, environ={})
    few = {"gate.users": 99, "gate.min_users": 99}
    assert load_settings(flags=few, environ={}).gate.users == 99


def test_no_sum_of_times_overflows_a_long() -> None:
    names = [name for name in known_settings() if name.endswith("_ms")]
    assert len(names) == 11
    for name in names:
        assert list(problems(flags={name: 10**15 + 1})) == [name]


def test_two_slots_do_not_share_a_gpu() -> None:
    found = problems(flags={"cluster.gpu": True, "cluster.slots": 2})
    assert list(found) == ["cluster.slots"]
    expected, received, fix = found["cluster.slots"].split(" / ")
    assert expected.startswith("1 with cluster.gpu")
    assert (received, "cluster.slots = 1" in fix) == ("2", True)
    load_settings(flags={"cluster.gpu": True}, environ={})
    load_settings(flags={"cluster.slots": 2}, environ={})


def test_topics_and_ports_must_differ() -> None:
    found = problems(flags={"kafka.control_topic": "events", "local.controller_port": 19092})
    assert set(found) == {"kafka.events_topic", "local.controller_port"}


def test_sasl_settings_come_together_or_not_at_all() -> None:
    assert set(problems(flags={"kafka.security_protocol": "SASL_SSL"})) == {
        "kafka.sasl_mechanism",
        "kafka.sasl_username",
        "kafka.sasl_password",
    }
    assert set(problems(flags={"kafka.sasl_username": "ranker"})) == {"kafka.sasl_username"}


def test_settings_built_by_hand_are_checked_too() -> None:
    with pytest.raises(ValidationError, match="transaction_timeout_ms"):
        Settings(job=JobSettings(delivery="exactly-once", transaction_timeout_ms=1_000))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(environ={}).kafka.partitions = 5


class TestSecrets:
    def load(self, reference: str, **environ: str) -> Settings:
        return load_settings(flags=SASL | {"kafka.sasl_password": reference}, environ=environ)

    def test_from_an_environment_variable_or_a_file(self) -> None:
        Path("password").write_text("hunter2\n")
        for settings in (
            self.load("${env:PASSWORD}", PASSWORD="hunter2"),
            self.load("${file:password}"),
        ):
            assert settings.kafka.sasl_password
            assert settings.kafka.sasl_password.get_secret_value() == "hunter2"

    def test_are_never_shown(self) -> None:
        settings = self.load("${env:PASSWORD}", PASSWORD="hunter2")
        shown = repr(settings), str(settings.as_dict()), settings.model_dump_json()
        assert not any("hunter2" in text for text in (*shown, str(as_environment(settings))))
        assert settings.as_dict()["kafka"]["sasl_password"] == "**********"

    def test_a_literal_is_refused_without_repeating_it(self) -> None:
        found = problems(flags=SASL | {"kafka.sasl_password": "hunter2"})
        assert list(found) == ["kafka.sasl_password"]
        assert "a secret itself is refused" in str(found)
        assert "hunter2" not in str(found)
        with pytest.raises(ValidationError) as error:
            KafkaSettings.model_validate({"sasl_password": "hunter2"})
        assert "hunter2" not in str(error.value)

    @pytest.mark.parametrize("reference", ["${env:PASSWORD}", "${file:missing}"])
    def test_that_are_not_there_name_the_place(self, reference: str) -> None:
        found = problems(flags=SASL | {"kafka.sasl_password": reference})
        assert reference[:-1].partition(":")[2] in found["kafka.sasl_password"]


def test_as_environment_gives_another_process_the_same_settings() -> None:
    flags = {"kafka.partitions": 9, "job.python_metrics": False, "run_dir": Path("there")}
    settings = load_settings(flags=flags, environ={})
    assert load_settings(environ=as_environment(settings)) == settings


class TestDocumentation:
    def test_every_setting_has_a_description(self) -> None:
        undescribed = [name for _, name, field in iter_fields() if not field.description]
        assert undescribed == []

    def test_the_example_file_is_up_to_date(self) -> None:
        kept = (ROOT / "deploy" / "headrace.example.toml").read_text()
        assert kept == example_toml(), (
            "python -m pipeline.config_docs > deploy/headrace.example.toml"
        )

    def test_the_example_file_documents_every_setting_and_changes_none(self) -> None:
        file = written(example_toml())
        given, _ = read_layers(file, {}, {}, known_settings())
        assert set(given) == set(known_settings())
        assert load_settings(file, environ={}) == load_settings(environ={})

    def test_the_readme_has_the_table(self) -> None:
        readme = (ROOT / "README.md").read_text()
        section = readme.split("<!-- settings -->")[1]
        assert section.strip() == settings_markdown().strip()
