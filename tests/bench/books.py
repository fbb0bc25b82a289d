"""The books: job records into slots, a log end to end, ingest, balance with millions of buckets, attribution, statements.

Work inside this process is measured in CPU seconds, so that a busy machine does not decide; what waits for a database or a
process, in seconds of the clock. `--buckets` makes the balance's table smaller.
"""

import asyncio
import gc
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

import psycopg

from bursar_agent import replay, swf
from bursar_agent.usagebook import UsageBook
from bursar_api.process import collect_less
from bursar_domain.buckets import JobUse, slots_of
from bursar_domain.fold import fold
from bursar_domain.terms import Terms, simple
from bursar_domain.units import QUARTER
from bursar_ledger import Ledger
from bursar_local.postgres import Postgres, PostgresUnavailable
from bursar_testing.bench import Row
from bursar_testing.children import BOOK, PLAIN, REPLAY, SIMULATOR, measure
from bursar_testing.joblogs import made_up, repeated
from bursar_testing.ledgerbalances import PROJECTS, SUM, Seconds, Size, look, publish
from bursar_testing.ledgerload import (
    ACCOUNTS,
    BASE,
    INGESTED,
    PAGES,
    PER_SLOT,
    fill_postgresql,
    fill_sqlite,
    pages,
    plain_postgresql,
    plain_sqlite,
)
from bursar_testing.wires import hello, publish_accounts, usage

LOG = Path(__file__).resolve().parents[2] / "manifests" / "examples" / "data" / "nasa-ipsc-1993.swf.gz"
LOG_JOBS, MILLION = 188_000, 1_000_000
SINCE_THEN = BASE + 10**8
T = TypeVar("T")


async def run(buckets: int) -> list[Row]:
    """Rows `books.*`."""
    with TemporaryDirectory(prefix="bursar-bench-") as folder:
        directory = Path(folder)
        return [
            *replaying(directory),
            *agent_memory(directory),
            await agent_compaction(directory / "book"),
            *counting("_example_log", list(_example())),
            *counting("", list(made_up(MILLION))),
            scattered(),
            *attribution(),
            await ingest_sqlite(directory),
            await ingest_postgresql(directory),
            *await balances_sqlite(directory / "balance", buckets),
            *await balances_postgresql(directory, buckets),
        ]


def _row(
    name: str,
    value: float | None,
    unit: str,
    baseline: float | None = None,
    bar: str | None = None,
    met: bool | None = None,
    note: str = "",
) -> Row:
    ratio = value / baseline if value is not None and baseline else None
    return {
        "name": f"books.{name}",
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "ratio": ratio,
        "bar": bar,
        "met": met,
        "note": note,
    }


def _cpu(work: Callable[[], T], rounds: int = 3) -> tuple[float, T]:
    """Least CPU seconds of some rounds, and what came of it."""
    times = []
    for _ in range(rounds):
        gc.collect()
        begun = time.process_time()
        result = work()
        times.append(time.process_time() - begun)
    return min(times), result


# A log, end to end, in a process of its own


def replaying(directory: Path) -> list[Row]:
    """`bursar-agent replay` beside a loop that splits the lines and adds them up unchecked."""
    log = repeated(LOG, directory / "log.swf.gz", LOG_JOBS)
    seconds, memory, cpu = measure(REPLAY, "replay", str(log), "--json", str(directory / "out.json"))
    plain_seconds, plain_memory, _ = measure(PLAIN, str(log))
    booked = json.loads((directory / "out.json").read_text())
    if booked["jobs"] != LOG_JOBS:
        raise SystemExit(f"{booked['jobs']} jobs were booked, not {LOG_JOBS}")
    (directory / "simulator").mkdir()
    simulated = measure(SIMULATOR, str(log), str(directory / "simulator"), "1280", rounds=1)
    simulated_note = f"the same jobs run through the simulated machine, {simulated.memory:.0f} MiB at the peak"
    note = f"{LOG_JOBS} jobs, {cpu:.1f} s CPU; beside: lines split and added up, no checks, no slots"
    return [
        _row("replay_188k_seconds", seconds, "s", plain_seconds, "<= 10 s", seconds <= 10, note),
        _row("simulator_188k_seconds", simulated.seconds, "s", plain_seconds, None, None, simulated_note),
        _row("replay_188k_memory", memory, "MiB", plain_memory, "<= 300 MB", memory * 2**20 <= 300e6, "resident at the peak"),
    ]


