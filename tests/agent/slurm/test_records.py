"""The parsers of TRES and job records, on text."""

import pytest

from bursar_agent.schedulers.base import SchedulerUnavailable
from bursar_agent.schedulers.slurm import associations, factors, records, tres
from bursar_agent.schedulers.slurm.records import Listed, Record

ROW = "17|4|proj|alice|normal|1000|1600|600|COMPLETED|billing=4,cpu=4,gres/gpu:a100=2,gres/gpu=2,mem=8G,node=1|15"


def full(qos: str, time: int) -> int:
    """Every QOS counts in full."""
    return 1000


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("", {}),
        ("cpu=4", {"cpu": 4}),
        ("cpu=6000,gres/gpu:a100=1,mem=600G", {"cpu": 6000, "gres/gpu:a100": 1, "mem": 614400}),
        ("mem=614401M", {"mem": 614401}),
        ("mem=512", {"mem": 512}),
        ("mem=1T", {"mem": 1024**2}),
        ("mem=1500K", {"mem": 2}),
    ],
)
def test_amounts_are_whole_and_memory_is_in_mib(text: str, amounts: dict[str, int]) -> None:
    assert tres.parse(text) == amounts


@pytest.mark.parametrize("text", ["cpu", "cpu=", "cpu=-1", "cpu=1.5", "cpu=1;mem=2", "mem=1.50G", "=4"])
def test_what_is_not_an_amount_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not name=number"):
        tres.parse(text)


def test_a_typed_gres_counts_once() -> None:
    assert tres.amount_of({"gres/gpu": 2, "gres/gpu:a100": 2}, "gres/gpu") == 2
    assert tres.amount_of({"gres/gpu:a100": 2, "gres/gpu:v100": 1}, "gres/gpu") == 3


def test_a_row_becomes_an_attempt() -> None:
    (record,), bad = records.parse(ROW, "alpha", full)
    job = records.use(record, {"cpu": "cpu", "gpu": "gres/gpu", "memory": "mem"}, 5000)
    assert bad == 0
    assert job.key == "alpha:17"
    assert (job.start, job.end, job.limit_seconds) == (1000, 1600, 900)
    assert job.allocated == {"cpu": 4, "gpu": 2, "memory": 8192}


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace("600|COMPLETED", "10-00:00:00|COMPLETED"),
        ROW.replace("cpu=4,", "cpu=four,"),
        ROW + "|more",
        ROW.removesuffix("|15"),
        ROW.replace("1000", "2026-01-01T00:00:00"),
        ROW.replace("17|", "|"),
    ],
)
def test_a_bad_row_is_skipped_and_counted(row: str) -> None:
    found, bad = records.parse(f"{row}\n{ROW}", "alpha", full)
    assert [record.key for record in found] == ["alpha:17"]
    assert bad == 1


@pytest.mark.parametrize("start", ["Unknown", "None", ""])
def test_a_job_that_never_began_is_no_attempt(start: str) -> None:
    assert records.parse(ROW.replace("|1000|", f"|{start}|"), "alpha", full) == ([], 0)


def _open(elapsed: int) -> Record:
    text = ROW.replace("|1600|600|COMPLETED", f"|Unknown|{elapsed}|RUNNING")
    return records.parse(text, "alpha", full)[0][0]


def test_an_open_record_whose_job_the_controller_lost_ends_when_it_was_first_missed() -> None:
    lost = records.use(_open(5000), {"cpu": "cpu"}, 6000, 1300)
    assert (lost.end, lost.running) == (1300, False)


def test_a_lost_job_never_lasts_longer_than_its_limit() -> None:
    assert records.use(_open(5000), {"cpu": "cpu"}, 6000, 5900).end == 1000 + 900


def test_windows_follow_each_other_and_the_last_is_open() -> None:
    assert records.windows(0, None, 9000, 1) == [(0, 3600), (3600, 7200), (7200, None)]
    assert records.windows(50, None, 50, 1) == [(50, None)]
    assert len(records.windows(0, None, 2_000_000_000, 1)) <= 401


def test_a_slice_ends_where_it_was_to_end() -> None:
    assert records.windows(0, 7200, 99_999, 1) == [(0, 3600), (3600, 7200)]
    assert records.windows(3600, 7200, 99_999, 24) == [(3600, 7200)]


