"""Times programs that do the same work in turn: because machine speed drifts, only ratios within a round are meaningful."""
import argparse
import statistics
import subprocess
import sys
import time


def main(script, sides, unit, steps=5, rounds=7, arguments=()):
    """Runs one side if the command line names it; otherwise starts all sides and prints a comparison.

    script: the benchmark's own file
    sides:  {name: function() -> step()}; the first is ours, and ratios are its speed relative to the others
    unit:   (word, number per step), such as ("images", 32)
    arguments: further arguments of the script when it is started for one side
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=sides, help="run only this side, controlled through standard input")
    parser.add_argument("--only", nargs="+", choices=sides, default=list(sides), help="sides to compare")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--peer-python", default=sys.executable, help="Python interpreter with the packages of the peer")
    given = parser.parse_args()
    if given.side:
        return _serve(sides[given.side](), steps)
    ours, *peers = given.only
    workers = {}
    for side in given.only:
        python = given.peer_python if side.startswith("torch") else sys.executable
        worker = subprocess.Popen([python, script, *arguments, "--side", side], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        if worker.stdout.readline().strip() != "ready":
            sys.exit(f"{side} did not start; see its message above")
        workers[side] = worker
    seconds = {side: [] for side in workers}
    for _ in range(given.rounds):
        for side, worker in workers.items():  # in turn; the others wait for their order
            print("go", file=worker.stdin, flush=True)
            seconds[side].append(float(worker.stdout.readline()))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    word, count = unit
    for side, values in seconds.items():
        print(f"{side:30} {count / statistics.median(values):8.2f} {word}/s   "
              f"({min(values) * 1e3:.1f} to {max(values) * 1e3:.1f} ms a step)")
    for side in peers:
        ratios = sorted(theirs / mine for mine, theirs in zip(seconds[ours], seconds[side]))
        print(f"{ours} over {side}: {statistics.median(ratios):.2f}x   ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def _serve(step, steps):
    for _ in range(2):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        print((time.perf_counter() - began) / steps, flush=True)