def agent_memory(directory: Path) -> list[Row]:
    """What the agent keeps of 10,000 accounts and a day, beside a dictionary of the same slots."""
    sizes = []
    for kind in ("book", "dictionary"):
        (directory / kind).mkdir()
        sizes.append(measure(BOOK, kind, str(directory / kind), rounds=1).memory)
    note = "10,000 accounts, 24 hours, 3 resources: 240,000 slots; whole process at the peak"
    return [_row("agent_memory_10k_accounts", sizes[0], "MiB", sizes[1], None, None, note)]


async def agent_compaction(directory: Path) -> Row:
    """How long the agent's loop stands still while the file of these books is compacted, beside compacting it there."""
    book, standing = UsageBook(directory, epoch=1), [0.0]
    began = time.perf_counter()
    book.compact()
    inline = time.perf_counter() - began
    ticking = asyncio.create_task(_tick(standing))
    await asyncio.sleep(0.1)
    standing.clear()
    await book.compact_aside()
    await asyncio.sleep(0.01)
    ticking.cancel()
    note = "240,000 slots: the longest time in which nothing else ran; beside: compacting in the loop"
    return _row("agent_compaction_standstill", 1000 * max(standing), "ms", 1000 * inline, None, None, note)


async def _tick(standing: list[float]) -> None:
    """Note how long each millisecond took."""
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        standing.append(now - last)
        last = now


# Job records into slots


def _example() -> Sequence[JobUse]:
    log = swf.Log()
    return [replay.job_use(job, log.unix_start) for job in swf.read(LOG, log)]


def counting(suffix: str, jobs: list[JobUse]) -> list[Row]:
    """Records a second into slots, beside a loop without any, and beside one SQL aggregate."""
    slots_cpu, slots = _cpu(lambda: slots_of(jobs))
    plain_cpu, sums = _cpu(lambda: _plain(jobs))
    sql_cpu, rows = _sql(jobs)
    buckets = sum(map(len, slots.values()))
    totals: defaultdict[str, int] = defaultdict(int)
    for found in slots.values():
        for key, amounts in found.items():
            totals[key.resource] += sum(amounts.allocated)
    if dict(totals) != {name: total for name, total in rows.items() if total} or sum(sums.values()) != sum(totals.values()):
        raise SystemExit(f"slots, loop and SQL differ: {dict(totals)}, {rows}")
    rate = len(jobs) / slots_cpu
    bar, met = (None, None) if suffix else (">= 200,000/s", rate >= 200_000)
    note = f"{len(jobs)} jobs, {buckets} buckets; CPU time; beside: "
    return [
        _row(f"jobs_per_second{suffix}", rate, "1/s", len(jobs) / plain_cpu, bar, met, note + "loop without slots"),
        _row(f"jobs_per_second{suffix}_beside_sql", rate, "1/s", len(jobs) / sql_cpu, bar, met, note + "one SQL aggregate"),
    ]


def scattered() -> Row:
    """The worst shape: hardly two jobs share a bucket, so that it is the buckets that are made which take the time."""
    jobs = list(made_up(200_000, largest_array=1, days=365))
    cpu, slots = _cpu(lambda: slots_of(jobs))
    plain_cpu, _ = _cpu(lambda: _plain(jobs))
    buckets = sum(map(len, slots.values()))
    note = f"{len(jobs)} jobs without arrays over a year, {buckets} buckets; CPU time; beside: loop without slots"
    return _row("jobs_per_second_scattered", len(jobs) / cpu, "1/s", len(jobs) / plain_cpu, None, None, note)


