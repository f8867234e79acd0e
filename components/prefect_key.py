"""What Prefect's server is shown where it asks for a key: the same variable that Prefect's own clients read."""

import base64
import os

VARIABLE = "PREFECT_API_AUTH_STRING"


def headers() -> dict[str, str]:
    """The header that every request of ours to Prefect bears; none where no key is set.

    The string as a whole, as Prefect sends it (`prefect.events.clients`): it need not be `user:password`.
    """
    key = os.environ.get(VARIABLE, "")
    return {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"} if key else {}