def test_usage_factors_are_thousandths() -> None:
    assert factors.parse("normal|1.000000\nfree|0.000000\nhalf|0.500000\n") == {"normal": 1000, "free": 0, "half": 500}


@pytest.mark.parametrize("text", ["", "p1|||||||||", "root||||||||||", "root|||||||||\np1||cpu=x|||||||"])
def test_a_listing_without_the_root_account_or_of_another_form_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        associations.parse_accounts(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alpha|p1||cpu=1|cpu=0|cpu=0",
        "beta|root||||",
        "alpha|root|||",
        "alpha|root||cpu=x||",
        "alpha|root||||\nalpha|  deep||||",
    ],
)
def test_shares_of_another_cluster_or_form_are_no_answer(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        associations.parse_shares(text, "alpha")


def test_indentation_is_the_tree() -> None:
    lines = ["root||||", " bursar||||", "  p1||cpu=5|cpu=3|cpu=1", "   p1|alice|||", "  p2||||", " other||||"]
    shares = associations.parse_shares("\n".join(f"alpha|{line}" for line in lines), "alpha")
    assert {name: share.parent for name, share in shares.items()} == {
        "root": "",
        "bursar": "root",
        "p1": "bursar",
        "p2": "bursar",
        "other": "root",
    }
    assert shares["p1"].limits == {"cpu": 5}


def test_a_description_may_hold_anything() -> None:
    descriptions = associations.parse_descriptions("root|d\nodd|a|b|bursar:x\nrest of a line\nours|bursar:y\n")
    assert descriptions == {"root": "d", "odd": "a|b|bursar:x", "ours": "bursar:y"}


def test_a_user_who_may_not_submit_is_no_member() -> None:
    rows = associations.parse_accounts("root|||||||||\np1|||||||||\np1|al||||0||||\np1|bo||||||||\n", {"p1": "bursar:y"})
    assert (rows["p1"].members, rows["p1"].blocked, rows["p1"].description) == ({"bo"}, {"al"}, "bursar:y")


LISTING = "4|COMPLETED|1000|1500\n5|RUNNING|900|9999\n6|RUNNING|995|9999\n7|PENDING|N/A|N/A\n8|PENDING|2000|3000\n"


def test_a_running_job_without_a_record_holds_the_watermark_back_unless_it_has_just_begun() -> None:
    listed = records.parse_listing(LISTING)
    assert listed == {
        "4": Listed(1000, 1500),
        "5": Listed(900, None),
        "6": Listed(995, None),
        "7": Listed(None, None),
        "8": Listed(None, None),
    }
    assert records.complete_until([], listed, 0, 1000) == 900
    assert records.complete_until([], {"6": Listed(995, None)}, 0, 1000) == 1000
    assert records.complete_until([_open(100)], {"4": Listed(900, None)}, 0, 1000) == 1000


@pytest.mark.parametrize(
    ("job", "second"),
    [
        (Listed(900, 950), 900),  # it ended, slurmctld counted it, and there is no record
        (Listed(995, 999), 995),  # however short it was
        (Listed(100, 180), 2000),  # it ended before the read begins
        (Listed(180, 400), 200),
        (Listed(900, 900), 2000),  # cancelled before it began
    ],
)
def test_a_job_that_ended_without_a_record_holds_the_watermark_back(job: Listed, second: int) -> None:
    assert records.complete_until([], {"9": job}, 200, 2000) == second


def test_the_record_of_an_earlier_attempt_does_not_stand_for_the_present_one() -> None:
    assert records.complete_until([_open(100)], {"4": Listed(1300, None)}, 0, 2000) == 1300
    assert records.complete_until([_open(100)], {"4": Listed(1000, None)}, 0, 2000) == 2000


def test_an_open_record_ends_when_the_controller_says_so() -> None:
    ended = records.ended_at(_open(600), records.parse_listing(LISTING))
    assert ended == 1500
    job = records.use(_open(600), {"cpu": "cpu"}, 1600, ended)
    assert (job.end, job.running) == (1500, False)


def test_an_open_record_of_an_earlier_attempt_ends_before_the_present_one() -> None:
    assert records.ended_at(_open(600), {"4": Listed(1200, None)}) == 1200
    assert records.ended_at(_open(600), {"4": Listed(1000, None)}) is None
    assert records.ended_at(_open(600), {}) is None
