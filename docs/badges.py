"""The notebooks' links to Colab and Binder, which need a public address: `Repository` among the URLs of pyproject.toml.

python -m docs.badges     # writes them into the notebooks, or takes them out where there is no address
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat

ROOT = Path(__file__).resolve().parents[1]
# A torch that is there already, such as Colab's with its GPU, satisfies the requirement and stays.
INSTALL = """try:
    import lossbench
except ModuleNotFoundError:  # on Colab, where the package is not installed yet
    %pip install -q git+{address}
    import lossbench"""


def public_address() -> str:
    """Where the repository can be cloned from; empty until it is public."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", ""))


def badges(name: str, address: str) -> str:
    """The line under a notebook's title."""
    where = urlsplit(address).path.strip("/")
    colab, binder = "https://colab.research.google.com", "https://mybinder.org"
    opened = quote(f"notebooks/{name}", "")
    return (
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{where}/blob/main/notebooks/{name}) "
        f"[![Open in Binder]({binder}/badge_logo.svg)]({binder}/v2/gh/{where}/main?labpath={opened})"
    )


def write_badges(notebook: nbformat.NotebookNode, name: str, address: str) -> nbformat.NotebookNode:
    """Give a notebook its links and the cell that installs the package, or take them out for an empty address."""
    cells = [cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])]
    title, *rest = [part for part in cells[0].source.split("\n\n") if not part.startswith("[![")]
    if address:
        rest.insert(0, badges(name, address))
        cell = nbformat.v4.new_code_cell(INSTALL.format(address=address), id="colab", metadata={"tags": ["colab"]})
        cells.insert(1, cell)
    cells[0].source = "\n\n".join([title, *rest])
    notebook.cells = cells
    return notebook


def main() -> None:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = write_badges(nbformat.read(path, as_version=4), path.name, public_address())
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
