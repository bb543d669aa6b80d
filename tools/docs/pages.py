"""Write the pages of the manual's site to a folder, for MkDocs: 'make docs'.

    python tools/docs/pages.py build/pages

The pages in docs/ are copied; others are made from the code, or lie elsewhere in the repository.

``reference/commands.md`` is made from the command line, ``reference/settings.md`` from the typed settings, and
``reference/python.md`` from the names that the package offers. The README files of the recipes, CONTRIBUTING.md and
CHANGELOG.md become pages of the site. Links between files of the repository become links within the site; source files
that a page links to are copied into it.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "pipeline"))

from recitative.atomic import write_text  # noqa: E402
from recitative.cli.main import app  # noqa: E402
from recitative.kinds import KINDS  # noqa: E402

ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "pipeline/recitative/pretrained/README.md": "included-models.md",
    "README.md": "index.md",
    **{
        f"recipes/{folder.name}/README.md": f"recipes/{folder.name}.md"
        for folder in sorted((ROOT / "recipes").iterdir())
    },
    **{
        f"recipes/{folder.name}/RESULTS.md": f"recipes/{folder.name}-results.md"
        for folder in sorted((ROOT / "recipes").iterdir())
        if (folder / "RESULTS.md").exists()
    },
}
LINK = re.compile(r"(\]\()([^)\s#]+)?(#[^)\s]*)?(\))")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


def main(output: Path) -> None:
    """Write all pages of the site, and the settings of MkDocs with its navigation."""
    shutil.rmtree(output, ignore_errors=True)
    pages = {f"docs/{page.name}": page.name for page in sorted((ROOT / "docs").glob("*.md"))}
    for source, site in {**pages, **ELSEWHERE}.items():
        if source != "README.md":
            text = (ROOT / source).read_text(encoding="utf-8")
            write_text(output / site, linked_within_site(text, source, site))
    write_text(output / "recipes/index.md", recipes_page())
    write_text(output / "reference/commands.md", commands_page())
    write_text(output / "reference/settings.md", settings_page())
    write_text(output / "reference/python.md", python_page())
    for pattern in ("*.svg", "*.png"):
        for picture in sorted((ROOT / "docs").glob(pattern)):
            shutil.copy(picture, output)
    for source in sorted(linked_sources([*pages, *ELSEWHERE])):
        write_text(output / f"source/{source}.txt", (ROOT / source).read_text(encoding="utf-8"))


def linked_within_site(text: str, source: str, site: str) -> str:
    """A page with its links between files of the repository as links between pages of the site."""

    def replace(match: re.Match[str]) -> str:
        target = match[2]
        if target is None or ":" in target:
            return match[0]
        relative = posixpath.relpath(site_path(resolved(target, source)), posixpath.dirname(site) or ".")
        return f"{match[1]}{relative}{match[3] or ''}{match[4]}"

    parts = re.split(f"({FENCE.pattern})", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)


def resolved(target: str, source: str) -> str:
    """The path in the repository that a page's link means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def site_path(source: str) -> str:
    """Where the site has a file of the repository."""
    if source in ELSEWHERE:
        return ELSEWHERE[source]
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    if f"{source}/README.md" in ELSEWHERE:  # a folder
        return ELSEWHERE[f"{source}/README.md"]
    return f"source/{source}.txt"


def linked_sources(pages: Iterable[str]) -> set[str]:
    """The files of the repository that pages link to and that are not pages themselves."""
    found = set()
    for page in pages:
        for match in LINK.finditer(FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))):
            if match[2] and ":" not in match[2]:
                source = resolved(match[2], page)
                if site_path(source).startswith("source/") and (ROOT / source).is_file():
                    found.add(source)
    return found


def recipes_page() -> str:
    """All recipes, each with the first paragraph of its README and its results."""
    lines = [
        "# Recipes",
        "",
        "[Writing a recipe](../recipes.md) explains their form.",
        "",
        "| recipe | | |",
        "|---|---|---|",
    ]
    for source, site in ELSEWHERE.items():
        if source.startswith("recipes/") and source.endswith("README.md"):
            name = site.removeprefix("recipes/").removesuffix(".md")
            paragraph = (ROOT / source).read_text(encoding="utf-8").split("\n", 1)[1].strip().split("\n\n")[0]
            about = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph).removesuffix(":").removesuffix(".")
            results = f"[results]({name}-results.md)" if f"recipes/{name}-results.md" in ELSEWHERE.values() else ""
            lines.append(f"| [{name}]({name}.md) | {cell(about)} | {results} |")
    return "\n".join([*lines, ""])


# Commands


def commands_page() -> str:
    group = typer.main.get_command(app)
    lines = ["# Commands", "", "Every command with its options. `recitative COMMAND --help` prints the same.", ""]
    headings: dict[str, list[str]] = {}
    for path, command in verbs_of(group, "recitative"):
        heading = getattr(group.commands[path.split()[1]], "rich_help_panel", None) or "Other"  # type: ignore[attr-defined]
        headings.setdefault(str(heading), []).append(command_text(path, command))
    for heading, texts in headings.items():
        lines += [f"## {heading}", "", *texts]
    return "\n".join(lines)


