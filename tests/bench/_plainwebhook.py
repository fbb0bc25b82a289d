"""A plain FastAPI webhook with a trivial check of hours, as the baseline."""

import os
from typing import Any

import uvicorn
from fastapi import Body, FastAPI

app = FastAPI()


@app.post("/validate")
async def validate(review: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
    """Refuse what is too much."""
    request = review["request"]
    allowed = all(item["hours"] <= 1_000_000 for item in request["object"]["spec"]["resources"])
    response: dict[str, Any] = {"uid": request["uid"], "allowed": allowed}
    if not allowed:
        response["status"] = {"code": 403, "message": "too much"}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


if __name__ == "__main__":
    files = {"ssl_certfile": os.environ["BENCH_CERTIFICATE"], "ssl_keyfile": os.environ["BENCH_KEY"]}
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), access_log=False, log_level="warning", **files)  # type: ignore[arg-type]
