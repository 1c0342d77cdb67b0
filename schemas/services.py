"""Settings of the servers and the worker that `up` starts."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from schemas.settings import Count, Name, Place, Settings, contradiction

Port = Annotated[int, Field(ge=1, le=65_535)]


class Services(Settings):
    """What `up` starts; Prefect's password is PREFECT_SERVER_API_AUTH_STRING of the environment."""

    host: str = Field(
        "127.0.0.1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$",
        description="address that the servers listen on; 0.0.0.0 is every one of this machine's",
    )
    prefect_port: Port = Field(4200, description="port of Prefect's pages")
    mlflow_port: Port = Field(5000, description="port of MLflow's pages")
    prefect_database: str | None = Field(
        None,
        pattern=r"^(postgresql\+asyncpg|sqlite\+aiosqlite)://",
        description="Prefect's database; null: SQLite in data/prefect. MLflow's is tracking.uri",
    )
    mlflow_allowed_hosts: tuple[Name, ...] = Field(
        (), description="names under which MLflow's pages may be asked for; none: this machine's own"
    )
    work_pool: str = Field(
        "encore", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="work pool of the deployments"
    )
    runs: Count = Field(2, description="runs that the worker has at a time; others wait")
    failures: str = Field(
        "data/failures.jsonl",
        min_length=1,
        description="file that gets a line for each failed retraining, or an http:// address that is "
        "sent it; $NAME: an address that is a secret, in this variable of the environment",
    )
    logs: Place = Field(Path("data/logs"), description="folder of the services' logs and their state")
    start_seconds: Count = Field(120, description="most seconds until everything answers")

    @field_validator("prefect_database")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        """A setting is seen in files, lists of processes and the form."""
        authority = (value or "").partition("://")[2].partition("/")[0]
        if ":" in authority.rpartition("@")[0]:
            allowed = "an address without a password, which PGPASSWORD or ~/.pgpass gives"
            raise contradiction("services.prefect_database", "one with a password", allowed)
        return value

    @model_validator(mode="after")
    def _two_ports(self) -> "Services":
        if self.prefect_port == self.mlflow_port:
            raise contradiction("services.mlflow_port", self.mlflow_port, "another port than Prefect's")
        return self
