"""Why feedback rows are refused, and which refusals are a judgement that an operator may overrule."""

NO_CORRECTION = "thumbs-down without correction"
COMPARES = "compares two answers: learned from in pairs"
COMMENTS = "a comment names no answer"
UNDECIDED = "a middling rating names no answer"
EMPTY = "empty"
UNKNOWN_LABEL = "unknown label"
IN_TEST = "in the test split"
NEARLY_IN_TEST = "nearly in the test split"
IN_TRAIN = "already in the training split"
AGAINST_TRAIN = "contradicts the training split"
SUPERSEDED = "superseded by a later row of the same person"
CONTRADICTORY = "contradictory: others want another answer to the same text"
DUPLICATE = "duplicate of earlier feedback"
OUTVOTED = "outvoted: those who were right more often want another answer"
UNRELIABLE = "others and known answers too often speak against this person"
CANARY = "a prompt with a known answer, asked to see who answers in earnest"
DISTRUSTED = "this person fails prompts with known answers"
SECRET = "holds a key, a token or a password"  # noqa: S105
INJECTION = "speaks to the model, not of the answer"
SPAM = "links or repetitions"
OUTSIDE = "outside the matter of this table"
BURST = "too much at once from one person"
OVER_SHARE = "over one person's share of the feedback"
KEPT_ASIDE = "kept aside to measure by"

WITHOUT_ANSWER: dict[str, str] = {
    "reject": NO_CORRECTION,
    "prefer": COMPARES,
    "comment": COMMENTS,
    "rate": UNDECIDED,
}
"""Why a row of a kind that names no answer makes no training row of its own."""

APPEALABLE = frozenset(
    {CONTRADICTORY, OUTVOTED, UNRELIABLE, DISTRUSTED, SECRET, INJECTION, SPAM, OUTSIDE, BURST, OVER_SHARE}
)
"""Refusals that are a judgement, which an operator may overrule. The others are facts: an appeal cannot give a row an
answer that it lacks, and must not take one out of a test set."""
