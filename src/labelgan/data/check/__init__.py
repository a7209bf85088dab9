"""The check of a cohort: problems of files, cases and the cohort as a whole."""
