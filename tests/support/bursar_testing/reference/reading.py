"""Reads pages as a reader does: links, headings, code, and the commands in it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[4]
_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_INDENTED: Final = re.compile(r"(?:(?<=\n\n)|\A)(?:(?: {4}[^\n]*)?\n)+")
_SPAN: Final = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.M)
_HEREDOC: Final = re.compile(r"<<-?\s*'?(\w+)'?[^\n]*\n(.*?)^\s*\1$", re.M | re.S)
# A program at the start of a line, a pipeline, a list or a substitution, maybe with its folder before it.
_COMMAND: Final = re.compile(
    r"(?:^|\$\(|[|;&])\s*(?:[\w.$-]*/)*(?P<program>bursar(?:-[a-z]+)?|make)(?P<rest>(?: (?:(?!\$\()[^|;&)\n#<>])*)?)"
    r"(?=[|;&)\n#<>]|\$\(|$)",
    re.M,
)
_MODULE: Final = re.compile(r"\bpython3? (?:-P )?-m ([\w.]+)")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the documentation."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """As it stands."""
        return self.path.read_text()

    @property
    def prose(self) -> str:
        """Without its blocks of code."""
        return _INDENTED.sub("\n", _FENCE.sub("", self.text))

    def links(self) -> list[str]:
        """Targets of its links."""
        return _LINK.findall(_SPAN.sub("", self.prose))

    def anchors(self) -> set[str]:
        """What a link into it may name, as code hosts make it of headings."""
        titles = [re.sub(r"[`*]|\[|\]\([^)]*\)", "", title) for title in _HEADING.findall(_FENCE.sub("", self.text))]
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def blocks(self, *languages: str) -> list[str]:
        """Its fenced blocks in these languages; indented ones count as "" too."""
        fenced = [(match["info"].split(" ")[0], _unindented(match["text"])) for match in _FENCE.finditer(self.text)]
        indented = [("", _unindented(match[0])) for match in _INDENTED.finditer(_FENCE.sub("", self.text))]
        return [text for language, text in (*fenced, *indented) if language in languages]

    def heredocs(self) -> list[str]:
        """Texts that a block of commands feeds to a program."""
        return [_unindented(match[2]) for block in self.shell() for match in _HEREDOC.finditer(block)]

    def shell(self) -> list[str]:
        """Blocks that are commands."""
        return self.blocks("bash", "console", "sh", "")

    def spans(self) -> list[str]:
        """Code within its sentences."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Calls of our programs and of make: program, and its words."""
        code = [_HEREDOC.sub("\n", block) for block in self.shell()] + self.spans()
        for text in code:
            for match in _COMMAND.finditer(text.replace("\\\n", " ")):
                yield match["program"], shlex.split(_words(match["rest"]))

    def modules(self) -> list[str]:
        """Modules that it starts with `python -m`."""
        return [name for text in (*self.shell(), *self.spans()) for name in _MODULE.findall(text)]


def pages() -> list[Page]:
    """README and its like, and everything in docs."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "manifests").rglob("*.md")]
    return [Page(path) for path in sorted(found) if "node_modules" not in path.parts]


def _unindented(text: str) -> str:
    lines = text.splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines) + "\n"


def _words(text: str) -> str:
    """A quotation that the pattern cut in two is closed again."""
    return text + '"' * (text.count('"') % 2) + "'" * (text.count("'") % 2)
