"""Turns what peers.py measured into a table, the library beside the best of the others and the ceilings; imported by it.

    python3 tests/gpu/table.py FILE.json        prints the table of a file that peers.py has written
"""

import json
import sys

OURS = "fused_attention"


def ceiling(cases, part, unit):
    """The best rate of the ceiling whose name holds the part; None where it was not measured."""
    rates = [result[unit] for name, case in cases.items() if name.startswith("ceiling") and part in name
             for result in case.get("results", {}).values() if unit in result]
    return max(rates, default=None)


def share_of_ceiling(result, ceilings):
    """Of the ceiling that is nearer, arithmetic or memory."""
    shares = [result[unit] / most for unit, most in ceilings.items() if most and unit in result]
    return max(shares, default=None)


def row(name, case, ceilings):
    results = case.get("results", {})
    timed = {peer: result for peer, result in results.items() if "ms" in result}
    if not timed:
        why = case.get("failed") or "; ".join(f"{peer} refused: {result['refused']}" for peer, result in results.items())
        return [name, why.replace("|", "/")] + [""] * 5
    peers = {peer: result for peer, result in timed.items() if peer != OURS}
    best = min(peers, key=lambda peer: peers[peer]["ms"], default=None)
    shown = timed.get(OURS, peers.get(best))
    share = share_of_ceiling(shown, ceilings)
    ratio = f"{best} {peers[best]['ms'] / shown['ms']:.2f}" if best and shown is not peers[best] else f"({best} alone)" if best else ""
    return [name, f"{shown['ms']:.3f}", f"{shown['tflops']:.0f}" if "tflops" in shown else "",
            f"{shown['gb_per_s']:.0f}" if "gb_per_s" in shown else "", ratio, f"{share:.2f}" if share else "",
            f"{case['difference']:.1e}" if "difference" in case else ""]


def table(report):
    """Markdown; above 1 is faster than the best peer. A case that failed says why."""
    cases = report["cases"]
    ceilings = {"tflops": ceiling(cases, "gemm", "tflops"), "gb_per_s": ceiling(cases, "copy", "gb_per_s")}
    lines = [["case", "ms", "TFLOP/s", "GB/s", "of the best peer", "of the ceiling", "differs by"], ["---"] * 7]
    lines += [row(name, case, ceilings) for name, case in cases.items()]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return text + (f"\nNot begun: {', '.join(report['not begun'])}.\n" if report["not begun"] else "")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(table(json.load(file)), end="")
