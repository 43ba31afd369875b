"""What things cost on this machine: `lop bench`, and the estimate of `lop run --dry-run`.

The `bench` folder of a checkout has what only lop's developers measure; it is not installed.

Training is measured in child processes (`child`), each with the environment that its kind would have: a worker's, or
that of a script as typed. What is compared takes turns, round after round (`measure`).
"""
