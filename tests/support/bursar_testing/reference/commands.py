"""`docs/reference/cli.md`: every command with its arguments and options, from the applications themselves."""

import argparse
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from bursar_client.__main__ import COMMANDS, build
from bursar_testing.reference.markdown import code, page, sentence, table

INTRODUCTION: Final = (
    "`bursar` is for people, `bursar-agent` for the host of a scheduler, the others are the processes of a deployment.\n"
    "Each command prints its help with `--help`."
)
WIDTH: Final = 110


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or option as one writes it."""

    names: tuple[str, ...]
    is_option: bool
    takes_value: bool
    required: bool
    repeated: bool
    default: str
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command that can be called, such as `bursar clusters enrol`."""

    path: tuple[str, ...]
    help: str
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """As one calls it."""
        return " ".join(self.path)

    def option(self, name: str) -> Parameter | None:
        """The option with this name."""
        return next((one for one in self.parameters if one.is_option and name in one.names), None)


def scripts() -> list[str]:
    """Every program that the distribution installs."""
    return sorted(point.name for point in entry_points(group="console_scripts") if point.value.startswith("bursar_"))


def applications() -> dict[str, typer.Typer]:
    """The programs that have commands of their own."""
    return {"bursar": build(COMMANDS), "bursar-agent": import_module("bursar_agent.__main__").app}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The programs that are processes: settings, hardly an option."""
    modules = {"bursar-operator": "bursar_operator", "bursar-webhooks": "bursar_webhooks", "bursar-gateway": "bursar_api"}
    found: dict[str, Callable[[], argparse.ArgumentParser]] = {
        name: import_module(f"{module}.__main__").parser for name, module in modules.items()
    }
    return {name: make() for name, make in found.items()}


@functools.cache
def commands() -> tuple[Command, ...]:
    """Every command of every application."""
    return tuple(command for name, app in applications().items() for command in _walk((name,), get_command(app)))


def _walk(path: tuple[str, ...], command: Any) -> Iterator[Command]:
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _walk((*path, name), child)
        return
    yield Command(path, command.help or "", tuple(_parameter(one) for one in command.params if one.name != "help"))


def _parameter(parameter: Any) -> Parameter:
    is_option = parameter.param_type_name == "option"
    flag = is_option and parameter.is_flag
    return Parameter(
        names=(*parameter.opts, *parameter.secondary_opts),
        is_option=is_option,
        takes_value=not flag,
        required=parameter.required,
        repeated=parameter.multiple or parameter.nargs == -1,
        default=_default(parameter.default) if not flag else "",
        choices=tuple(_choices(parameter)),
        help=parameter.help or "",
    )


def _default(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    return "" if value is None or callable(value) or value in ([], ()) else str(value)


def _choices(parameter: Any) -> Iterable[str]:
    annotation = parameter.type_descriptor.annotation
    return [str(one.value) for one in annotation] if isinstance(annotation, type) and issubclass(annotation, Enum) else []


def commands_page() -> str:
    """The page."""
    processes = [_process(name, parser) for name, parser in parsers().items()]
    return page("Command line", INTRODUCTION, *(_section(command) for command in commands()), *processes, _exit_codes())


def _exit_codes() -> str:
    """From the docstrings of the programs: `Exit codes: 0 done; 1 …`."""
    rows = []
    for name, module in (("bursar", "bursar_client"), ("bursar-agent", "bursar_agent")):
        text = (import_module(f"{module}.__main__").__doc__ or "").partition("Exit codes: ")[2]
        assert text, f"the docstring of {module}.__main__ names no exit codes"
        rows += [(code(name), *entry.strip().split(" ", 1)) for entry in " ".join(text.split()).rstrip(".").split("; ")]
    return f"## Exit codes\n\n{table(('command', 'code', 'meaning'), _sentences(rows))}"


def _sentences(rows: Iterable[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    return ((*row[:-1], sentence(row[-1])) for row in rows)


def _section(command: Command) -> str:
    arguments = [one for one in command.parameters if not one.is_option]
    options = [one for one in command.parameters if one.is_option]
    needed = [f"{one.names[0]} {one.names[0].lstrip('-').upper()}" for one in options if one.required]
    optional = ["[options]"] if len(needed) < len(options) else []
    usage = " ".join([command.name, *(_placeholder(one) for one in arguments), *needed, *optional])
    rows = table(("argument or option", "default", "choices", "meaning"), (_row(one) for one in (*arguments, *options)))
    text = "\n\n".join(paragraph for paragraph in _paragraphs(command.help))
    return "\n\n".join(filter(None, (f"## {command.name}", text, f"```\n{usage}\n```", rows)))


def _paragraphs(text: str) -> list[str]:
    return [sentence(part) for part in text.split("\n\n") if part.strip()]


def _placeholder(argument: Parameter) -> str:
    name = argument.names[0].upper() + ("..." if argument.repeated else "")
    return name if argument.required else f"[{name}]"


def _row(one: Parameter) -> tuple[str, ...]:
    names = ", ".join(code(name) for name in one.names) if one.is_option else code(one.names[0].upper())
    default = "required" if one.required else code(one.default)
    return names, default, ", ".join(code(choice) for choice in one.choices), sentence(one.help)


def _process(name: str, parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = functools.partial(argparse.HelpFormatter, width=WIDTH)
    parser.epilog = None
    setattr(parser, "color", False)  # noqa: B010 - Python 3.14 colours the help of a terminal
    introduction = f"{sentence(parser.description or '')} Its settings: [{name}](settings.md#{name})."
    return f"## {name}\n\n{introduction}\n\n```\n{parser.format_help().strip()}\n```"
