"""A hook of mkdocs: it adds models/, CHANGELOG.md and CONTRIBUTING.md to the site, and each decision to the menu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")


def on_config(config: Any) -> Any:
    """Put the pages of docs/decisions/ into the menu, which mkdocs.yml lists as decisions/*.md."""
    decisions: dict[str, list[str]] = {}
    for path in sorted((ROOT / "docs" / "decisions").glob("*-*.md")):
        decisions.setdefault(path.stem.partition("-")[0].capitalize(), []).append(f"decisions/{path.name}")
    for section in config.nav:
        if section == {"Decisions": "decisions/*.md"}:
            section["Decisions"] = ["decisions/index.md", *({group: pages} for group, pages in decisions.items())]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and each file of models/, so that links between them work."""
    models = [path for path in sorted((ROOT / "models").rglob("*")) if path.is_file()]
    for path in [*models, *(ROOT / name for name in PAGES)]:
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change links between docs/ and the added pages: in the repository they are in two folders, on the site in one."""
    if page.file.src_uri in PAGES:
        return markdown.replace("](docs/", "](")
    folders = page.file.src_uri.count("/")
    if folders and not page.file.src_uri.startswith(("decisions/", "maintaining/")):
        return markdown
    for name in (*PAGES, "models/"):
        markdown = markdown.replace(f"]({'../' * folders}../{name}", f"]({'../' * folders}{name}")
    return markdown
