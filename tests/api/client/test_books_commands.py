"""`bursar entries`, `statement`, `audit` and `allocations open-gate`: what they send, what they print, how they end."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner, Result

from bursar_client.__main__ import build
from bursar_domain.entries import Entry, EntryKind
from bursar_ledger import Ledger

Obj = dict[str, Any]
ENTRY: Obj = {
    "number": 7,
    "kind": "Adjustment",
    "project": "p",
    "cluster": "alpha",
    "allocation": "main",
    "at": "2026-03-02T10:15:00Z",
    "amounts": [{"name": "cpu", "hours": -7, "seconds": -25200}],
    "reference": None,
    "author": "dana",
    "reason": "outage",
}
FIGURES = (
    *("opening", "granted", "carried", "adjusted", "transferred", "refunded", "booked", "unfunded", "expired", "debt"),
    *("closing", "charged", "corrections", "kept", "allocated", "refundedAutomatically"),
)
TOTAL: Obj = {"resource": "cpu", **{f"{n}{u}": 36 * (u == "Hours") for n in FIGURES for u in ("Hours", "Seconds")}}
ANSWERS: dict[str, Obj] = {
    "/api/v1/entries": {"items": [ENTRY]},
    "/api/v1/statements": {
        "project": "p",
        "end": "2026-04-01T00:00:00Z",
        "items": [
            {
                "cluster": "alpha",
                "final": False,
                "billing": {"version": 3, "scale": 1000},
                "totals": [TOTAL, TOTAL | {"resource": "billing"}],
                "lines": [TOTAL | {"user": "alice"}],
            },
            {"cluster": "beta", "final": True, "billing": None, "totals": [TOTAL | {"resource": "billing"}], "lines": []},
        ],
    },
    "/api/v1/allocations/p/main/gates/review": {"project": "p", "name": "main", "spec": {"openedGates": ["review"]}},
    "/api/v1/audit/entries/verify": {"rows": 9, "hash": "f" * 64, "problems": [{"number": 4, "what": "it was edited"}]},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Obj]]:
    """A server that answers as the gateway does, and what it was asked."""
    calls: list[Obj] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            path, _, query = self.path.partition("?")
            calls.append({"method": self.command, "path": path, "query": query, "body": body, "headers": dict(self.headers)})
            answer = json.dumps(ANSWERS[path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815 - the name that the server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("BURSAR_GATEWAY", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("BURSAR_TOKEN", "t")
        yield calls
        server.shutdown()
        thread.join()


def bursar(*words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(build([words[0]]), list(words))


OF_MAIN = ("--project", "p", "--allocation", "main", "--resource", "cpu", "--reason", "outage")


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("adjust", "--hours", "-7"), {"kind": "Adjustment", "hours": -7}),
        (("refund", "--hours", "5", "--job", "4711"), {"kind": "Refund", "hours": 5, "job": "4711"}),
        (("transfer", "--hours", "5", "--to", "side"), {"kind": "Transfer", "hours": 5, "to": "side"}),
    ],
)
def test_entries_are_made(asked: list[Obj], words: tuple[str, ...], body: Obj) -> None:
    done = bursar("entries", *words, *OF_MAIN, "--dry-run", "--key", "k1", "-o", "csv")
    assert done.exit_code == 0, done.output
    [call] = asked
    assert (call["method"], call["path"], call["query"]) == ("POST", "/api/v1/entries", "dryRun=true")
    assert call["body"] == {"project": "p", "allocation": "main", "resource": "cpu", "reason": "outage", **body}
    assert call["headers"]["Idempotency-Key"] == "k1"
    assert done.output.splitlines()[1] == "7,Adjustment,p,alpha,main,2026-03-02T10:15:00Z,cpu,-7,,dana,outage"


def test_entries_are_listed(asked: list[Obj]) -> None:
    done = bursar("entries", "list", "--project", "p", "--kind", "Adjustment", "-o", "json")
    assert json.loads(done.output) == [ENTRY]
    assert "kind=Adjustment" in asked[0]["query"]


@pytest.mark.parametrize("form", ["table", "json", "csv", "yaml"])
@pytest.mark.parametrize("by", ["user"])
def test_statement(asked: list[Obj], form: str, by: str) -> None:
    done = bursar("statement", "p", "--from", "2026-03-01", "--to", "2026-04-01", "--by", by, "-o", form)
    assert done.exit_code == 0, done.output
    assert "alice" in done.output
    assert ("Not final on alpha" in done.output) == (form == "table")
    words = "Billing on alpha: hours are service units of 1,000 billing units each (weights of version 3)."
    assert (words in done.output) == (form == "table")
    assert "Billing on beta" not in done.output
    assert asked[0]["query"] == f"project=p&start=2026-03-01&end=2026-04-01&by={by}"


@pytest.mark.parametrize("words", [("entries", "list"), ("statement", "p")])
def test_what_others_wrote_moves_no_cursor_and_is_no_formula(
    asked: list[Obj], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    hostile = "=HYPERLINK(1)\x1b[2J\x07\u202e"
    line = TOTAL | {"user": hostile}
    part = {"cluster": "a", "final": True, "billing": None, "totals": [TOTAL], "lines": [line]}
    statement = {**ANSWERS["/api/v1/statements"], "items": [part]}
    answers = {"/api/v1/entries": {"items": [ENTRY | {"reason": hostile}]}, "/api/v1/statements": statement}
    for path, answer in answers.items():
        monkeypatch.setitem(ANSWERS, path, answer)
    shown = bursar(*words)
    assert shown.exit_code == 0, shown.output
    assert "=HYPERLINK(1)?[2J??" in shown.output
    sheet = bursar(*words, "-o", "csv")
    assert "'=HYPERLINK(1)" in sheet.output
    assert asked


def test_a_gate_is_opened(asked: list[Obj]) -> None:
    done = bursar("allocations", "open-gate", "p", "main", "review")
    assert (done.exit_code, "review" in done.output, asked[0]["method"]) == (0, True, "POST")


def test_the_audit_names_the_rows(asked: list[Obj]) -> None:
    done = bursar("audit", "verify", "-o", "csv")
    assert (done.exit_code, done.output.splitlines()) == (1, ["ROW,PROBLEM", "4,it was edited"])
    assert asked[0]["path"] == "/api/v1/audit/entries/verify"


def test_the_audit_of_a_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"

    async def fill() -> None:
        ledger = await Ledger.connect(url)
        made = [Entry(f"k{n}", EntryKind.ADJUSTMENT, "c", "p", 0, "dana", "why", "u", amounts={"cpu": n}) for n in range(3)]
        await ledger.append(made, 0)
        await ledger.close()

    asyncio.run(fill())
    whole = bursar("audit", "verify", "--ledger", url)
    assert (whole.exit_code, "3 entries, nothing was touched" in whole.output) == (0, True), whole.output
    engine = create_engine(url)
    with engine.begin() as tx:
        tx.execute(text("DROP TRIGGER IF EXISTS entries_update"))
        tx.execute(text("UPDATE entries SET author = 'mallory' WHERE number = 2"))
    engine.dispose()
    touched = bursar("audit", "verify", "--ledger", url, "-o", "json")
    assert touched.exit_code == 1
    assert [item["number"] for item in json.loads(touched.output)["problems"]] == [2]


def test_the_audit_of_no_ledger(tmp_path: Path) -> None:
    done = bursar("audit", "verify", "--ledger", f"sqlite:///{tmp_path}/none.db")
    assert (done.exit_code, list(tmp_path.iterdir())) == (3, [])
    assert "there is no file" in done.output
