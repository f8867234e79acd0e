"""How a new champion is watched after its promotion."""

from pydantic import Field

from components.recipe_base import Recipe


class WatchPolicy(Recipe):
    """The old champion stays as the control arm for a while; if people like the new one less, it goes back."""

    control_percent: float = Field(default=10.0, ge=0, le=50)
    """Of the subjects, those whom the old champion goes on answering; 0: a promotion is not watched."""
    hours: float = Field(default=72.0, gt=0)
    """How long."""
    false_alarm: float = Field(default=0.01, gt=0, lt=0.5)
    """Probability of ever rolling back a champion that is no worse, however often the watch looks."""
    tolerated_share: float = Field(default=0.2, ge=0, lt=1)
    """Of the subjects who are counted, so many may be a brigade: what they can do cannot roll back. It is also the loss
    in the mean score, from 0 to 1, that goes unnoticed."""
    known_subjects: bool = True
    """Count only subjects who had asked something before the promotion, so that accounts made for it have no say."""
    look_seconds: float = Field(default=10.0, gt=0)
    """How often new feedback is looked at."""
