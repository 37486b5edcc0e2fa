"""Which tolerances a result misses."""

# Of the norm of all gradients together: what rounding may leave of a gradient that is zero.
ZERO_IN_F32 = 1e-5
STATISTICS_TOLERANCE = 1e-4


def judge(result):
    """What is wrong, in words; nothing where all is well."""
    tolerances, misses = result["tolerances"], []
    if not result["loss_difference"] <= tolerances["loss"]:
        misses.append(f"losses differ by {result['loss_difference']:.1e}")
    for row in result["gradients"]:
        limit = {"gradient": tolerances["gradient"], "zero": ZERO_IN_F32}.get(row["kind"])
        if row["kind"] == "not trained":
            misses.append(f"{row['name']} is not trained")
        elif limit is not None and not row["difference"] <= limit:
            misses.append(f"gradient of {row['name']} differs by {row['difference']:.1e}")
    for name, difference in result["statistics"].items():
        if not difference <= STATISTICS_TOLERANCE:
            misses.append(f"{name} differs by {difference:.1e}")
    return misses
