"""A local web page over cohorts, runs, synthetic cohorts and studies: look, compare, curate, sample."""