def verbs_of(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        if inner.hidden:
            continue
        if hasattr(inner, "commands"):
            yield from verbs_of(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


def command_text(path: str, command: Any) -> str:
    """A command's help: prose, examples as code, a table of options."""
    prose, examples = [], []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        block = paragraph.removeprefix("\b\n")
        if block != paragraph and re.search(r"^(recitative|python3|ffmpeg|torchrun) ", block, re.M):
            examples.append(block)
        elif block != paragraph:
            prose.append(f"```\n{block}\n```")
        else:
            prose.append(paragraph.replace("\n", " "))
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden and p.name != "help"]
    usage = " ".join([path, *map(usage_of, arguments)])
    lines = [f"### {path.removeprefix('recitative ')}", "", *(f"{text}\n" for text in prose)]
    lines += [f"`{usage} [OPTIONS]`", ""]
    if examples:
        lines += ["```", *examples, "```", ""]
    rows = [(f"`{p.metavar or p.name.upper()}`", "", p.help or "") for p in arguments if getattr(p, "help", "")]
    rows += [
        (f"`{', '.join([*p.opts, *p.secondary_opts])}`{values_of(p)}", default_of(p), p.help or "") for p in options
    ]
    if rows:
        lines += ["| option | default | |", "|---|---|---|"]
        lines += [f"| {name} | {default} | {cell(text)} |" for name, default, text in rows]
        lines.append("")
    return "\n".join(lines)


def usage_of(argument: Any) -> str:
    name = argument.metavar or argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def values_of(option: Any) -> str:
    """The values that an option takes: choices, limits, or the kind of value."""
    annotation = option.type_descriptor.annotation
    inner = [a for a in (annotation, *get_args(annotation)) if get_origin(a) is Literal]
    if inner:
        return " " + ", ".join(str(value) for value in get_args(inner[0]))
    if option.is_flag:
        return ""
    low, high = option.min, option.max
    if low is not None and high is not None:
        return f" {low:g} to {high:g}"
    if low is not None:
        return f" {low:g} or more"
    names = [a.__name__ for a in (annotation, *get_args(annotation)) if inspect.isclass(a) and a is not type(None)]
    return " " + {"str": "TEXT", "Path": "PATH", "int": "INTEGER", "float": "NUMBER"}.get(
        names[-1] if names else "", ""
    )


def default_of(option: Any) -> str:
    default = option.default
    if default is None or default == "" or callable(default) or option.is_flag or default == ():
        return "required" if option.required else ""
    return f"`{cell(str(default))}`"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# Settings


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Settings stand in YAML files, which can include others, or on the command line as `section.key=value`.",
        "`kind` names the kind of model; a recognizer is the default.",
        "",
    ]
    for kind in KINDS:
        lines += [f"## kind: {kind.name}", "", f"Settings of a {kind.title}.", ""]
        for section, model in sections_of(kind.settings, ""):
            rows = list(rows_of(model))
            if rows:
                lines += [f"**{section or 'top level'}**", "", "| setting | values | default | |", "|---|---|---|---|"]
                lines += [f"| `{section + '.' if section else ''}{name}` | {v} | {d} | {c} |" for name, v, d, c in rows]
                lines.append("")
    return "\n".join(lines)


def sections_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield prefix, model
    for name, field in model.model_fields.items():
        if inner := inner_model(field.annotation):
            yield from sections_of(inner, f"{prefix}.{name}" if prefix else name)


def inner_model(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if inspect.isclass(c) and issubclass(c, BaseModel)), None)


def rows_of(model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    comments = comments_of(model)
    for name, field in model.model_fields.items():
        if inner_model(field.annotation) or name == "kind":
            continue
        default = "" if field.is_required() else f"`{cell(str(field.get_default(call_default_factory=True)))}`"
        yield name, cell(type_text(field.annotation, field.metadata)), default, cell(comments.get(name, ""))


def type_text(annotation: Any, metadata: Iterable[Any]) -> str:
    limits = []
    for entry in metadata:
        for sign, attribute in (("≥", "ge"), (">", "gt"), ("≤", "le"), ("<", "lt")):
            if (value := getattr(entry, attribute, None)) is not None:
                limits.append(f"{sign} {value:g}")
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    name = getattr(annotation, "__name__", str(annotation)) if not get_args(annotation) else str(annotation)
    return " ".join([name.replace("typing.", "").replace("<class '", "").replace("'>", ""), ", ".join(limits)]).strip()


def comments_of(model: type[BaseModel]) -> dict[str, str]:
    """The comment behind each field, from the source of a class and of the classes that it extends."""
    comments: dict[str, str] = {}
    for cls in reversed([c for c in model.__mro__ if issubclass(c, BaseModel) and c is not BaseModel]):
        name = ""
        for line in inspect.getsource(cls).splitlines():
            if field := re.match(r" {4}(\w+): .*?(?:  # (.*))?$", line):
                name = field[1]
                if field[2]:
                    comments[name] = field[2]
            elif (more := re.match(r" {4,}# (.*)$", line)) and name in comments:
                comments[name] += f" {more[1]}"
            else:
                name = ""
    return comments


# Python


def python_page() -> str:
    """One entry for each name that the package offers to type checkers."""
    stub = (ROOT / "pipeline/recitative/__init__.pyi").read_text(encoding="utf-8")
    names = sorted(set(re.findall(r"^from (recitative\S*) import (\w+)", stub, re.M)), key=lambda pair: pair[1].lower())
    lines = [
        "# Python reference",
        "",
        "Classes and functions for programs. [Python](../python.md) introduces them.",
        "",
    ]
    for module, name in names:
        lines += [f"::: {module}.{name}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
