"""The acceptance run: a day of a node as open-loop load, each answer held against an oracle, and a report to sign."""