def _plain(jobs: Sequence[JobUse]) -> dict[tuple[str, str, str], int]:
    """The least that any loop has to do: seconds times units by account, user and resource."""
    sums: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for job in jobs:
        seconds = job.end - job.start
        for resource, units in job.allocated.items():
            sums[job.account, job.user, resource] += units * seconds
    return sums


def _sql(jobs: Sequence[JobUse]) -> tuple[float, dict[str, int]]:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE jobs (account, user, start INT, stop INT, cpu INT, memory INT, gpu INT)")
    names = ("cpu", "memory", "gpu")
    rows = ((job.account, job.user, job.start, job.end, *(job.allocated.get(name, 0) for name in names)) for job in jobs)
    database.executemany("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    sums = ", ".join(f"SUM({name} * (stop - start))" for name in names)
    statement = f"SELECT account, user, {sums} FROM jobs GROUP BY account, user"
    cpu, found = _cpu(lambda: database.execute(statement).fetchall())
    database.close()
    return cpu, {name: sum(row[2 + index] for row in found) for index, name in enumerate(names)}


# Attribution


def attribution() -> list[Row]:
    """A million quarters of one account over ten allocations that overlap, beside a loop that asks each quarter for itself."""
    use = [(BASE + number * QUARTER, 900 * (1 + number % 7)) for number in range(MILLION)]
    length = MILLION * QUARTER // 8
    terms = [
        simple(
            f"a{n}",
            BASE + n * length * 3 // 4,
            BASE + n * length * 3 // 4 + length,
            {"cpu": 10**8 * (n + 1)},
            overuse_percent=5,
        )
        for n in range(10)
    ]
    cpu, books = _cpu(lambda: fold(terms, {"cpu": use}))
    plain_cpu, (booked, unfunded) = _cpu(lambda: _put_down(terms, use))
    found = {item.uid: books.booked(item.uid)["cpu"] for item in terms}
    if found != booked or books.unfunded.get("cpu", 0) != unfunded:
        raise SystemExit(f"the fold and the loop differ: {found}, {booked}")
    rate = MILLION / cpu
    note = "1,000,000 quarters, 10 allocations; CPU time; beside: one quarter after the other"
    return [_row("attribution", rate, "1/s", MILLION / plain_cpu, None, None, note)]


def _put_down(terms: Sequence[Terms], use: Sequence[tuple[int, int]]) -> tuple[dict[str, int], int]:
    ordered = sorted(terms, key=lambda item: (item.open_until, item.uid))
    room = {item.uid: item.windows[0].at(item.start).granted["cpu"] for item in ordered}
    grace = {uid: amount * 5 // 100 for uid, amount in room.items()}
    booked, unfunded = dict.fromkeys(room, 0), 0
    for at, used in use:
        amount = used
        active = [item.uid for item in ordered if item.start <= at < item.open_until]
        for left in (room, grace):
            for uid in active:
                taken = min(amount, left[uid])
                left[uid] -= taken
                booked[uid] += taken
                amount -= taken
        if active:
            booked[active[-1]] += amount
        else:
            unfunded += amount
    return booked, unfunded


# Ingest


async def _ingest(url: str) -> float:
    """Buckets a second through `put_usage`, best of three clusters; garbage is looked for as rarely as in the gateway."""
    times = []
    ledger = await Ledger.connect(url)
    before = gc.get_threshold()
    collect_less()
    try:
        for cluster in ("one", "two", "three"):
            await publish_accounts(ledger, cluster, *(f"account{number}" for number in range(ACCOUNTS)))
            await ledger.record_hello(cluster, hello("s1", SINCE_THEN), SINCE_THEN)
            taken, seconds = 0, 0.0
            for number, page in enumerate(pages()):
                report = usage(f"r{number}", *page)
                begun = time.perf_counter()
                receipt = await ledger.put_usage(cluster, report, SINCE_THEN)
                seconds += time.perf_counter() - begun
                taken += receipt.accepted
            times.append(seconds)
            if taken != INGESTED // PER_SLOT:
                raise SystemExit(f"{taken} slots of {INGESTED // PER_SLOT} were taken in")
    finally:
        gc.set_threshold(*before)
        await ledger.close()
    return INGESTED / min(times)


async def ingest_sqlite(directory: Path) -> Row:
    """Beside `executemany` of the driver into one plain table, a transaction a page, every commit synced as well."""
    rate = await _ingest(f"sqlite:///{directory}/ingest.db")
    plain = await asyncio.to_thread(plain_sqlite, directory / "plain.db")
    note = f"{INGESTED} buckets in {PAGES} pages; beside: bare executemany into one table"
    return _row("ingest_sqlite", rate, "1/s", plain, ">= 100,000/s", rate >= 100_000, note)


async def ingest_postgresql(directory: Path) -> Row:
    """Beside COPY of the driver into one plain table, a transaction a page; the server syncs every commit."""
    try:
        server = await Postgres.start(directory, durable=True)
    except PostgresUnavailable as error:
        return _row("ingest_postgresql", None, "1/s", None, ">= 50,000/s", None, str(error))
    try:
        rate = await _ingest(await server.create_database("ingest"))
        plain = await plain_postgresql(await server.create_database("plain"))
    finally:
        await server.stop()
    note = f"{INGESTED} buckets in {PAGES} pages; beside: bare COPY into one table"
    return _row("ingest_postgresql", rate, "1/s", plain, ">= 50,000/s", rate >= 50_000, note)


# Balance and statement


async def balances_sqlite(path: Path, buckets: int) -> list[Row]:
    """Beside the driver's sum over the same account's buckets."""
    path.mkdir()
    size = Size.of(buckets)
    ledger = await Ledger.connect(f"sqlite:///{path}/ledger.db")
    try:
        await publish(ledger, size)
        await asyncio.to_thread(fill_sqlite, path / "ledger.db", size.groups)
        reader = sqlite3.connect(path / "ledger.db")

        async def plain(name: str) -> int:
            return int(reader.execute(SUM.format(mark="?"), (name,)).fetchone()[0])

        found = await look(ledger, size, plain)
        reader.close()
    finally:
        await ledger.close()
    return _told("", size, found)


async def balances_postgresql(directory: Path, buckets: int) -> list[Row]:
    """The same on a server, every table there and its figures taken."""
    try:
        server = await Postgres.start(directory)
    except PostgresUnavailable as error:
        return [_row("balance_10m_buckets_postgresql", None, "ms", None, "<= 5 ms", None, str(error))]
    size = Size.of(buckets)
    try:
        url = await server.create_database("balances")
        ledger = await Ledger.connect(url)
        try:
            await publish(ledger, size)
            await fill_postgresql(url, size.groups)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as reader:

                async def plain(name: str) -> int:
                    row = await (await reader.execute(SUM.format(mark="%s").encode(), (name,))).fetchone()
                    return int(row[0]) if row else 0

                found = await look(ledger, size, plain)
        finally:
            await ledger.close()
    finally:
        await server.stop()
    return _told("_postgresql", size, found)


def _told(suffix: str, size: Size, found: Seconds) -> list[Row]:
    """Median beside the median of the driver's sum; p95 in the note."""
    told = f"{size.stored:,} buckets, {PROJECTS:,} projects; "
    plain = median(found.plain) * 1000
    rows = []
    for name, times, what in (
        ("balance_10m_buckets", found.balance, "all that the gateway reads, and the fold"),
        ("statement", found.statement, "a month of one project by user"),
        ("spans_10m_buckets", found.spans, "use alone"),
    ):
        value, late = median(times) * 1000, sorted(times)[len(times) * 95 // 100] * 1000
        has_bar = name.startswith("balance")
        met = value <= 5 if has_bar and size.stored >= 10**7 else None
        note = f"{told}p95 {late:.1f} ms; {what}; beside: SQL sum of the project's buckets"
        rows.append(_row(f"{name}{suffix}", value, "ms", plain, "<= 5 ms" if has_bar else None, met, note))
    return rows
