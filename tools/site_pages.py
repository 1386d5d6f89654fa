"""A hook of mkdocs that adds pages from outside docs/ to the site: models/, CHANGELOG.md and CONTRIBUTING.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")


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
    if "/" in page.file.src_uri:
        return markdown
    for name in (*PAGES, "models/"):
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return markdown
