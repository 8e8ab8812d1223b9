"""Alerts arrive at a real web server and a real mail server, once, and carry no secret."""

from typing import Any

import dagster as dg
import pytest

from sync_assets.automation.alerts import AlertNotSent, send
from sync_assets.config.automation import Alerts
from sync_assets_tests.fixtures.inbox import Inbox
from sync_assets_tests.fixtures.pair import Pair
from sync_assets_tests.fixtures.ticks import Ticks

ALERTS: dict[str, Any] = {
    "webhook": True,
    "email": {"to": ["ops@example.org", "b@example.org"], "sender": "sync@example.org"},
    "ui_url": "https://dagster.example.org/",
}


@pytest.fixture
def ticks(
    pair: Pair, instance: dg.DagsterInstance, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> Ticks:
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", inbox.webhook)
    monkeypatch.setenv("SYNC_ALERT_SMTP", inbox.smtp)
    pair.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    tables = [{"source": "t"}, {"source": "missing"}]
    return Ticks(instance, pair.source_url, pair.target_url, {"tables": tables, "alerts": ALERTS})


def test_a_sync_that_failed_is_told_with_what_where_and_how_to_mend_it(
    ticks: Ticks, inbox: Inbox
) -> None:
    result = ticks.run()
    ticks.tell_of(result.dagster_run)
    (post,) = inbox.posts
    assert list(post) == ["text"]
    assert "public.missing: NoSuchRelation: the source has no table public.missing." in post["text"]
    assert "public.t" not in post["text"]
    assert f"https://dagster.example.org/runs/{result.run_id}" in post["text"]
    (mail,) = inbox.mails
    assert inbox.recipients == ["ops@example.org", "b@example.org"]
    assert (mail["From"], mail["To"]) == ("sync@example.org", "ops@example.org, b@example.org")
    assert "a sync failed" in mail["Subject"]
    assert "NoSuchRelation" in mail.get_content()


def test_a_check_that_cannot_run_is_told_by_its_table(
    ticks: Ticks, pair: Pair, inbox: Inbox
) -> None:
    tables = [{"source": "t", "checks": {"row_count": True}}]
    ticks.attributes = {**ticks.attributes, "tables": tables}
    assert ticks.run().success
    pair.target("DROP TABLE t")
    checks = dg.AssetSelection.all_asset_checks()
    job = dg.define_asset_job("checks", selection=checks)
    both = dg.Definitions.merge(ticks.definitions, dg.Definitions(jobs=[job]))
    result = both.resolve_job_def("checks").execute_in_process(
        instance=ticks.instance, raise_on_error=False
    )
    ticks.tell_of(result.dagster_run)
    (post,) = inbox.posts
    assert "a check failed" in post["text"]
    assert (
        "public.t: its check row_count: ConfigurationError: the target public.t was never"
        in post["text"]
    )


def test_a_failure_that_nobody_could_be_told_of_is_told_once_they_can(
    ticks: Ticks, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_assets.automation.alerts.PAUSES", (0.0,))
    ticks.attributes = {**ticks.attributes, "alerts": {"webhook": True}}
    result = ticks.run()
    inbox.status = 503
    with pytest.raises(AlertNotSent):
        ticks.tell_of(result.dagster_run)
    with pytest.raises(AlertNotSent):
        ticks.evaluate("_hindrances")
    inbox.status = 200
    ticks.evaluate("_hindrances")
    ticks.evaluate("_hindrances")
    told = [post["text"] for post in inbox.posts if "a sync failed" in post["text"]]
    assert len(told) == 1
    assert "public.missing: NoSuchRelation: the source has no table" in told[0]
    assert result.run_id in told[0]


def test_another_component_s_failure_is_not_ours(ticks: Ticks, inbox: Inbox) -> None:
    @dg.op
    def fails() -> None:
        raise ValueError

    @dg.job
    def foreign() -> None:
        fails()

    run = foreign.execute_in_process(instance=ticks.instance, raise_on_error=False).dagster_run
    ticks.tell_of(run)
    assert inbox.posts == []


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("SYNC_ALERT_WEBHOOK", "", "SYNC_ALERT_WEBHOOK is not set"),
        ("SYNC_ALERT_WEBHOOK", "file:///etc/s3cret", "is no http or https URL"),
        ("SYNC_ALERT_WEBHOOK", "http://127.0.0.1:1/s3cret", "URLError"),
        ("SYNC_ALERT_SMTP", "mail.example.org", "is no smtp://host:port"),
    ],
)
def test_what_cannot_be_used_is_named_without_being_shown(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, name: str, url: str, said: str
) -> None:
    monkeypatch.setattr("sync_assets.automation.alerts.PAUSES", (0.0,))
    environment = {"SYNC_ALERT_WEBHOOK": inbox.webhook, "SYNC_ALERT_SMTP": inbox.smtp, name: url}
    with pytest.raises(AlertNotSent, match=said) as caught:
        send(Alerts.model_validate(ALERTS), environment, "subject", "text")
    assert "s3cret" not in str(caught.value)


def test_a_password_is_not_sent_in_clear(inbox: Inbox) -> None:
    environment = {"SYNC_ALERT_SMTP": inbox.smtp.replace("//", "//user:s3cret@")}
    alerts = Alerts.model_validate({"email": ALERTS["email"]})
    with pytest.raises(AlertNotSent, match="offers no TLS, so it gets no password"):
        send(alerts, environment, "subject", "text")
    assert inbox.mails == []


def test_without_alerts_there_is_nothing_that_sends(ticks: Ticks) -> None:
    ticks.attributes = {"tables": ticks.attributes["tables"]}
    assert [s.name.rpartition("_")[2] for s in ticks.definitions.sensors or ()] == [
        "changes",
        "hindrances",
    ]
