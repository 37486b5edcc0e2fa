"""Holds what an MLflow server has of a run against the journal's table: check_mlflow.py URI WORK_DIR STATUS."""

import csv
import json
import sys
import urllib.parse
import urllib.request
from collections import Counter

uri, work_dir, status = sys.argv[1:]


def call(path, question=None):
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


name = urllib.parse.quote("two words")
experiment = call(f"experiments/get-by-name?experiment_name={name}")["experiment"]["experiment_id"]
runs = call("runs/search", {"experiment_ids": [experiment]})["runs"]
assert len(runs) == 1, f"{len(runs)} runs for one work directory"
run = runs[0]
assert run["info"]["status"] == status, run["info"]
params = {param["key"]: param["value"] for param in run["data"]["params"]}
assert params["model.builtin"] == "mlp" and params["optimizer.kind"] == "adamw", params

run_id = run["info"]["run_id"]
with open(f"{work_dir}/history.csv") as table:
    rows = list(csv.DictReader(table))
for key in ["train_loss", "val_loss", "val_accuracy"]:
    page, found = "", []
    while True:
        answer = call(f"metrics/get-history?run_id={run_id}&metric_key={key}&max_results=1000&page_token={page}")
        found += answer["metrics"]
        page = answer.get("next_page_token", "")
        if not page:
            break
    twice = [step for step, count in Counter(metric["step"] for metric in found).items() if count > 1]
    assert not twice, f"{key} is there twice at {twice[:5]}"
    expected = {int(row["step"]): float(row[key]) for row in rows}
    assert {metric["step"]: metric["value"] for metric in found} == expected, key

if status == "FINISHED":
    with open(f"{work_dir}/model.onnx", "rb") as file:
        model = file.read()
    path = urllib.parse.urlparse(run["info"]["artifact_uri"]).path
    with urllib.request.urlopen(f"{uri}/api/2.0/mlflow-artifacts/artifacts{path}/model.onnx", timeout=30) as answer:
        assert answer.read() == model, "the model differs"
print(f"{status}: run {run_id}, {len(rows)} epochs, each value once")
