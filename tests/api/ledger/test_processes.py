"""Two processes write one database, as operator and gateway do: nothing is lost, nobody fails."""

import asyncio
import sys

from bursar_domain.buckets import Amounts, RowKey
from bursar_ledger import Ledger
from bursar_testing.wires import publish_accounts, slot, usage

ROUNDS = 30
PROGRAM = """
import asyncio, sys
from bursar_domain.keys import Signer
from bursar_ledger import Ledger
from bursar_testing.wires import allocation, entry, settings

async def main():
    ledger = await Ledger.connect(sys.argv[1])
    sign = Signer.generate().sign
    for number in range(int(sys.argv[2])):
        entries = [entry(sys.argv[3], allocation("uid-" + sys.argv[3], number + 1, number))]
        await ledger.publish(settings(), entries, epoch=1, acknowledged=0, now=0, valid_seconds=9, sign=sign)
    await ledger.close()

asyncio.run(main())
"""


async def publisher(url: str, account: str) -> None:
    """Run the program above in a process of its own, to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PROGRAM, url, str(ROUNDS), account, env={"PYTHONPATH": ":".join(sys.path)}
    )
    try:
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_writers_of_three_processes_wait_for_each_other(url: str) -> None:
    """The schema too is made by whoever comes first."""
    others = [asyncio.create_task(publisher(url, account)) for account in ("a", "b")]
    ledger = await Ledger.connect(url)
    await publish_accounts(ledger, "beta", "a")
    for seq in range(1, ROUNDS + 1):
        rows = {RowKey("alice", "cpu"): Amounts((seq, 0, 0, 0))}
        await ledger.put_usage("beta", usage(f"{seq}", slot("a", 0, (0, seq), rows)), seq)
    await asyncio.gather(*others)
    assert await ledger.totals("beta") == {"a": {"cpu": ROUNDS}}
    assert (await ledger.desired_generations())["alpha"] == 2 * ROUNDS
    assert await ledger.grant_revisions() == {f"uid-{account}": (ROUNDS, {"cpu": ROUNDS - 1}) for account in ("a", "b")}
    await ledger.close()


async def test_a_reader_sees_one_moment_while_a_writer_works(url: str) -> None:
    """Root and entries of a delta belong together, whatever is published meanwhile."""
    ledger = await Ledger.connect(url)
    other = asyncio.create_task(publisher(url, "a"))
    while not other.done():
        if (delta := await ledger.desired("alpha", 0)) is not None:
            revision = delta.entries[0].allocations[0].grant_revision
            assert delta.root.root.generation == revision
    await other
    await ledger.close()
