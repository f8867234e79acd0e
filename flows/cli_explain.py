"""`banyan explain`: why an answer was given."""

from typing import Annotated, Any

import typer

from flows.console import Json, read_settings, say

app = typer.Typer(no_args_is_help=True)

MOST_PIECES = 12
MOST_ALTERNATIVES = 8


@app.command()
def explain(
    request_id: Annotated[str, typer.Argument(help="The request id of its receipt; last: of the last `banyan ask`.")],
    as_json: Json = False,
) -> None:
    """Say why an answer was given, as far as that can be said.

    Which input tokens mattered, what else was weighed, how often such confidence is right, similar training rows.
    """
    from flows import gateway

    settings = read_settings()
    wanted = gateway.last_request(settings) if request_id == "last" else request_id
    found = gateway.explain(wanted, settings=settings)
    say(as_json, found, *lines(found))


def lines(found: dict[str, Any]) -> list[str]:
    """An explanation for people: strongest tokens first."""
    told = [f"{found['task']}: {_short(found['output'], 200)}"]
    if found["is_masked_copy"]:
        told.append("The text held personal data: this is of what the model says to its masked copy.")
    changed = found["score"] - found["blank_score"]
    if found["method"] == "leaving parts out":
        told.append(
            f"What mattered (nats of log-probability that the answer loses without it, {found['num_steps']} parts):"
        )
    else:
        told.append(
            f"What mattered (together {changed:+.2f} nats of log-probability, completeness error "
            f"{found['completeness_error']:+.3f}, {found['num_steps']} steps):"
        )
    strongest = sorted(found["pieces"], key=lambda piece: -abs(piece["attribution"]))[:MOST_PIECES]
    told += [
        f"  {piece['attribution']:+8.3f}  {_short(piece['text'], 40)!r} at {piece['start']}" for piece in strongest
    ]
    told.append("What else it weighed:")
    for one in found["alternatives"][:MOST_ALTERNATIVES]:
        others = ", ".join(f"{_short(name, 40)!r} {p:.2f}" for name, p in one["others"][:3])
        told.append(f"  {_short(one['said'], 60)!r} {one['probability']:.2f}; {others or 'nothing'}")
    if (more := len(found["alternatives"]) - MOST_ALTERNATIVES) > 0:
        told.append(f"  and {more} more with --json")
    told += _sure(found["calibration"])
    told.append(f"Similar training rows ({found['similar_by']}):")
    told += [
        f"  {one['similarity']:.2f}  {_short(one['text'], 80)!r} → {_short(one['target'], 60)!r}"
        for one in found["similar"]
    ]
    if found["attention_caution"]:
        told.append("Attention maps: with --json. " + found["attention_caution"])
    return told


def _sure(sure: dict[str, Any] | None) -> list[str]:
    if sure is None:
        return ["Nothing is known of how often it is right when it is as sure as this."]
    if sure["score"] is None:
        return [f"It was {sure['confidence']:.2f} sure; no test row was answered with such confidence."]
    between = f"[{sure['score_low']:.2f}, {sure['score_high']:.2f}]"
    return [
        f"It was {sure['confidence']:.2f} sure. Of {sure['num_rows']} test rows answered with {sure['low']:.1f} to "
        f"{sure['high']:.1f} the mean score is {sure['score']:.2f} {between}; calibration error {sure['error']:.3f}."
    ]


def _short(text: str, most: int) -> str:
    plain = " ".join(text.split()) if len(text) > most else text
    return plain if len(plain) <= most else plain[: most - 1] + "…"
