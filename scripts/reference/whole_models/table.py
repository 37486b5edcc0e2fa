"""Puts the results into docs/models.md, between its two marks.

    python scripts/reference/whole_models/table.py RESULTS docs/models.md
"""

import json
import statistics
import sys
from pathlib import Path

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def markdown(head, rows):
    """A table whose first column is text and whose others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def parity(result):
    """The row that says how far both programs are apart."""
    rows = [row for row in result["gradients"] if row["kind"] == "gradient"]
    worst = max(rows, key=lambda row: row["difference"])
    typical = statistics.median(row["difference"] for row in rows)
    zeros = sum(row["kind"] == "zero" for row in result["gradients"])
    buffers = result["statistics"].values()
    return [
        f"{result['title']}; {result['exporter']}",
        f"{result['parameters']:,}",
        f"{result['losses'][0]:.3f} to {result['losses'][-1]:.3f}",
        f"{result['loss_difference']:.1e}",
        f"{result['pytorch_loss_rounding']:.1e}",
        f"{typical:.1e}",
        f"{worst['difference']:.1e} (`{worst['name']}`)",
        str(zeros),
        f"{max(buffers):.1e}" if buffers else "",
    ]


def cost(result):
    """The row that says what a step takes."""
    timed = result["timed"]
    ratios = sorted(row["step_ms"] / row["pytorch_step_ms"] for row in timed)
    median = lambda key: statistics.median(row[key] for row in timed)  # noqa: E731
    return [
        f"{result['title']}; {result['exporter']}",
        str(result["batch"]),
        f"{median('step_ms'):.1f}",
        f"{median('pytorch_step_ms'):.1f}",
        f"{statistics.median(ratios):.2f}",
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        f"{max(row['peak_mb'] for row in timed):.0f}",
        f"{max(row['pytorch_peak_mb'] for row in timed):.0f}",
    ]


def tables(results):
    """Both tables, and the tolerances that are not the usual ones with their reasons."""
    parts = [
        markdown(
            [
                "model; exporter",
                "parameters",
                "loss, step 1 to 20",
                "losses apart",
                "PyTorch f32 from f64",
                "gradients apart, median",
                "at most",
                "zero",
                "statistics apart",
            ],
            [parity(result) for result in results],
        ),
    ]
    costs = [cost(result) for result in results if result["timed"]]
    if costs:
        head = ["model; exporter", "batch", "trainer, ms", "PyTorch, ms", "ratio, median", "over rounds"]
        parts += ["### Time and memory", markdown([*head, "trainer, MB", "PyTorch, MB"], costs)]
    widened = [result for result in results if result["reason"]]
    for result in widened:
        limits = result["tolerances"]
        parts.append(
            f"{result['title']}, {result['exporter']}: losses within {limits['loss']:.0e}, gradients within "
            f"{limits['gradient']:.0e}. {result['reason']}"
        )
    loads = [row["load"] for result in results for row in result["timed"]]
    if loads:
        parts.append(f"Load average during the timing: {min(loads):.1f} to {max(loads):.1f}.")
    return "\n\n".join(parts)


def main():
    folder, document = Path(sys.argv[1]), Path(sys.argv[2])
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    before, rest = document.read_text().split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}")


if __name__ == "__main__":
    main()
