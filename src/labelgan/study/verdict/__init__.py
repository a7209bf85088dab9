"""From a table of scores to intervals, tests and one sentence."""
