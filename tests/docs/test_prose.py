"""What the pages say is there: links, commands, options, paths, modules, manifests."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bursar_agent.settings import AgentSettings
from bursar_client.cli.apply import documents
from bursar_crds.names import API_VERSION
from bursar_domain.validate import validate
from bursar_testing.reference.commands import Command, commands, scripts
from bursar_testing.reference.reading import ROOT, Page, pages
from bursar_testing.reference.settings import plugins

PAGES = pages()
FOLDERS = ("crds", "operator", "webhooks", "api", "agent", "manifests", "tests", "docs", "requirements", ".ci")
# A word in capitals, in brackets or with dots stands for something of the reader's.
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_]*$|…|\.\.\.|[$*[]")

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@by_page
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in Page(target).anchors(), f"{page.name} links to {link}"


@by_page
def test_commands_exist(page: Page) -> None:
    for program, words in page.commands():
        problem = wrong(program, words)
        assert problem is None, f"{page.name}: `{program} {' '.join(words)}`: {problem}"


@by_page
def test_modules_exist(page: Page) -> None:
    for name in page.modules():
        assert find_spec(name), f"{page.name}: python -m {name}"


@by_page
def test_paths_exist(page: Page) -> None:
    code = "\n".join([*page.shell(), *page.spans()])
    for path in re.findall(rf"(?<![\w/.$-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)", code):
        assert (ROOT / path.rstrip(".")).exists(), f"{page.name} names {path}"


def manifests(page: Page) -> list[dict[str, Any]]:
    """Objects of ours that the page shows."""
    texts = [*page.blocks("yaml"), *(text for text in page.heredocs() if "apiVersion:" in text)]
    return [document for text in texts for document in documents(text) if document.get("apiVersion") == API_VERSION]


@by_page
def test_manifests_are_valid(page: Page) -> None:
    for document in manifests(page):
        found = [str(violation) for violation in validate(document)]
        assert found == [], f"{page.name}: {document['kind']} {document['metadata']['name']}"


def agent_files(page: Page) -> list[dict[str, Any]]:
    """Settings files of an agent that the page shows."""
    texts = [*page.blocks("yaml"), *page.heredocs()]
    return [found for text in texts if "state_directory:" in text for found in documents(text)]


@by_page
def test_agent_settings_exist(page: Page) -> None:
    for found in agent_files(page):
        assert set(found) <= set(AgentSettings.model_fields), page.name
        own = next(plugin for plugin in plugins() if plugin.name == found["scheduler"])
        assert set(found.get("scheduler_settings", {})) <= set(own.settings.model_fields), page.name


def test_pages_show_manifests_and_commands() -> None:
    """The readers above would find nothing wrong in pages that they can't read."""
    shown = {document["kind"] for page in PAGES for document in manifests(page)}
    assert shown >= {"Allocation", "Cluster", "Project", "QuotaPool"}
    assert {"slurm", "simulator"} == {found["scheduler"] for page in PAGES for found in agent_files(page)}
    called = {(program, *words[:1]) for page in PAGES for program, words in page.commands()}
    assert {("bursar", "up"), ("bursar-agent", "enrol"), ("make", "demo"), ("bursar", "clusters")} <= called


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x `bursar gett clusters`", "there is no command `bursar gett`"),
        ("x `bursar get nodes`", "`nodes` is none of clusters, projects, pools, allocations"),
        ("x `bursar up --detached`", "`bursar up` has no option --detached"),
        ("x `make everything`", "there is no target `everything`"),
        ("x `bursar-agent clusters`", "there is no command `bursar-agent clusters`"),
        (
            '```bash\nbursar-agent enrol --token "$(bursar clusters enrole x)"\n```\n',
            "there is no command `bursar clusters enrole`",
        ),
        ("    .venv/bin/bursar down --now\n", "`bursar down` has no option --now"),
        ("x `bursar-operater --help`", "there is no program `bursar-operater`"),
        ("x `make demo CHECK=1`, `bursar explain REASON`, `bursar up --dir D`", None),
    ],
)
def test_a_wrong_command_is_found(tmp_path: Path, text: str, found: str | None) -> None:
    (tmp_path / "page.md").write_text(text)
    problems = [wrong(program, words) for program, words in Page(tmp_path / "page.md").commands()]
    assert problems
    assert next((problem for problem in problems if problem), None) == found


def wrong(program: str, words: list[str]) -> str | None:
    """What is wrong with a call; None where nothing is."""
    if program == "make":
        return wrong_target(words)
    if program not in scripts():
        # A word alone may as well be the name of something else, such as of a namespace.
        return f"there is no program `{program}`" if words else None
    known = [command for command in commands() if command.path[0] == program]
    if not words or not known or PLACEHOLDER.search(words[0]):
        return None
    for command in known:
        if tuple(words[: len(command.path) - 1]) == command.path[1:]:
            return wrong_words(command, words[len(command.path) - 1 :])
    if any(command.path[1] == words[0] and len(words) == 1 for command in known) or words == ["--help"]:
        return None
    group = any(len(command.path) > 2 and command.path[1] == words[0] for command in known)
    return f"there is no command `{program} {' '.join(words[: 2 if group else 1])}`"


def wrong_words(command: Command, words: list[str]) -> str | None:
    """What is wrong with the words after a command's name."""
    arguments = [one for one in command.parameters if not one.is_option]
    rest = iter(words)
    for word in rest:
        if word.startswith("-") and word != "-":
            option = command.option(word.partition("=")[0])
            if option is None and word != "--help":
                return f"`{command.name}` has no option {word}"
            if option and option.takes_value and "=" not in word:
                next(rest, None)
        elif PLACEHOLDER.search(word):
            arguments = arguments[1:]
        elif not arguments:
            return f"`{command.name}` takes no {word}"
        else:
            argument = arguments.pop(0)
            if argument.choices and word not in argument.choices:
                return f"`{word}` is none of {', '.join(argument.choices)}"
    return None


def wrong_target(words: list[str]) -> str | None:
    """What is wrong with a call of make."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    unknown = [word for word in words if "=" not in word and word not in targets]
    return f"there is no target `{unknown[0]}`" if unknown else None
