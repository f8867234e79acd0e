"""Why an answer was given: for raters and operators, of prompts that are still retained, masked."""

import asyncio

from fastapi import APIRouter, Depends

from components.errors import BanyanError, GatewayUnavailable, RegistryError, ServiceDown, UsageError
from components.evaluation.explain import Explanation
from components.serving import problems
from components.serving.gateway import Gateway
from components.serving.messages import Id


def explain_router(gateway: Gateway) -> APIRouter:
    """The route, to be included in the application."""
    rater = Depends(gateway.door.needs("rater"))
    router = APIRouter()

    @router.get("/v1/explain/{request_id}", dependencies=[rater])
    async def why(request_id: Id) -> Explanation:
        """What of the input mattered, what else was weighed, how sure it was, and rows it was taught that are like it.

        It takes seconds, and is made one at a time, by a copy of the version that answered.
        """
        from components.evaluation import explained

        try:
            found = await gateway.on_ledger(lambda ledger: explained.asked(ledger, request_id))
        except explained.NotRetained as err:
            raise problems.NotFound(err.message, err.remedy) from err
        if found is None:
            raise problems.NotFound(f"there is no answer {request_id!r}", "use the request_id of its receipt")
        try:
            return await asyncio.to_thread(explained.explain_answer, found, settings=gateway.settings)
        except UsageError as err:
            raise problems.Unprocessable(err.message, err.remedy) from err
        except explained.Busy as err:
            raise GatewayUnavailable("another explanation is being made", "try again in a few seconds") from err
        except (RegistryError, ServiceDown) as err:
            raise GatewayUnavailable(err.message, err.remedy) from err
        except BanyanError as err:
            raise problems.Unprocessable(err.message, err.remedy) from err

    return router
