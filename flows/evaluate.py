"""A registered version, measured again."""

from prefect import flow

from components.refs import DataRef
from flows import policies, run_names, shown, steps


@flow(flow_run_name=run_names.named("evaluate {table}"), **policies.KEPT)
def evaluate(table: str, version: int | None = None, data: DataRef | None = None) -> dict[str, float]:
    """Measures a version (default: the champion) on the test split of the data (default: the newest)."""
    data = steps.current_data(data)
    model = steps.find(table, version)
    metrics = steps.evaluate_version(model, data)
    shown.facts(f"{model} on data {data.version[:12]}", metrics)
    return metrics
