"""The leak-proof study: does synthetic data help? Planned as jobs, run by an engine, told as a verdict."""
