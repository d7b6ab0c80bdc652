"""What was measured of exported models, as Markdown."""

from typing import Any

from metasgcl_tf.reports.markdown import markdown_table


def serving_block(found: dict[str, Any]) -> str:
    """The tables of docs/serving, from `serving.json`."""
    load, vocabulary = found["load"], found["vocabulary"]
    rows = []
    for each in found["agreement"]:
        answers = "agree" if each["agrees"] else "**differ**"
        same = f"{each['same_ids']:,} of {each['users']:,}"
        times = (f"{p50:.1f} / {p95:.1f} / {p99:.1f}" for p50, p95, p99 in each["milliseconds"].values())
        rows.append([f"`{each['artefact']}`", answers, same, f"{each['largest_difference']:.1e}", *times])
    head = ["artefact", "answers", "users with the same ten ids, in order", "largest difference of a score"]
    head += [f"ms for {users}: p50 / p95 / p99" for users in ("1 user", "64 users")]
    before, after = load["megabytes_before_and_after"]
    times = " / ".join(f"{value:.1f}" for value in load["milliseconds"].values())
    sizes = vocabulary["saved_model_bytes"]
    parts = [
        f"{found['model']} with {found['items']:,} items beside the Keras model:",
        markdown_table(head, rows, text_columns=2),
        "Ids may swap where two scores are equal within 1e-5.",
        f"{load['requests']:,} requests of one user each from {load['threads']} threads to the in-process "
        "gRPC service, server and clients sharing the cores, after as many to warm up: "
        f"{load['answered']:,} answered, {load['requests_per_second']:,.0f} a second, "
        f"{times} ms (p50 / p95 / p99); the process held {before:,.0f} MB before and {after:,.0f} MB after.",
        f"A vocabulary of {vocabulary['items']:,} items: exported in {vocabulary['seconds']:.0f} s; "
        f"saved_model.pb has {sizes['serving'] / 1e6:.2f} MB (serving) and {sizes['core'] / 1e6:.2f} (core).",
        f"`{found['command']}` at commit {found['commit'][:10]}; {found['machine']}, "
        f"TensorFlow {found['versions']['tensorflow']}.",
    ]
    return "\n\n".join(parts) + "\n"
