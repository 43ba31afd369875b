"""The hooks of `make docs` in MkDocs (mkdocs.yml names this file).

It adds the options of all commands, CONTRIBUTING.md and CHANGELOG.md, typesets equations as MathML, and refuses pages
that would load anything from another host.
"""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

OTHER_PAGES = {"contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGELOG.md"}
"""Files of the checkout that the site shows, by the name of their page."""
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\s(?:src|srcset)=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|icon|preload|preconnect|prefetch))[^>]*\shref=["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)


def math(source: str, *arguments: Any, **options: Any) -> str:
    r"""Return MathML for a fenced block of LaTeX; ``\_`` in texts is plain ``_`` there."""
    from latex2mathml.converter import convert

    return convert(source.replace(r"\_", "_"), display="block")


def on_files(files: Any, config: Any, **options: Any) -> Any:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for page, source in OTHER_PAGES.items():
        content = (ROOT / source).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """Point links at the site's pages, and add the options to the page of commands."""
    for name, source in OTHER_PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({name}")
    if page.file.src_uri == "commands.md":
        from pages.commands import build

        markdown = f"{markdown}\n{build()}"
    return markdown


def on_post_build(config: Any, **options: Any) -> None:
    """Fail if a page loads something from another host, because the site must work without a network."""
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        if addresses := loaded_from_elsewhere(page.read_text()):
            raise SystemExit(f"{page}: loads {', '.join(addresses)}; ship it with the docs instead")


def loaded_from_elsewhere(html: str) -> list[str]:
    """Return the addresses on other hosts from which a browser would load parts of this page."""
    return [script or link for script, link in LOADED.findall(html)]
