"""Write the committed studies as one data set: Parquet tables and `croissant.json`. `python -m docs.make_dataset`.

To be called again after a study was packed into outputs/reference; a test says so when it was forgotten.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

import lossbench
from lossbench.files import write_text
from lossbench.records.archive import read_description, reference
from lossbench.records.export import export_parquet
from lossbench.records.packed import TABLES, packed_folders

FOLDER = Path(__file__).resolve().parents[1] / "outputs" / "reference"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
TABLE_NOTES = {
    "runs": "A row a run: its settings (the fields of RunConfig), status, scores, time and machine.",
    "history": "A row an epoch: learning rate, training and validation loss and accuracy.",
    "confusion": "How often each true class of the test images was taken for each other; no row for 0.",
    "reliability": "How often a run is right at each of 15 levels of confidence.",
    "folds": "Scores of a run on ten stratified folds of its test images.",
}
COLUMN_NOTES = {
    "study": "The study that the run belongs to.",
    "run_id": "The run's name, unique within a study.",
    "label": "The loss as figures name it.",
    "seed": "Runs of one seed share split, first weights and order of images: compare by pairs.",
    "status": "finished, or diverged: the loss stopped being a finite number; its scores are then missing.",
    "best_epoch": "The epoch that was chosen on held-out training images, and whose weights were tested.",
    "test_accuracy": "Share of test images that were classified correctly.",
    "test_nll": "Mean of -log p of the true class, in nats.",
    "test_ece": "Expected calibration error, 15 equal bins.",
    "label_noise": "Share of the training targets that were replaced by another class.",
    "imbalance": "How many times more training images the largest class has than the smallest.",
    "seconds": "Wall time of the training.",
}


def main() -> None:
    """Write every file of the data set anew."""
    for table in TABLES:
        export_parquet(FOLDER / f"{table}.parquet", FOLDER, table)
    write_text(FOLDER / "croissant.json", json.dumps(describe(), indent=2, ensure_ascii=False) + "\n")


def describe() -> dict[str, Any]:
    """The data set in the vocabulary of Croissant 1.0."""
    studies = [read_description(folder) for folder in packed_folders(FOLDER)]
    runs = sum(study["runs"] for study in studies)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "lossbench-reference",
        "description": f"{runs:,} training runs that compare loss functions for image classification under paired "
        f"seeds, from {len(studies)} studies. Tables only: no images, no weights.",
        "license": "https://spdx.org/licenses/MIT.html",
        "url": "https://github.com/lossbench/lossbench",
        "version": lossbench.__version__,
        "datePublished": "2026-11-28",
        "creator": {"@type": "sc:Organization", "name": "The lossbench authors"},
        "citeAs": "@software{lossbench, title = {lossbench}, author = {{The lossbench authors}}, year = {2026}}",
        "keywords": ["loss functions", "image classification", "paired seeds", "benchmark"],
        "distribution": [_file(table) for table in TABLES],
        "recordSet": [_record_set(table) for table in TABLES],
    }


def _file(table: str) -> dict[str, Any]:
    content = (FOLDER / f"{table}.parquet").read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": f"{table}.parquet",
        "name": f"{table}.parquet",
        "contentUrl": f"{table}.parquet",
        "contentSize": f"{len(content)} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256(content).hexdigest(),
    }


def _record_set(table: str) -> dict[str, Any]:
    frame = reference(table)
    fields = [_field(table, str(name), frame[name]) for name in frame]
    return {"@type": "cr:RecordSet", "@id": table, "name": table, "description": TABLE_NOTES[table], "field": fields}


def _field(table: str, name: str, column: pd.Series[Any]) -> dict[str, Any]:
    kinds = {"b": "sc:Boolean", "i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float"}
    note = {"description": COLUMN_NOTES[name]} if name in COLUMN_NOTES else {}
    source = {"fileObject": {"@id": f"{table}.parquet"}, "extract": {"column": name}}
    kind = kinds.get(column.dtype.kind, "sc:Text")
    return {"@type": "cr:Field", "@id": f"{table}/{name}", "name": name, **note, "dataType": kind, "source": source}


if __name__ == "__main__":
    main()
