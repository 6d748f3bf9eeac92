"""Adds pages to the site: those outside docs/, the help of the commands, and the notebooks.

mkdocs calls `on_files` and `on_page_markdown`. Links between pages are written for a reader of the
repository; `on_page_markdown` changes them to those of the site.
"""

import base64
import json
import posixpath
import re
from pathlib import Path

import click
from mkdocs.structure.files import File

from camformer_tf import cli

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository → page of the site
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/RESULTS.md": "benchmarks/RESULTS.md",
    "tfrecords/README.md": "tfrecords/index.md",
}
FILES = [f"configs/{path.name}" for path in sorted((ROOT / "configs").glob("*.yaml"))]


def on_files(files, config):
    """Adds the pages."""

    def add(uri: str, content: str | bytes) -> None:
        files.append(File.generated(config, uri, content=content))

    for path, uri in (PAGES | {path: path for path in FILES}).items():
        add(uri, (ROOT / path).read_text())
    add("commands.md", commands_page())
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(json.loads(path.read_text()), path.stem)
        add(f"notebooks/{path.stem}.md", text)
        for name, content in pictures.items():
            add(f"notebooks/{name}", content)
    return files


def on_page_markdown(markdown, page, config, files):
    """Changes links of the repository to links of the site."""
    uri = page.file.src_uri
    path = {target: source for source, target in PAGES.items()}.get(uri, f"docs/{uri}")

    def change(match: re.Match) -> str:
        text, link, anchor = match.groups(default="")
        source = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        target = PAGES.get(source, source.removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            # In the repository and not on the site; or broken, which mkdocs reports.
            return text if (ROOT / source).exists() else match[0]
        return f"[{text}]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{anchor})"

    return re.sub(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)", change, markdown)


def commands_page() -> str:
    """Returns the help of every command."""
    lines = ["# Commands", "", "The help of every command. [More about all of them](cli.md).", ""]
    for name, command in cli.main.commands.items():
        context = click.Context(command, info_name=f"camformer-tf {name}", max_content_width=90)
        context.help_option_names = ["-h", "--help"]
        lines += [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def notebook_page(notebook: dict, name: str) -> tuple[str, dict[str, bytes]]:
    """Returns a notebook with its outputs as Markdown, and its pictures."""
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = {name: "".join(text) for name, text in output.get("data", {}).items()}
            if "image/png" in data:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(data["image/png"])
                parts.append(f"![output]({file})")
            elif "text/html" in data:
                table = data["text/html"].replace('<table border="1" class="dataframe">', "<table>")
                parts.append(re.sub(r"\n\s*\n", "\n", table))
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures
