"""Automations as code: what Prefect's server does by itself when it sees an event.

Each is known by its name and brought to what is declared here, under the id that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.monitor import DRIFT

HEARTBEAT = "prefect.flow-run.heartbeat"
ENDED = {f"prefect.flow-run.{how}" for how in ("Completed", "Cancelled", "Failed", "Crashed")}
# The id of the run that an event is about, filled in when it happens.
RUN = {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"}
# A heartbeat comes every 30 s from runs of the worker, every 3 minutes from others.
SILENT = timedelta(minutes=10)


def dataset_resource(dataset: str) -> str:
    """The resource that events about a data set carry."""
    return f"encore.dataset.{dataset}"


def declared(deployments: Mapping[str, UUID]) -> Iterator[AutomationCore]:
    """All automations, given the ids of the deployments by name."""
    retraining = {name: made for name, made in deployments.items() if name.startswith("retrain-")}
    theirs = retraining.values()
    for name, made in retraining.items():
        dataset = name.removeprefix("retrain-")
        yield AutomationCore(
            name=f"{name} on drift",
            description=f"Retrains when the plays of {dataset} have drifted so far that it pays.",
            tags=["encore"],
            trigger=EventTrigger(
                expect={DRIFT},
                match=ResourceSpecification({"prefect.resource.id": dataset_resource(dataset)}),
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[RunDeployment(deployment_id=made)],
        )
    yield AutomationCore(
        name="failed retraining",
        description="Tells of a retraining that failed, crashed or took too long: services.failures.",
        tags=["encore"],
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {
                    "prefect.resource.role": "deployment",
                    "prefect.resource.id": [f"prefect.deployment.{made}" for made in theirs],
                }
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[RunDeployment(deployment_id=deployments["tell"], parameters={"run": RUN})],
    )
    yield AutomationCore(
        name="silent runs",
        description="Marks a run crashed whose process has died without a word.",
        tags=["encore"],
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDED},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="its process died without a word; run it again, it goes on from there",
            )
        ],
    )


def automate(client: SyncPrefectClient, deployments: Mapping[str, UUID]) -> int:
    """Make what is missing, mend what differs; returns how many are declared."""
    wanted = list(declared(deployments))
    for each in wanted:
        found = client.read_automations_by_name(each.name)
        if not found:
            client.create_automation(each)
            continue
        kept = found[0]
        here = kept.model_copy(update={"enabled": True})  # on or off is the person's
        if AutomationCore.model_validate(here.model_dump(exclude={"id"})) != each:
            client.update_automation(kept.id, each.model_copy(update={"enabled": kept.enabled}))
    return len(wanted)
